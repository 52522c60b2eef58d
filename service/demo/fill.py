"""`gridloop fill`: a plausible history by COPY, for benchmarks and trials of scale.

It writes what a year of field work leaves behind: visits, problems with their steps and cases,
analyses, summaries, every tally, and the mutation log with the phones that handed all that in, as
real pushes would have left it.
"""

import heapq
import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date, datetime, timedelta
from itertools import count as count_up
from itertools import islice
from typing import Any

import msgspec

from service.cases import filing
from service.demo.fill_log import Log, New
from service.demo.notes import notes
from service.kit.database import Connection, Database
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.kit.sql import NULL_CELL, copy_field, write
from service.kit.workdays import is_workday
from service.organisation import generator
from service.tallies.upserts import DUTY_COUNTS, WEEK_DAYS, WORK_COUNTS
from sync_protocol import periods
from sync_protocol.clock import make_stamp
from sync_protocol.fields import canonical_moment
from sync_protocol.ids import household_id, monthly_summary_id, weekly_analysis_id
from sync_protocol.lifecycle import Step, fold
from sync_protocol.periods import SHANGHAI, from_ms, local_day, midnight, month_of, to_ms, week_of
from sync_protocol.texts import Text
from sync_protocol.vocabulary import DUTIES, SEVERITIES

Progress = Callable[[str, int, int], None]

_AT_ONCE = 20_000
# What every record has.
_COMMON = (
    "id",
    "grid",
    "rev",
    "deleted",
    "device",
    "seq",
    "stamp",
    "by",
    "created_by",
    "received_at",
    "echo",
)
_VISIT_COLUMNS = (
    *_COMMON,
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
        year = _Year(settings, heads, last, days, seed, log)
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
        for place, (table, sql) in enumerate(_TALLIES.items(), 1):
            progress(Text("tallies"), place, len(_TALLIES))
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


class _Year:
    """The made-up year: who works where, and what they write; the same for a seed."""

    def __init__(
        self, settings: Settings, heads: dict[str, int], last: date, days: int, seed: int, log: Log
    ) -> None:
        self.rng = random.Random(seed)
        self.log = log
        self.heads = heads
        self.last = last
        self.days = [last - timedelta(days=n) for n in range(days - 1, -1, -1)]
        self.working = [day for day in self.days if is_workday(day)] or self.days
        whole = generator.roster()
        self.workers: dict[str, list[str]] = {}
        self.village_cadres: dict[str, list[str]] = {}
        for cadre in whole.cadres:
            if cadre.role == "grid_worker":
                self.workers.setdefault(cadre.unit, []).append(cadre.staff_code)
            elif len(cadre.unit) == 12:
                self.village_cadres.setdefault(cadre.unit, []).append(cadre.staff_code)
        self.grids = sorted(heads)
        per_grid = settings.households_per_grid
        self.houses = {
            grid: [household_id(grid, number) for number in range(1, per_grid + 1)]
            for grid in self.grids
        }
        by_kind = notes()
        self.notes = {
            kind: [text for (_, name), texts in by_kind.items() if name == kind for text in texts]
            for kind in ("visit", "problem", "resolution")
        }
        self.number = 0

    def new_id(self, ms: int) -> str:
        """A UUIDv7 whose random part counts up."""
        self.number += 1
        return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7000-8000-{self.number:012x}"

    def rev(self, grid: str) -> int:
        """The next revision of a grid."""
        self.heads[grid] += 1
        return self.heads[grid]

    def visits(self, count: int) -> Iterator[str]:
        """Lines of visits in order of time: on working days, by the grid's workers and now and then
        a village cadre, each of whom hands in at once what a day brought.
        """
        choice, random_ = self.rng.choice, self.rng.random
        duties, contents = list(DUTIES), self.notes["visit"]
        days = len(self.working)
        for place, day in enumerate(self.working):
            begins = to_ms(midnight(day))
            made: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
            for number in range(count * place // days, count * (place + 1) // days):
                grid = self.grids[number % len(self.grids)]
                by = (
                    choice(self.village_cadres[grid[:12]])
                    if random_() < 0.1
                    else choice(self.workers[grid])
                )
                ms = begins + 8 * 3_600_000 + int(random_() * 10 * 3_600_000)
                fields: dict[str, Any] = {
                    "visited_at": canonical_moment(from_ms(ms)),
                    "duties": {"add": [choice(duties)]},
                }
                if self.houses[grid]:
                    fields["household_id"] = choice(self.houses[grid])
                made.setdefault(by, []).append((ms, grid, fields | {"content": choice(contents)}))
            for by, some in made.items():
                yield from self._handed_in(by, sorted(some, key=lambda visit: visit[0]))

    def _handed_in(self, by: str, visits: list[tuple[int, str, dict[str, Any]]]) -> Iterator[str]:
        """Lines of the visits of a day that somebody hands in together, within the hour, or once
        there is coverage again.
        """
        random_ = self.rng.random
        late = int(random_() * 3 * 86_400_000) if random_() < 0.05 else int(random_() * 3_600_000)
        phone = self.log.phone("visits", by)
        at = self.log.arrival(phone, visits[-1][0] + late)
        records = [
            New("visit", self.new_id(ms), grid, ms, fields, self.rev(grid))
            for ms, grid, fields in visits
        ]
        for record, (seq, stamp) in zip(records, self.log.push(phone, records, at), strict=True):
            fields, house = record.fields, record.fields.get("household_id", NULL_CELL)
            yield (
                f"{record.id}\t{record.grid}\t{record.rev}\tf\t{phone.device}\t{seq}\t{stamp}\t{by}\t{by}\t{at.isoformat()}\tf"
                f"\t{house}\t{_moment(record.ms)}\t{{{fields['duties']['add'][0]}}}\t{copy_field(fields['content'])}\n"
            )

    def problems(self, count: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Problems in order of time, each with its steps; a tenth of the last days' are still open,
        one in twenty is escalated.
        """
        rng = self.rng
        for number in range(count):
            day = self.days[number * len(self.days) // count]
            raised = midnight(day) + timedelta(hours=8, seconds=rng.randrange(36_000))
            grid = self.grids[rng.randrange(len(self.grids))]
            worker, cadre = (
                rng.choice(self.workers[grid]),
                rng.choice(self.village_cadres[grid[:12]]),
            )
            problem = {
                "grid": grid,
                "by": worker,
                "at": raised,
                "fields": {
                    "title": rng.choice(self.notes["problem"])[:60],
                    "duty": rng.choice(list(DUTIES)),
                    "severity": rng.choices(list(SEVERITIES), (80, 17, 3))[0],
                    "raised_at": canonical_moment(raised),
                    "source": "visit",
                },
            }
            yield problem, self._steps(raised, worker, cadre)

    def _steps(self, raised: datetime, worker: str, cadre: str) -> list[dict[str, Any]]:
        rng = self.rng
        luck = rng.random()
        plan: list[tuple[str, str, float]]
        if luck < 0.3:
            plan = [(worker, "resolve", 4)]
        elif luck < 0.33:
            plan = [(cadre, "reject", 20)]
        elif luck < 0.38:
            plan = [(cadre, "accept", 10), (cadre, "escalate", 30), (cadre, "resolve", 200)]
        elif luck < 0.4:
            plan = [
                (cadre, "accept", 10),
                (worker, "resolve", 60),
                (cadre, "reopen", 80),
                (worker, "resolve", 120),
            ]
        else:
            plan = [
                (cadre, "accept", 8),
                (worker, "handle", 20),
                (worker, "resolve", 24 + 140 * rng.random() ** 2),
            ]
        steps = []
        end = datetime.combine(self.last, datetime.min.time(), SHANGHAI) + timedelta(days=1)
        for by, action, hours in plan:
            at = raised + timedelta(seconds=int(3600 * hours * (0.5 + rng.random() / 2)))
            if at >= end:
                break
            fields = {"action": action, "at": canonical_moment(at)}
            if action == "reject":
                fields["reason"] = "unfounded"
            if action == "resolve":
                fields["note"] = rng.choice(self.notes["resolution"])
            steps.append({"by": by, "at": at, "fields": fields})
        return steps

    def texts(self) -> Iterator[tuple[str, tuple[str, ...], Iterator[str]]]:
        """The analyses and summaries that nineteen of twenty grids filed."""
        weeks = [
            name
            for name in dict.fromkeys(map(week_of, self.days))
            if periods.week(name).last <= self.last
        ]
        months = [
            name
            for name in dict.fromkeys(map(month_of, self.days))
            if periods.month(name).last <= self.last
        ]
        yield (
            "weekly_analysis",
            (*_COMMON, "week", "situation", "measures"),
            self._filed("weekly_analysis", weeks, periods.week, weekly_analysis_id),
        )
        yield (
            "monthly_summary",
            (*_COMMON, "month", "results", "measures"),
            self._filed("monthly_summary", months, periods.month, monthly_summary_id),
        )

    def _filed(self, kind: str, names: list[str], parse: Any, id_of: Any) -> Iterator[str]:
        key, first = ("week", "situation") if kind == "weekly_analysis" else ("month", "results")
        for name in names:
            ends = to_ms(parse(name).ends)
            for grid in self.grids:
                luck = self.rng.random()
                if luck < 0.05:
                    continue
                by = self.workers[grid][0]
                phone = self.log.phone(kind, by)
                at = self.log.arrival(phone, ends + (86_400_000 * 4 if luck < 0.1 else 3_600_000))
                fields = {key: name, first: "本期平稳", "measures": "继续走访"}
                record = New(kind, id_of(grid, name), grid, to_ms(at), fields, self.rev(grid))
                [(seq, stamp)] = self.log.push(phone, [record], at)
                yield (
                    f"{record.id}\t{grid}\t{record.rev}\tf\t{phone.device}\t{seq}\t{stamp}\t{by}\t{by}\t{at.isoformat()}\tf"
                    f"\t{name}\t{fields[first]}\t{fields['measures']}\n"
                )


def _moment(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="milliseconds")


async def _problems(
    connection: Connection, settings: Settings, year: _Year, count: int, progress: Progress
) -> int:
    """Writes problems and steps in order of time, each handed in by itself; how many steps."""
    limit = filing.limit_rule_of(settings)
    columns = {
        "problem": [*_COMMON, "title", "duty", "severity", "raised_at", "source"],
        "step": [*_COMMON, "problem_id", "action", "at", "note", "reason"],
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
        case = fold(fields, grid, problem["by"], folded, limit)
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


# What the tallies are, said once more in SQL over whole tables: `gridloop check` compares it with
# the rule of `credit`.
_DAY = "({0} AT TIME ZONE 'Asia/Shanghai')::date"
_SPANS = "unnest(ARRAY[to_char({0}, 'IYYY\"-W\"IW'), to_char({0}, 'YYYY-MM')])"
_LATE = """({0} >= (CASE WHEN s.span LIKE '%W%' THEN to_date(s.span, 'IYYY"-W"IW') + 7
            ELSE (to_date(s.span, 'YYYY-MM') + interval '1 month')::date END)::timestamp
             AT TIME ZONE 'Asia/Shanghai')"""
_VISITS = f"""
    SELECT grid, created_by AS cadre, household_id, received_at, duties,
           {_DAY.format("visited_at")} AS day,
           {_DAY.format("to_timestamp((stamp >> 16) / 1000.0)")} AS written FROM visit
           WHERE NOT deleted
"""
_WORK = f"""
    SELECT grid, raised_by AS cadre, {_DAY.format("raised_at")} AS day, duty, received_at,
           1 AS raised, 0 AS resolved
    FROM case_file WHERE state NOT IN ('rejected', 'joined')
    UNION ALL
    SELECT grid, resolved_by, {_DAY.format("resolved_at")}, duty, NULL, 0, 1
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND resolved_at IS NOT NULL
"""
_CLOSED = f"greatest({_DAY.format('resolved_at')}, {_DAY.format('raised_at')})"
_LAPSED = "due < coalesce(resolved_at, 'infinity')"
_TURNS = f"""
    SELECT grid, severity, {_DAY.format("raised_at")} AS day, 1 AS raised, 0 AS closed, 0 AS lapsed,
           0 AS cleared
    FROM case_file WHERE state NOT IN ('rejected', 'joined')
    UNION ALL
    SELECT grid, severity, {_CLOSED}, 0, 1, 0, ({_LAPSED})::int
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND resolved_at IS NOT NULL
    UNION ALL
    SELECT grid, severity, greatest({_DAY.format("due")}, {_DAY.format("raised_at")}), 0, 0, 1, 0
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND {_LAPSED}
"""
_ON_DAY = "count(*) FILTER (WHERE extract(isodow FROM day) = {}{})"
_ON_DAYS = ", ".join(_ON_DAY.format(day, "") for day in range(1, 8))
_WRITTEN_ON_DAYS = ", ".join(_ON_DAY.format(day, " AND written = day") for day in range(1, 8))
_BY_DUTY = ", ".join(
    f"coalesce(sum({name}) FILTER (WHERE '{duty}' = ANY (duties)), 0)"
    for duty in DUTIES
    for name in WORK_COUNTS
)
_TALLIES = {
    "tally": f"""
        INSERT INTO tally (day, grid, cadre, visits, raised, resolved)
        SELECT day, grid, cadre, sum(visits), sum(raised), sum(resolved) FROM (
            SELECT day, grid, cadre, 1 AS visits, 0 AS raised, 0 AS resolved FROM ({_VISITS}) AS v
            UNION ALL SELECT day, grid, cadre, 0, raised, resolved FROM ({_WORK}) AS w) AS every
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "week_tally": f"""
        INSERT INTO week_tally (week, grid, {", ".join(WEEK_DAYS)})
        SELECT to_char(day, 'IYYY"-W"IW'), grid,
               {_ON_DAYS},
               {_WRITTEN_ON_DAYS}
        FROM ({_VISITS}) AS v GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "case_tally": f"""
        INSERT INTO case_tally (every, span, village, severity, raised, closed, lapsed, cleared)
        SELECT CASE WHEN s.span = '' THEN '' WHEN s.span LIKE '%W%' THEN 'week'
            ELSE 'month' END, s.span, left(grid, 12), severity,
               sum(raised), sum(closed), sum(lapsed), sum(cleared)
        FROM ({_TURNS}) AS w, LATERAL (SELECT '' AS span UNION ALL SELECT {_SPANS.format("w.day")})
            AS s
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """,
    "cadre_tally": f"""
        INSERT INTO cadre_tally (span, village, cadre, visits, raised, resolved)
        SELECT s.span, left(grid, 12), cadre, sum(visits), sum(raised), sum(resolved)
        FROM tally t, LATERAL (SELECT {_SPANS.format("t.day")} AS span
            UNION ALL SELECT to_char(t.day, 'YYYY-"Q"Q')) AS s
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "visited_household": f"""
        INSERT INTO visited_household (household, span, grid)
        SELECT DISTINCT household_id, s.span, grid
            FROM ({_VISITS}) AS v, LATERAL (SELECT {_SPANS.format("v.day")} AS span) AS s
        WHERE household_id IS NOT NULL ORDER BY 1, 2, 3
    """,
    "grid_tally": f"""
        INSERT INTO grid_tally (span, grid, visits, raised, resolved, late, households, contacts,
            {", ".join(DUTY_COUNTS)})
        SELECT span, grid, sum(visits), sum(raised), sum(resolved), sum(late), sum(households),
               sum(contacts),
               {_BY_DUTY}
        FROM (
            SELECT s.span, grid, 1 AS visits, 0 AS raised, 0 AS resolved,
                   ({_LATE.format("received_at")})::int AS late,
                   0 AS households, 0 AS contacts, duties
            FROM ({_VISITS}) AS v, LATERAL (SELECT {_SPANS.format("v.day")} AS span) AS s
            UNION ALL
            SELECT s.span, grid, 0, raised, resolved,
                   (raised = 1 AND {_LATE.format("received_at")})::int, 0, 0, ARRAY[duty]
            FROM ({_WORK}) AS w, LATERAL (SELECT {_SPANS.format("w.day")} AS span) AS s
            UNION ALL
            SELECT v.span, v.grid, 0, 0, 0, 0, 1, (h.contact_member IS NOT NULL)::int, NULL
            FROM visited_household v LEFT JOIN household h ON h.id = v.household AND NOT h.deleted)
                AS every
        GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "household_tally": """
        INSERT INTO household_tally (grid, households, contacts)
        SELECT grid, count(*), count(contact_member) FROM household WHERE NOT deleted GROUP BY 1
    """,
}
