"""Reads a request that the typed decoder refuses as a whole, element by element.

JSON allows what no text, number or reader can hold: half characters, 1e400, a hundred thousand
brackets; and some encoders write NaN. One such mutation must not block the rest (promise 2), and
must be kept just as it came.
"""

import hashlib
import json
import re
from math import inf
from typing import Any, NamedTuple

from sync_protocol.texts import Text

_DEEPEST = 100
_MAX_DIGITS = 400
_BLANK = re.compile(r"[ \t\r\n]*")
# A run of texts and of lists and objects in which no others are, or brackets of one side.
_TOKEN = re.compile(
    r'(?>"(?:[^"\\]|\\.)*"|\[[^][{}"]*\]|\{[^][{}"]*\}|[^][{}"]+)++|[\[{]+|[\]}]+', re.DOTALL
)


class Element(NamedTuple):
    """An element of a list: its value, and its text as it came."""

    value: Any
    text: str


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else inf


# It reads NaN and Infinity, too, which are no JSON, but which some encoders write for a number.
_decoder = json.JSONDecoder(parse_int=_whole)


def read_envelope(body: bytes, list_name: str) -> tuple[dict[str, Any], list[Element] | None]:
    """The members of the object in `body`, and apart from them the elements of one list.

    The list is None if it stands there as something else. Raises `ValueError` for what is no JSON
    object.
    """
    text = body.decode()
    at = _expect(text, 0, "{")
    members: dict[str, Any] = {}
    elements: list[Element] | None = []
    while not text.startswith("}", at):
        name, at = _value(text, at)
        if not isinstance(name, str):
            raise ValueError(Text("a name is expected before character {at}", at=at))
        at = _expect(text, at, ":")
        if name == list_name and text.startswith("[", at):
            elements, at = _elements(text, at)
        else:
            value, at = _value(text, at)
            if name == list_name:
                elements = None
            else:
                members[name] = value
        at = _separator(text, at, "}")
    if _skip(text, at + 1) != len(text):
        raise ValueError(Text("something follows on the object, from character {at} on", at=at + 1))
    return members, elements


def parse(body: bytes) -> Any:
    """Any JSON, as it came; raises `ValueError`, and `RecursionError` for what is nested deeper
    than a parser can go.
    """
    return _decoder.decode(body.decode())


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


def _expect(text: str, at: int, sign: str) -> int:
    at = _skip(text, at)
    if not text.startswith(sign, at):
        raise ValueError(Text("‘{sign}’ is expected at character {at}", sign=sign, at=at))
    return _skip(text, at + 1)


def _separator(text: str, at: int, end: str) -> int:
    """Behind a comma that is followed by something, or before the end."""
    if text.startswith(end, at):
        return at
    at = _expect(text, at, ",")
    if text.startswith(end, at):
        raise ValueError(
            Text("something is expected behind the comma before character {at}", at=at)
        )
    return at


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and where the next thing begins."""
    try:
        value, end = _decoder.raw_decode(text, at)
    except RecursionError:
        end = _end_of(text, at)
        value = _decoder.decode(_shallow(text[at:end]))
    return value, _skip(text, end)


def _elements(text: str, at: int) -> tuple[list[Element], int]:
    at = _skip(text, at + 1)
    found = []
    while not text.startswith("]", at):
        begin = at
        value, at = _value(text, at)
        found.append(Element(value, text[begin:at].rstrip()))
        at = _separator(text, at, "]")
    return found, _skip(text, at + 1)


def _end_of(text: str, at: int) -> int:
    """Where the list or object that begins there ends."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        sign = token[0][0]
        if token[0][-1] in "[{":
            depth += len(token[0])
        elif sign in "]}":
            if depth <= len(token[0]):
                return token.start() + depth
            depth -= len(token[0])
    raise ValueError(Text("a bracket is never closed"))


def _shallow(text: str) -> str:
    """The same with a digest in place of all that is nested too deep, so that it tells what stood
    there.
    """
    parts = []
    depth = kept = 0
    cut: int | None = None
    for token in _TOKEN.finditer(text):
        sign, length = token[0][0], len(token[0])
        if token[0][-1] in "[{":
            if cut is None and depth + length > _DEEPEST:
                cut = token.start() + _DEEPEST - depth
                parts.append(text[kept:cut])
            depth += length
        elif sign in "]}":
            if cut is not None and depth - length <= _DEEPEST:
                kept = token.start() + depth - _DEEPEST
                digest = hashlib.sha256(text[cut:kept].encode("utf-8", "surrogatepass")).hexdigest()
                parts.append(f'"deeper: {digest}"')
                cut = None
            depth -= length
    return "".join([*parts, text[kept:]])
