"""What saves the database work: many rows as few parameters, many writes as one statement, new rows
by COPY.

Rows travel as columns, each an array in PostgreSQL's text form, `$1::text::uuid[]`: the driver
passes a text on as it is, where it would look at every element of a list. Writes that belong
together travel as `Cte`s of one statement, each a CTE of its own.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from service.kit.database import Connection

# Parts of a statement stand on lines of their own: a reader finds them in a log of slow statements.
UNION = "\nUNION ALL\n"
_PARAMETER = re.compile(r"\$(\d+)")


class Cte(NamedTuple):
    """A write of its own, with parameters from $1; another part may read what it returns by its
    `name`.
    """

    name: str
    sql: str
    values: tuple[Any, ...]


class Copy(NamedTuple):
    """New rows for a table: lines in the text form of COPY, by far the cheapest way in.

    Each field is made by `copy_field`, or needs no escapes.
    """

    table: str
    columns: Sequence[str]
    lines: bytes


NULL_CELL = "\\N"


def copy_field(text: str) -> str:
    """A text as a cell of a line."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    if "\t" in text:
        text = text.replace("\t", "\\t")
    if "\r" in text:
        text = text.replace("\r", "\\r")
    return text


def cells(texts: Sequence[str | None]) -> Sequence[str]:
    """Texts as cells of lines; None is NULL."""
    given = _escaped(texts, copy_field)
    if len(given) == len(texts):
        return given
    rest = iter(given)
    return [NULL_CELL if text is None else next(rest) for text in texts]


def _escaped(texts: Iterable[str | None], escape: Callable[[str], str]) -> list[str]:
    """Those of the texts that are not None, escaped: all at once, for hardly one needs it."""
    given = [text for text in texts if text is not None]
    joined = _BETWEEN.join(given)
    escaped = escape(joined)
    if escaped is joined:
        return given
    parts = escaped.split(_BETWEEN)
    if len(parts) != len(given):
        raise ValueError("a text has the character U+0000, which PostgreSQL cannot store")
    return parts


_BETWEEN = "\0"


async def copy(connection: Connection, copies: Iterable[Copy]) -> None:
    """Adds new rows to tables."""
    for table, columns, lines in copies:
        await connection.copy_to_table(table, source=_once(lines), columns=columns)


async def _once(lines: bytes) -> AsyncIterator[bytes]:
    """What COPY takes as it is: a file would be read in a thread."""
    yield lines


def array(items: Iterable[object]) -> str:
    """An array of numbers, UUIDs, moments or codes, whose texts need no quotes; None is NULL."""
    return "{" + ",".join(["NULL" if item is None else str(item) for item in items]) + "}"


def text_array(items: Iterable[str | None]) -> str:
    """An array of any texts; None is NULL."""
    texts = [*items]
    given = _escaped(texts, _without_quotes)
    if given and len(given) == len(texts):
        return '{"' + '","'.join(given) + '"}'
    rest = iter(given)
    return "{" + ",".join(["NULL" if text is None else f'"{next(rest)}"' for text in texts]) + "}"


def quoted(text: str) -> str:
    """A text as an element of an array."""
    return f'"{_without_quotes(text)}"'


def _without_quotes(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text.replace('"', '\\"')


async def write(connection: Connection, parts: Sequence[Cte]) -> None:
    """Does the writes in one statement. All of them see the database as it was before: none may
    touch what another one does.
    """
    if parts:
        values = [value for part in parts for value in part.values]
        await connection.execute(
            joined_ctes(tuple((part.name, part.sql, len(part.values)) for part in parts)), *values
        )


def renumbered(sql: str, place: Callable[[int], int]) -> str:
    """A statement whose parameters have other places: `place` gives that of each."""
    return _PARAMETER.sub(lambda found: f"${place(int(found[1]))}", sql)


@lru_cache(maxsize=1_000)
def joined_ctes(parts: tuple[tuple[str, str, int], ...]) -> str:
    """The statement of parts, each with its name, its SQL and how many values it has."""
    if len(parts) == 1:
        return parts[0][1]
    ctes = []
    before = 0
    for name, sql, count in parts:
        ctes.append(f"{name} AS ({renumbered(sql, before.__add__)})")
        before += count
    # Each on lines of its own: a reader finds it in a log of slow statements.
    return "WITH " + ",\n".join(ctes) + "\nSELECT"
