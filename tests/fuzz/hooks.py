"""What schemathesis makes up gets odd values in its place, in about every third request; loaded by
`SCHEMATHESIS_HOOKS`.
"""

import hashlib
import json
from typing import Any

import schemathesis

from tests.fuzz.odd_values import NUMBERS, RAW, SHAPES, TEXTS

_VALUES = [
    value
    for value in (*TEXTS, *NUMBERS, *SHAPES)
    if RAW not in repr(value) and len(repr(value)) < 20_000
]
_EVERY = 3


def _number(value: Any) -> int:
    """The same for the same value, in every process."""
    return int.from_bytes(
        hashlib.blake2b(repr(value).encode("utf-8", "replace"), digest_size=6).digest()
    )


def _with_odd(given: Any, values: list[Any]) -> Any:
    """The same object with an odd value in place of one that it has, now and then."""
    number = _number(given)
    if not isinstance(given, dict) or not given or number % _EVERY:
        return given
    name = [*given][number // _EVERY % len(given)]
    value = given[name]
    odd = (
        _with_odd(value, values)
        if isinstance(value, dict) and value
        else values[number // 7 % len(values)]
    )
    return {**given, name: odd}


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Odd values in bodies."""
    # A form is made by requests, which cannot write half a surrogate; it is sent as JSON by the
    # other tests.
    values = (
        _VALUES
        if context.operation.path != "/v1/auth/token"
        else [value for value in _VALUES if _can_be_written(value)]
    )
    return _with_odd(body, values)


def _can_be_written(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    """Odd texts in parameters."""
    return _with_odd(query, [text for text in TEXTS if text.isprintable() and len(text) < 400])
