"""Sentences for people, in English and ready to be shown in another language.

A `Text` is the English sentence; it also knows its `id`, the sentence with named parameters in
braces, and the `params`. Whoever has a catalogue shows it in another language; everybody else uses
it as the text that it is. So this package needs no catalogue.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_PARAMETER = re.compile(r"\{([a-z_]+)\}")


class Text(str):
    """`Text("There is no grid ‘{grid}’.", grid=code)`. A parameter is a word, a number, another
    text, or a list of them.
    """

    id: str
    params: Mapping[str, Any]

    def __new__(cls, id: str, /, **params: Any) -> "Text":
        made = super().__new__(cls, filled(id, params, "; ", str))
        made.id = id
        made.params = params
        return made


class Word(Text):
    """A word of the field, such as a field's name, with its Chinese label."""

    zh: str

    def __new__(cls, word: str, zh: str) -> "Word":
        made = str.__new__(cls, word)
        made.id, made.params, made.zh = word, {}, zh
        return made


def parameters(id: str) -> set[str]:
    """The names of the parameters in a sentence."""
    return set(_PARAMETER.findall(id))


def filled(
    sentence: str, params: Mapping[str, Any], between: str, show: Callable[[Any], str]
) -> str:
    """A sentence with its parameters in place, each as `show` gives it; lists are joined by
    `between`.
    """
    if not params:
        return sentence

    def value(found: re.Match[str]) -> str:
        given = params.get(found[1], found[0])
        return between.join(map(show, given)) if isinstance(given, (list, tuple)) else show(given)

    return _PARAMETER.sub(value, sentence)


def with_strings(text: str, change: Callable[[str], str]) -> str:
    """A text with every string in it changed; the sentence itself stays."""
    found = _changed(text, change)
    return found if isinstance(found, str) else text


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, Word):
        return value
    if isinstance(value, Text):
        return Text(
            value.id, **{name: _changed(item, change) for name, item in value.params.items()}
        )
    if isinstance(value, (list, tuple)):
        return [_changed(item, change) for item in value]
    return value if isinstance(value, (int, float)) else change(str(value))


def fitted(text: str, size: int) -> str:
    """A text of at most `size` characters: what is quoted in it is cut, and of lists the beginning
    is left.
    """
    if len(text) <= size:
        return text
    short = _short(text) if isinstance(text, Text) else text
    return short if len(short) <= size else str(short)[: size - 1] + "…"


_MAX_ITEMS, _MAX_QUOTE = 8, 60


def _short(value: Any) -> Any:
    if isinstance(value, Word):
        return value
    if isinstance(value, Text):
        return Text(value.id, **{name: _short(item) for name, item in value.params.items()})
    if isinstance(value, (list, tuple)):
        return [*map(_short, value[:_MAX_ITEMS]), *(["…"] if len(value) > _MAX_ITEMS else [])]
    if isinstance(value, str):
        return value if len(value) <= _MAX_QUOTE else value[:_MAX_QUOTE] + "…"
    return value


def text_of(error: Exception) -> str:
    """What an error says, as the text that it was given."""
    return error.args[0] if error.args and isinstance(error.args[0], str) else str(error)


def stored(text: str) -> str:
    """A text in the form in which it can be kept, and shown in any language later; any other string
    is kept as it is.
    """
    return json.dumps(_plain(text), ensure_ascii=False) if isinstance(text, Text) else str(text)


def restored(kept: str) -> str:
    """A text as `stored` kept it."""
    if not kept.startswith('{"text":'):
        return kept
    try:
        found = _read(json.loads(kept))
    except (ValueError, KeyError, TypeError, AttributeError):
        return kept  # it only looks like one
    return found if isinstance(found, Text) else kept


def _plain(value: Any) -> Any:
    if isinstance(value, Word):
        return {"word": str(value), "zh": value.zh}
    if isinstance(value, Text):
        params = {name: _plain(item) for name, item in value.params.items()}
        return {"text": value.id} | ({"params": params} if params else {})
    if isinstance(value, (list, tuple)):
        return [*map(_plain, value)]
    return value if isinstance(value, (int, float)) else str(value)


def _read(value: Any) -> Any:
    if isinstance(value, dict) and "word" in value:
        return Word(value["word"], value["zh"])
    if isinstance(value, dict):
        return Text(
            value["text"], **{name: _read(item) for name, item in value.get("params", {}).items()}
        )
    if isinstance(value, list):
        return [*map(_read, value)]
    return value
