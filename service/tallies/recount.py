"""Recounts everything that is derived from the records, and compares: cases from steps, the tallies
from visits, cases and households.

Part by part, each a run of villages: whatever is counted belongs to a grid or a village, so that a
part is a whole by itself. A part is read in one snapshot, which nobody waits for; the records and
what is counted of them are written in one transaction, so that a snapshot never shows one without
the other. A part that differs is looked at again until nothing was written there between two looks.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from service.cases import filing
from service.kit.database import Connection
from service.kit.settings import Settings
from service.kit.sql import write
from service.tallies.recount_part import ROWS_AT_ONCE, Part, recount
from service.tallies.upserts import (
    CASE_COUNTS,
    CATEGORY_COUNTS,
    DUTY_COUNTS,
    VILLAGE_DAYS,
    WEEK_DAYS,
    WORK_COUNTS,
)
from sync_protocol.vocabulary import CODE_LENGTH

# Revisions in the grids of a part; one village may have more.
PART_REVS = 60_000
# Looks at a part that differs and is being written to, before one look holds the writers back.
_LOOKS = 4
# Above every code, by the order of bytes that all columns of codes have.
_END = "\U0010ffff"


class Difference(msgspec.Struct):
    """A derived row that is not what the records say. `row` is its key in the table; `wanted` what
    belongs there, None for no row. `columns`: the names of those that differ, with what is kept in
    them and what was recounted; none where the whole row is missing, or too many.
    """

    what: str
    key: str
    kept: str
    recounted: str
    row: Any = None
    wanted: Any = None
    columns: list[tuple[str, str, str]] = []


class Seen(NamedTuple):
    """What a look at a part has found, and the revisions at which its grids stood then."""

    heads: dict[str, int]
    found: list[Difference]


class _Table(NamedTuple):
    """A tally: the columns of its key, those of its counts, how a row's key is made, and the column
    by which it belongs to a part.
    """

    keys: tuple[str, ...]
    counts: tuple[str, ...]
    make: Callable[..., Any]
    place: str = "grid"


def _key(*parts: Any) -> tuple[Any, ...]:
    return parts


TABLES: Mapping[str, _Table] = {
    "tally": _Table(("day", "grid", "cadre"), WORK_COUNTS, _key),
    "week_tally": _Table(("week", "grid"), WEEK_DAYS, _key),
    "village_week_tally": _Table(("week", "village"), VILLAGE_DAYS, _key, "village"),
    "case_tally": _Table(
        ("every", "span", "village", "severity"),
        CASE_COUNTS,
        _key,
        "village",
    ),
    "hours_tally": _Table(("span", "village", "band"), ("problems",), _key, "village"),
    "cadre_tally": _Table(("span", "village", "cadre"), WORK_COUNTS, _key, "village"),
    "visited_household": _Table(("household", "span", "grid"), (), _key),
    "grid_tally": _Table(
        ("span", "grid"), (*WORK_COUNTS, "late", *DUTY_COUNTS, "households", "contacts"), _key
    ),
    "duty_tally": _Table(("span", "grid", "duty"), WORK_COUNTS, _key),
    "category_tally": _Table(("span", "grid", "category"), CATEGORY_COUNTS, _key),
    "household_tally": _Table(("grid",), ("households", "contacts"), str),
}

Progress = Callable[[int, int], None]
Note = Callable[[Connection, int], Awaitable[None]]


async def parts_of(connection: Connection) -> list[Part]:
    """The parts of the database: together they hold every grid and village that there is, or that a
    stray row may name.
    """
    rows = await connection.fetch(
        "SELECT left(grid, $1) AS village, sum(rev)::bigint AS revs FROM counter"
        " WHERE grid ~ '^[0-9]+$' AND length(grid) > $1"
        ' GROUP BY 1 ORDER BY left(grid, $1) COLLATE "C"',
        CODE_LENGTH["village"],
    )
    begins, revs = [""], 0
    for row in rows:
        if revs and revs + row["revs"] > PART_REVS:
            begins.append(row["village"])
            revs = 0
        revs += row["revs"]
    return [Part(*bounds) for bounds in zip(begins, [*begins[1:], _END], strict=True)]


async def check(connection: Connection, settings: Settings, part: Part) -> list[Difference]:
    """Where the kept cases and tallies of a part differ from a recount while it stands still.

    Nobody waits for it, but for the writers of a part that differs in every look and is written to
    all the time: those for one look.
    """
    seen = await _look(connection, settings, part)
    for _ in range(_LOOKS):
        if not seen.found:
            return []
        heads = seen.heads
        seen = await _look(connection, settings, part)
        if seen.heads == heads:
            return seen.found
    async with _held(connection):
        return (await see(connection, settings, part)).found


async def mend(
    connection: Connection, settings: Settings, part: Part, note: Note
) -> list[Difference]:
    """Puts what the records say in place of the rows of a part that differ; nobody writes
    meanwhile. Returns what it has mended.

    `note` is told in the same transaction how many rows those are.
    """
    async with _held(connection):
        found = (await see(connection, settings, part)).found
        if found:
            await _put_right(connection, found)
            await note(connection, len(found))
        return found


async def differences(
    connection: Connection, settings: Settings, progress: Progress = lambda done, parts: None
) -> list[Difference]:
    """Where the kept cases and tallies differ from a recount; empty when all is well. The
    connection is in no transaction.
    """
    found = []
    parts = await parts_of(connection)
    for done, part in enumerate(parts, 1):
        found += await check(connection, settings, part)
        progress(done, len(parts))
    return found


@asynccontextmanager
async def _held(connection: Connection) -> AsyncIterator[None]:
    """A transaction during which nobody writes a record; it sees what was written before."""
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("LOCK TABLE counter IN EXCLUSIVE MODE")
        yield


async def _look(connection: Connection, settings: Settings, part: Part) -> Seen:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await see(connection, settings, part)


async def see(connection: Connection, settings: Settings, part: Part) -> Seen:
    """Counts a part anew and compares, in the caller's transaction, which sees one state."""
    rows = await connection.fetch(
        "SELECT grid, rev FROM counter WHERE grid >= $1 AND grid < $2", *part
    )
    truth = await recount(connection, settings, part)
    found = await _compare_cases(connection, part, truth.cases)
    for table, wanted in truth.tallies.items():
        found += await _compare(connection, part, table, wanted)
    found += await _compare_visited(connection, part, truth.visited)
    return Seen({row["grid"]: row["rev"] for row in rows}, found)


# ---------------------------------------------------------------------------------------- comparing

# The cases of the part's problems, wherever the case says that they are; and what the part keeps
# beside them, unless it is a problem's of another part, which finds it then.
_KEPT_CASES = """
    SELECT problem::text FROM case_file c WHERE grid >= $1 AND grid < $2
      AND NOT EXISTS (SELECT FROM problem p WHERE p.id = c.problem AND NOT p.deleted
          AND NOT (p.grid >= $1 AND p.grid < $2))
"""


async def _compare_cases(
    connection: Connection, part: Part, truth: Mapping[str, filing.Filed]
) -> list[Difference]:
    problems = {row["problem"] for row in await connection.fetch(_KEPT_CASES, *part)}
    kept = await filing.load(connection, problems | truth.keys())
    found = []
    for problem in sorted(truth.keys() | kept.keys()):
        one, two = kept.get(problem), truth.get(problem)
        if one != two:
            columns = [] if one is None or two is None else _differing(_named(one), _named(two))
            found.append(Difference("case", problem, str(one), str(two), problem, two, columns))
    return found


def _named(filed: filing.Filed) -> dict[str, Any]:
    """The columns of a case by their names."""
    row, case = msgspec.structs.asdict(filed), msgspec.structs.asdict(filed.case)
    return {name: value for name, value in (row | case).items() if name not in ("case", "history")}


def _differing(kept: Mapping[str, Any], truth: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The columns that differ."""
    return [(name, str(kept[name]), str(truth[name])) for name in kept if kept[name] != truth[name]]


async def _compare(
    connection: Connection, part: Part, name: str, wanted: Mapping[Any, tuple[int, ...]]
) -> list[Difference]:
    """The rows of a tally that differ; a row of naughts is as good as none."""
    table = TABLES[name]
    chosen = ", ".join([*table.keys, *table.counts])
    width = len(table.keys)
    zero = (0,) * len(table.counts)
    left = dict(wanted)
    differing: list[tuple[Any, tuple[int, ...] | None, tuple[int, ...] | None]] = []
    cursor = await connection.cursor(
        f"SELECT {chosen} FROM {name} WHERE {table.place} >= $1 AND {table.place} < $2", *part
    )
    while rows := await cursor.fetch(ROWS_AT_ONCE):
        for row in rows:
            values = tuple(row)
            key, kept = table.make(*values[:width]), values[width:]
            truth = left.pop(key, None)
            if kept != truth and kept != (truth or zero):
                differing.append((key, kept, truth))
    differing += [(key, None, truth) for key, truth in left.items() if truth != zero]
    return [
        Difference(
            name,
            _shown(key),
            str(kept),
            str(truth),
            key,
            truth,
            _differing(
                dict(zip(table.counts, kept or zero, strict=True)),
                dict(zip(table.counts, truth or zero, strict=True)),
            ),
        )
        for key, kept, truth in sorted(differing, key=itemgetter(0))
    ]


async def _compare_visited(
    connection: Connection, part: Part, wanted: Mapping[tuple[str, str], set[str]]
) -> list[Difference]:
    """The households that are kept as visited and were not, or the other way round."""
    kept = defaultdict(set)
    cursor = await connection.cursor(
        "SELECT household::text, span, grid FROM visited_household WHERE grid >= $1 AND grid < $2",
        *part,
    )
    while rows := await cursor.fetch(ROWS_AT_ONCE):
        for household, span, grid in rows:
            kept[span, grid].add(household)
    nobody: set[str] = set()
    found = []
    for span, grid in sorted(
        key
        for key in kept.keys() | wanted.keys()
        if kept.get(key, nobody) != wanted.get(key, nobody)
    ):
        truth = wanted.get((span, grid), nobody)
        for household in sorted(kept.get((span, grid), nobody) ^ truth):
            key = (household, span, grid)
            before, after = ("None", "(1,)") if household in truth else ("(1,)", "None")
            found.append(
                Difference(
                    "visited_household",
                    _shown(key),
                    before,
                    after,
                    key,
                    () if household in truth else None,
                )
            )
    return found


def _shown(key: Any) -> str:
    return str(tuple(map(str, key)) if isinstance(key, tuple) else key)


# ------------------------------------------------------------------------------------------ mending


async def _put_right(connection: Connection, found: Sequence[Difference]) -> None:
    """Writes the recounted rows in place of those that differ, in the caller's transaction."""
    cases = [item for item in found if item.what == "case"]
    await write(connection, [filing.removing([item.row for item in cases])] if cases else [])
    filed = [item.wanted for item in cases if item.wanted is not None]
    for start in range(0, len(filed), ROWS_AT_ONCE):
        await write(connection, [filing.writing(filed[start : start + ROWS_AT_ONCE])])
    for name in TABLES:
        await _put_rows(connection, name, [item for item in found if item.what == name])


async def _put_rows(connection: Connection, name: str, found: Iterable[Difference]) -> None:
    keys, counts, *_ = TABLES[name]
    rows = {item.row if isinstance(item.row, tuple) else (item.row,): item.wanted for item in found}
    if not rows:
        return
    same = " AND ".join(f"{column} = ${place}" for place, column in enumerate(keys, 1))
    await connection.executemany(f"DELETE FROM {name} WHERE {same}", [*rows])
    wanted = [(*key, *row[: len(counts)]) for key, row in rows.items() if row is not None]
    await connection.copy_records_to_table(name, columns=[*keys, *counts], records=wanted)
