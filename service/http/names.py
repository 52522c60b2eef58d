"""Names that people give: what they are called must be readable on one line."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

from sync_protocol.fields import STRIPPED
from sync_protocol.texts import Text


def one_line(text: str) -> str:
    """A name without white space around it; raises `ValueError` where nothing is left, or where
    something in it cannot be seen. What traditional Mongolian has inside its words (U+202F, U+180E,
    U+180B to U+180D) stays.
    """
    found = text.strip(STRIPPED)
    if not found:
        raise ValueError(Text("The name is blank; write what people call it"))
    if any(unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for char in found):
        raise ValueError(
            Text("The name has control characters or several lines; type it again on one line")
        )
    return found


_TEXT = r"^[^\x00]+$"
_PLAIN = AfterValidator(one_line)
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=_TEXT), _PLAIN]
# Traditional Mongolian has long names.
Mongolian = Annotated[str, Field(min_length=1, max_length=120, pattern=_TEXT), _PLAIN]
