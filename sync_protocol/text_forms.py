"""Whether many texts have one fixed form, such as that of an id: seen for all at once, which costs
a fraction of one by one.
"""

from collections.abc import Sequence
from typing import Any

_HEX = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)


def all_match(values: Sequence[Any], form: bytes, is_hex: bool = False) -> bool:
    """Whether all values are texts of a form, in which 0 stands for any digit, or any hex digit,
    and all else for itself.
    """
    try:
        joined = "\n".join(values).encode()
    except (TypeError, UnicodeEncodeError):
        return False
    # Within a text there can be no line break that fits: then there would be one too many.
    return joined.translate(_HEX if is_hex else _DIGITS) == b"\n".join([form] * len(values))
