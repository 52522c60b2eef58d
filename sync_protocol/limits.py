"""What every JSON value in a message must be, so that whoever receives it can keep and show it.

Text is Unicode without U+0000, numbers are finite, whole numbers fit 64 bits, nothing is nested too
deep. `oddity` says what is wrong with a value, `normalised` makes the copy that every reader can
show.
"""

import re
import threading
from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar

import msgspec

from sync_protocol.texts import Text, with_strings

MAX_DEPTH = 20
MAX_MUTATION_BYTES = 64 * 1024
MAX_UNKNOWN_BYTES = 8 * 1024
_WHOLE_BITS = 63

REPLACEMENT = "\ufffd"
CUT = "…"
_MAX_NAME = 200
# Of an integer that is too long nobody needs all digits to see what was meant.
_MAX_DIGITS = 100
# What a copy may hold, so that with its frame it stays within the limit.
_COPY_BYTES = MAX_MUTATION_BYTES - 4 * 1024
_UNSHOWABLE = re.compile("[\0\ud800-\udfff]")

T = TypeVar("T")


def oddity(value: Any, depth: int = MAX_DEPTH) -> Text | None:
    """What is wrong with a JSON value that is nested at most `depth` levels deep; None if nothing
    is.
    """
    if isinstance(value, str):
        return _text_oddity(value)
    if isinstance(value, dict):
        if depth <= 0:
            return Text("is nested deeper than {max} levels", max=MAX_DEPTH)
        for key, item in value.items():
            found = _text_oddity(key) or oddity(item, depth - 1)
            if found is not None:
                return found
        return None
    if isinstance(value, list):
        if depth <= 0:
            return Text("is nested deeper than {max} levels", max=MAX_DEPTH)
        return next((found for item in value if (found := oddity(item, depth - 1))), None)
    if isinstance(value, float) and not isfinite(value):
        return Text("holds a number that is not finite")
    if isinstance(value, int) and value.bit_length() > _WHOLE_BITS:
        return Text("holds a whole number of more than 64 bits")
    return None


def _text_oddity(text: str) -> Text | None:
    if _UNSHOWABLE.search(text) is None:
        return None
    if "\0" in text:
        return Text("holds the character U+0000")
    return Text("holds half of a character (a lone surrogate)")


def json_size(value: Any) -> int:
    """The bytes of a value without oddities as JSON."""
    return len(msgspec.json.encode(value))


def showable(text: str) -> str:
    """A text with U+FFFD in place of what is no character."""
    if isinstance(text, Text):
        return with_strings(text, showable)
    return _UNSHOWABLE.sub(REPLACEMENT, text)


def normalised(value: Any, room: int = _COPY_BYTES) -> Any:
    """A copy that every reader can show, of at most about `room` bytes as JSON.

    What is no character becomes U+FFFD, a number that is not finite null, a too long number a text,
    what is nested too deep and what is beyond the room “…”. A value without oddities that fits
    stays as it is.
    """
    return _Copy(room).of(value, MAX_DEPTH)


class _Copy:
    """A copy under way: `room` is how many bytes are left."""

    def __init__(self, room: int) -> None:
        self._room = room

    def of(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return self._object(value, depth) if depth > 0 else self._text(CUT)
        if isinstance(value, list):
            return self._list(value, depth) if depth > 0 else self._text(CUT)
        if isinstance(value, float) and not isfinite(value):
            value = None
        elif isinstance(value, int) and value.bit_length() > _WHOLE_BITS:
            return self._text(_digits(value))
        self._room -= json_size(value)
        return value

    def _text(self, text: str) -> str:
        shown = kept = showable(text)
        size = json_size(shown)
        while size > self._room and kept:
            kept = kept[: min(len(kept) - 1, len(kept) * max(self._room, 0) // size)]
            shown = kept + CUT
            size = json_size(shown)
        self._room -= size
        return shown

    def _object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        self._room -= 2
        copy: dict[str, Any] = {}
        for key, item in value.items():
            name = showable(key)
            name = name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + CUT
            while name in copy:
                name += REPLACEMENT
            self._room -= json_size(name) + 2
            if self._room <= 0:
                copy[CUT] = CUT
                break
            copy[name] = self.of(item, depth - 1)
        return copy

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        self._room -= 2
        copy = []
        for item in value:
            self._room -= 1
            if self._room <= 0:
                copy.append(CUT)
                break
            copy.append(self.of(item, depth - 1))
        return copy


def _digits(value: int) -> str:
    if value.bit_length() > 4 * _MAX_DIGITS:
        return CUT
    text = str(value)
    return text if len(text) <= _MAX_DIGITS else text[:_MAX_DIGITS] + CUT


def whole(value: Any) -> Any:
    """A whole number that came as a float (31.0) as what it is; anything else as it came."""
    return int(value) if type(value) is float and value.is_integer() else value


def with_a_fresh_stack(work: Callable[[], T]) -> T:
    """Does what may recurse as deep as a value is nested, on a stack of its own.

    A value that was read on one stack can be too deep to be written on one that is a few calls
    longer.
    """
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    if not results:
        raise RecursionError("the value is nested too deep to be written")
    return results[0]
