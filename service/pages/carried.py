"""What somebody typed into a form whose session had ended: it goes with the form of the sign-in,
and is sent again after it, if it was the same person who typed it.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from starlette.datastructures import FormData

TOKEN = "csrf"
# What is longer is not carried: the form of a sign-in has its limit.
MAX_BYTES = 40_000


class Carried(NamedTuple):
    """A form to be sent again: where to, its fields, and the token that it had."""

    path: str
    fields: Sequence[tuple[str, str]]
    token: str


def carried_from(path: str, form: FormData) -> str:
    """A form as the sign-in carries it; empty when it is too long. Files do not go with it."""
    fields = [[name, value] for name, value in form.multi_items() if isinstance(value, str)]
    text = json.dumps([path, fields], ensure_ascii=False)
    return text if len(text.encode()) <= MAX_BYTES else ""


def read_carried(text: str) -> Carried | None:
    """The same read again; None of what is no such form."""
    try:
        path, fields = json.loads(text)
        pairs = [(str(name), str(value)) for name, value in fields]
    except (ValueError, TypeError):
        return None
    if not is_local_path(path):
        return None
    token = next((value for name, value in pairs if name == TOKEN), "")
    return Carried(path, [pair for pair in pairs if pair[0] != TOKEN], token)


def is_local_path(path: object) -> bool:
    """Whether an address leads to a page here, and nowhere else."""
    return (
        isinstance(path, str)
        and path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and all(character.isprintable() for character in path)
    )
