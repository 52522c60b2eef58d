"""Texts for people in the language that a request asks for: the catalogue, and who gets which
language.

An English sentence with named parameters in braces is the id of its Chinese one in
`locale/zh/LC_MESSAGES/messages.po`. Errors of the API are English unless a request asks for
Chinese; texts that are shown to people in the field are Chinese unless it asks for English.
"""

import os
import re
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from babel.messages.pofile import read_po

from sync_protocol.texts import Text, Word, filled

Language = Literal["en", "zh"]

CATALOGUE = Path(__file__).parent / "locale" / "zh" / "LC_MESSAGES" / "messages.po"
FOR_PROGRAMS: Language = "en"
FOR_PEOPLE: Language = "zh"

# What the request at hand asks for; None when it does not say, or asks for a language that is not
# here.
asked_for: ContextVar[Language | None] = ContextVar("asked_for", default=None)

_BETWEEN = "；"
_RANGE = re.compile(
    r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)(?:\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?))?"
)
_MAX_HEADER = 500


@cache
def chinese() -> dict[str, str]:
    """The Chinese sentence of each English one."""
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file)
    return {
        str(message.id): str(message.string)
        for message in catalogue
        if message.id and message.string
    }


@lru_cache(maxsize=1_000)
def language_of(header: str) -> Language | None:
    """The language that an `Accept-Language` prefers among ours; None when it names neither."""
    best: tuple[float, Language] | None = None
    for part in header[:_MAX_HEADER].split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            continue
        weight = float(found[2] or 1)
        language = found[1].partition("-")[0].lower()
        if (
            (language == "en" or language == "zh")
            and weight > 0
            and (best is None or weight > best[0])
        ):
            best = (weight, "en" if language == "en" else "zh")
    return best[1] if best else None


def localized(text: str, default: Language = FOR_PEOPLE) -> str:
    """A text in the language of the request at hand, or in the default; what is in no catalogue
    stays as it is.
    """
    return in_language(text, asked_for.get() or default)


def in_language(text: Any, language: Language) -> str:
    """A text, or a parameter of one, in a language."""
    if language == "en":
        return str.__str__(text) if isinstance(text, str) else str(text)
    if isinstance(text, Word):
        return text.zh
    if isinstance(text, Text):
        sentence = chinese().get(text.id, text.id)
        return filled(sentence, text.params, _BETWEEN, lambda value: in_language(value, language))
    return chinese().get(text, text) if isinstance(text, str) else str(text)


def language_of_the_terminal() -> Language:
    """Chinese where the locale says so, else English."""
    named = next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh" if named.lower().startswith("zh") else "en"
