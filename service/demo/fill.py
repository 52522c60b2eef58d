"""`gridloop fill`: a plausible history by COPY, for benchmarks and trials of scale.

It writes what a year of field work leaves behind: visits, problems with their steps and cases,
analyses, summaries, every tally, and the mutation log with the phones that handed all that in, as
real pushes would have left it.
"""

import heapq
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date, datetime, timedelta
from itertools import count as count_up
from itertools import islice
from typing import Any

import msgspec

from service.cases import filing
from service.demo.fill_log import Log, New
from service.demo.fill_tallies import TALLIES
from service.demo.made_up_year import COMMON, MadeUpYear
from service.kit.database import Connection, Database
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.kit.sql import write
from service.vocabulary.keeping import current_rules
from sync_protocol.clock import make_stamp
from sync_protocol.lifecycle import Step, fold
from sync_protocol.periods import local_day, midnight, to_ms
from sync_protocol.texts import Text

Progress = Callable[[str, int, int], None]

_AT_ONCE = 20_000
_VISIT_COLUMNS = (
    *COMMON,
    "household_id",
    "visited_at",
    "duties",
    "content",
)
# Cheaper made anew than kept up.
_INDEXES = ("visit_feed", "visit_when", "mutation_record")


class Filled(msgspec.Struct):
    """How many of each were written."""

    visits: int
    problems: int
    steps: int
    texts: int
    mutations: int


class FillRefused(Exception):
    """The database is not one to fill."""


async def fill(
    database: Database,
    settings: Settings,
    visits: int,
    problems: int,
    last: date,
    days: int,
    progress: Progress,
    seed: int = 1,
) -> Filled:
    """Writes `visits` visits and `problems` problems over the `days` days up to `last`; the roster
    is loaded already.

    Raises `FillRefused` when there are visits already.
    """
    async with database.transaction() as connection:
        if await connection.fetchval("SELECT EXISTS (SELECT FROM visit)"):
            raise FillRefused(
                Text(
                    "There are visits already; fill takes a database that holds the roster only."
                    " Name another --data folder."
                )
            )
        rows = await connection.fetch("SELECT grid, rev FROM counter WHERE grid ~ '^[0-9]{15}$'")
        heads: dict[str, int] = {row["grid"]: row["rev"] for row in rows}
        if not heads:
            raise FillRefused(Text("There is no roster yet; run ‘gridloop roster load’ first."))
        cipher = await cipher_of(connection, settings)
        if cipher.writes_v1:
            raise FillRefused(
                Text(
                    "The database is written as the previous release can read it; run ‘gridloop"
                    " keys reencrypt’ first, then fill it."
                )
            )
        log = Log(cipher, to_ms(midnight(last + timedelta(days=1))) - 1)
        year = MadeUpYear(settings, heads, last, days, seed, log)
        definitions = await _drop_indexes(connection)
        await _copy(connection, log, "visit", _VISIT_COLUMNS, year.visits(visits), visits, progress)
        steps = await _problems(connection, settings, year, problems, progress)
        texts = 0
        for kind, columns, lines in year.texts():
            texts += await _copy(connection, log, kind, columns, lines, 0, progress)
        await log.register(connection)
        for place, definition in enumerate(definitions, 1):
            await connection.execute(definition)
            progress(Text("indexes"), place, len(definitions))
        await connection.executemany(
            "UPDATE counter SET rev = $2 WHERE grid = $1", list(year.heads.items())
        )
        for place, (table, sql) in enumerate(TALLIES.items(), 1):
            progress(Text("tallies"), place, len(TALLIES))
            await connection.execute(f"DELETE FROM {table}")
            await connection.execute(sql)
    async with database.reading() as connection:
        await connection.execute("VACUUM ANALYZE")
    return Filled(visits, problems, steps, texts, log.written)


async def _drop_indexes(connection: Connection) -> list[str]:
    """Drops the indexes of visits and of the log that are cheaper made anew than kept up, and
    returns their definitions.
    """
    rows = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE indexname = ANY($1::text[])",
        list(_INDEXES),
    )
    for row in rows:
        await connection.execute(f"DROP INDEX {row['indexname']}")
    return [row["indexdef"] for row in rows]


async def _copy(
    connection: Connection,
    log: Log,
    table: str,
    columns: tuple[str, ...],
    lines: Iterator[str],
    total: int,
    progress: Progress,
) -> int:
    """Writes records, and what the log holds of them; how many records."""
    done = 0
    while batch := [*islice(lines, _AT_ONCE)]:
        await _copy_lines(connection, table, columns, batch)
        await log.write(connection)
        done += len(batch)
        progress(table, done, total or done)
    return done


async def _copy_lines(
    connection: Connection, table: str, columns: tuple[str, ...], lines: list[str]
) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield "".join(lines).encode()

    await connection.copy_to_table(
        table, columns=columns, source=source(), format="text", timeout=None
    )


async def _problems(
    connection: Connection, settings: Settings, year: MadeUpYear, count: int, progress: Progress
) -> int:
    """Writes problems and steps in order of time, each handed in by itself; how many steps."""
    rules = await current_rules(connection, settings)
    columns = {
        "problem": [*COMMON, "title", "duty", "severity", "raised_at", "source"],
        "step": [*COMMON, "problem_id", "action", "at", "note", "reason"],
    }
    rows: dict[str, list[tuple[Any, ...]]] = {"problem": [], "step": []}
    filed: list[filing.Filed] = []
    # What was made up and lies in the time after the problems so far.
    waiting: list[tuple[datetime, int, str, str, str, str, dict[str, Any]]] = []
    order, steps_written = count_up(1), 0

    def hand_in(until: datetime | None) -> None:
        while waiting and (until is None or waiting[0][0] < until):
            at, _, kind, id, grid, by, fields = heapq.heappop(waiting)
            phone = year.log.phone("problems", by)
            arrived = year.log.arrival(phone, to_ms(at))
            record = New(kind, id, grid, to_ms(at), fields, year.rev(grid))
            [(seq, stamp)] = year.log.push(phone, [record], arrived)
            row = (id, grid, record.rev, False, phone.device, seq, stamp, by, by, arrived, False)
            if kind == "problem":
                rows[kind].append(
                    (
                        *row,
                        fields["title"],
                        fields["duty"],
                        fields["severity"],
                        at,
                        fields["source"],
                    )
                )
            else:
                rows[kind].append(
                    (
                        *row,
                        fields["problem_id"],
                        fields["action"],
                        at,
                        fields.get("note"),
                        fields.get("reason"),
                    )
                )

    async def flush() -> None:
        for kind, some in rows.items():
            await connection.copy_records_to_table(
                kind, columns=columns[kind], records=some, timeout=None
            )
            some.clear()
        if filed:
            await write(connection, [filing.writing(filed)])
        filed.clear()
        await year.log.write(connection)

    for done, (problem, steps) in enumerate(year.problems(count), 1):
        grid, fields, at = problem["grid"], problem["fields"], problem["at"]
        id = year.new_id(to_ms(at))
        heapq.heappush(waiting, (at, next(order), "problem", id, grid, problem["by"], fields))
        folded = []
        for step in steps:
            ms = to_ms(step["at"])
            line = year.new_id(ms)
            heapq.heappush(
                waiting,
                (
                    step["at"],
                    next(order),
                    "step",
                    line,
                    grid,
                    step["by"],
                    {"problem_id": id, **step["fields"]},
                ),
            )
            folded.append(Step(line, make_stamp(ms), step["by"], step["fields"]))
        steps_written += len(steps)
        case = fold(fields, grid, problem["by"], folded, rules.limit_of(grid))
        case.history = []
        filed.append(filing.Filed(id, grid, fields["duty"], fields["severity"], case, at))
        if done % _AT_ONCE == 0:
            hand_in(midnight(local_day(at)))
            await flush()
            progress("problem", done, count)
    hand_in(None)
    await flush()
    progress("problem", count, count)
    return steps_written
