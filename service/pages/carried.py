"""What somebody typed into a form whose session had ended: it goes with the form of the sign-in,
and is sent again after it, if it was the same person who typed it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.datastructures import FormData

TOKEN = "csrf"
# What is longer is not carried: the form of a sign-in has its limit.
MAX_BYTES = 40_000
_MAX_NAME = 200


class Carried(NamedTuple):
    """A form to be sent again: where to, its fields, and the token that it had. `files`: the names
    of those that were chosen by field; they themselves are gone.
    """

    path: str
    fields: Sequence[tuple[str, str]]
    token: str
    files: Mapping[str, Sequence[str]]


def carried_from(path: str, form: FormData) -> str:
    """A form as the sign-in carries it; empty when it is too long. Of files only their names go
    with it: nobody has signed in yet, so that nothing large of theirs is kept.
    """
    fields = [[name, value] for name, value in form.multi_items() if isinstance(value, str)]
    files: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if not isinstance(value, str):
            files.setdefault(name, []).append((value.filename or "")[:_MAX_NAME])
    text = json.dumps([path, fields, files], ensure_ascii=False)
    return text if len(text.encode()) <= MAX_BYTES else ""


def read_carried(text: str) -> Carried | None:
    """The same read again; None of what is no such form."""
    try:
        path, fields, *more = json.loads(text)
        pairs = [(str(name), str(value)) for name, value in fields]
        # A page of the previous release names no files.
        files = more[0] if more else {}
        chosen = {str(name): [str(one) for one in names if one] for name, names in files.items()}
    except (ValueError, TypeError, AttributeError):
        return None
    if not is_local_path(path):
        return None
    token = next((value for name, value in pairs if name == TOKEN), "")
    return Carried(path, [pair for pair in pairs if pair[0] != TOKEN], token, chosen)


def is_local_path(path: object) -> bool:
    """Whether an address leads to a page here, and nowhere else."""
    return (
        isinstance(path, str)
        and path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and all(character.isprintable() for character in path)
    )
