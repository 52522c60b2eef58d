"""The SQL of the loop: which grid made each day's visit, filed its analyses and its summaries."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from service.kit.conditions import Range, Subtree, bounds
from service.kit.database import Connection, Row
from service.records.columns import fields_json
from service.tallies.spans import is_tallied
from service.tallies.upserts import VILLAGE_DAYS, WEEK_DAYS
from sync_protocol.periods import Period, to_ms, week_of
from sync_protocol.records import KINDS


class Due(NamedTuple):
    """Logs of one kind and when each is due: names of weeks or months."""

    log: str
    names: list[str]
    due: list[datetime]


# When a record was first written, by the corrected clock: what a phone wrote on time without
# coverage is on time.
_STAMP = "coalesce(('x' || (r.clocks -> 'first' ->> 1))::bit(64)::bigint, r.stamp)"
_WRITTEN = f"to_timestamp(({_STAMP} >> 16)::float8 / 1000)"


# The days of a week as bits, Monday the lowest: those with a visit, and those with one that was
# written on the day itself.
_VISITED, _PROMPT = (
    " | ".join(f"(({name}_{day} > 0)::int << {day - 1})" for day in range(1, 8))
    for name in ("visits", "prompt")
)


def by_week(days: Sequence[date]) -> dict[str, int]:
    """The weeks of some days, with the days of each as bits, Monday the lowest."""
    found: dict[str, int] = {}
    for day in days:
        found[week_of(day)] = found.get(week_of(day), 0) | 1 << day.weekday()
    return found


def _but(grids: Sequence[str], column: str, place: int) -> str:
    return f" AND {column} <> ALL(${place}::text[])" if grids else ""


class WeekAsked(NamedTuple):
    """A week of the grids with the codes from `low` (included) to `high` (excluded), or of the
    villages with such codes.
    """

    are_villages: bool
    low: str
    high: str
    week: str


class DaySums(NamedTuple):
    """On how many of the grids there was a visit on each day of a week, from Monday to Sunday, and
    on how many one that was written the same day.
    """

    visited: Sequence[int]
    prompt: Sequence[int]


# By whether it is villages that are asked for.
_DAYS_VISITED = {
    are_villages: f"""
        SELECT {", ".join(f"coalesce(s.{name}, 0)" for name in VILLAGE_DAYS)}
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
            AS d(low, high, week, place)
        CROSS JOIN LATERAL (SELECT {sums} FROM {table} w
            WHERE w.week = d.week AND w.{place} >= d.low AND w.{place} < d.high) AS s
        ORDER BY d.place
    """
    for are_villages, table, place, sums in (
        (
            True,
            "village_week_tally",
            "village",
            ", ".join(f"sum(w.{name})::int AS {name}" for name in VILLAGE_DAYS),
        ),
        (
            False,
            "week_tally",
            "grid",
            ", ".join(
                f"sum((w.{one} > 0)::int)::int AS {name}"
                for one, name in zip(WEEK_DAYS, VILLAGE_DAYS, strict=True)
            ),
        ),
    )
}


async def days_visited(
    connection: Connection, asked: Sequence[WeekAsked], are_villages: bool
) -> dict[WeekAsked, DaySums]:
    """On how many grids there was a visit on each day of some weeks: of villages, or of grids."""
    rows = await connection.fetch(
        _DAYS_VISITED[are_villages],
        [one.low for one in asked],
        [one.high for one in asked],
        [one.week for one in asked],
    )
    return {
        one: DaySums(tuple(row)[:7], tuple(row)[7:]) for one, row in zip(asked, rows, strict=True)
    }


class LogAsked(NamedTuple):
    """The analyses of a week, or the summaries of a month, of the grids with the codes from `low`
    (included) to `high` (excluded), and when each is due.
    """

    low: str
    high: str
    name: str
    due: datetime


async def logs_written(
    connection: Connection, log: str, asked: Sequence[LogAsked]
) -> dict[LogAsked, tuple[int, int]]:
    """How many logs of a kind were written by their due time, and how many in all. Those that were
    never changed are counted from an index alone.
    """
    name = "week" if log == "weekly_analysis" else "month"
    of_asked = f"r.{name} = d.name AND r.grid >= d.low AND r.grid < d.high AND NOT r.deleted"
    rows = await connection.fetch(
        f"""
        SELECT (u.on_time + c.on_time)::int AS on_time, (u.written + c.written)::int AS written
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY
            AS d(low, high, name, due, place)
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE r.stamp <= d.due) AS on_time, count(*) AS written
            FROM {log} r WHERE {of_asked} AND r.clocks IS NULL) AS u
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE {_STAMP} <= d.due) AS on_time, count(*) AS written
            FROM {log} r WHERE {of_asked} AND r.clocks IS NOT NULL) AS c
        ORDER BY d.place
        """,
        [one.low for one in asked],
        [one.high for one in asked],
        [one.name for one in asked],
        # The last stamp of the millisecond in which it is due.
        [to_ms(one.due) << 16 | 0xFFFF for one in asked],
    )
    return {one: (row["on_time"], row["written"]) for one, row in zip(asked, rows, strict=True)}


# Whether a unit is there on one of the days from {0} to {1}.
_OPEN = "(u.since IS NULL OR u.since <= {1}) AND (u.closed IS NULL OR u.closed > {0})"


async def grids(
    connection: Connection, subtree: Subtree, period: Period, after: str | None, limit: int
) -> list[Row]:
    """The grids of a unit in a period, in order of code."""
    return await connection.fetch(
        f"SELECT u.code, u.level, u.name FROM unit u WHERE {subtree.under('u.code')}"
        f" AND u.level = 'grid' AND {_OPEN.format('$4', '$5')} AND u.code > coalesce($2, '')"
        " ORDER BY u.code LIMIT $3",
        subtree.code,
        after,
        limit,
        period.first,
        period.last,
    )


async def grids_within(
    connection: Connection, ranges: Sequence[Range], period: Period
) -> list[Row]:
    """The grids of some units in a period."""
    return await connection.fetch(
        "SELECT DISTINCT u.code FROM unit u JOIN unnest($1::text[], $2::text[]) AS r(low, high)"
        " ON u.code >= r.low AND u.code < r.high"
        f" WHERE u.level = 'grid' AND {_OPEN.format('$3', '$4')} ORDER BY u.code",
        *bounds(ranges),
        period.first,
        period.last,
    )


async def days_of(connection: Connection, first: str, last: str, period: Period) -> list[Row]:
    """Of the grids from `first` to `last`, the days of each week with a visit (`visited`), and with
    one that was written the same day (`prompt`), as bits, Monday the lowest.
    """
    weeks = by_week(period.days)
    return await connection.fetch(
        f"""
        SELECT w.grid, w.week, ({_VISITED}) & d.days AS visited, ({_PROMPT}) & d.days AS prompt
        FROM unnest($3::text[], $4::int[]) AS d(week, days) JOIN week_tally w ON w.week = d.week
            AND w.grid BETWEEN $1 AND $2
        """,
        first,
        last,
        list(weeks),
        list(weeks.values()),
    )


async def logs_of(connection: Connection, first: str, last: str, due: Due) -> list[Row]:
    """Of the grids from `first` to `last`, the logs of a kind that were written; `on_time`: by
    their due time.
    """
    name = "week" if due.log == "weekly_analysis" else "month"
    return await connection.fetch(
        f"""
        SELECT r.grid, d.name, {_WRITTEN} <= d.due AS on_time
            FROM unnest($3::text[], $4::timestamptz[]) AS d(name, due)
        JOIN {due.log} r ON r.{name} = d.name AND r.grid BETWEEN $1 AND $2 AND NOT r.deleted
        """,
        first,
        last,
        due.names,
        due.due,
    )


async def silent(
    connection: Connection, subtree: Subtree, period: Period, but: Sequence[str], limit: int
) -> list[Row]:
    """The first grids of a unit without any visit in a period, but for some; `every`: how many
    there are.
    """
    # What the tallies have as it is need not be looked for in weeks.
    weeks = {period.name: 0} if is_tallied(period) else by_week(period.days)
    visited = (
        f"SELECT w.grid FROM grid_tally w WHERE w.span = ANY($2::text[]) AND w.visits > 0"
        f" AND $6::int[] IS NOT NULL AND {subtree.under('w.grid')}"
        if is_tallied(period)
        else f"""
            SELECT DISTINCT w.grid FROM unnest($2::text[], $6::int[]) AS d(week, days)
            JOIN week_tally w ON w.week = d.week AND {subtree.under("w.grid")}
                AND ({_VISITED}) & d.days <> 0"""
    )
    return await connection.fetch(
        f"""
        WITH visited AS ({visited})
        SELECT u.code, u.level, u.name, (count(*) OVER ())::int AS every FROM unit u
        WHERE {subtree.under("u.code")} AND u.level = 'grid'
            AND NOT EXISTS (SELECT FROM visited v WHERE v.grid = u.code)
            AND {_OPEN.format("$4", "$5")}{_but(but, "u.code", 7)}
        ORDER BY u.code LIMIT $3
        """,
        subtree.code,
        list(weeks),
        limit,
        period.first,
        period.last,
        list(weeks.values()),
        *([list(but)] if but else ()),
    )


_CASE = (
    "EXISTS (SELECT FROM case_file c WHERE c.problem = r.{0} AND (c.resolved_at IS NULL"
    " OR c.resolved_at >= $2 OR c.raised_at >= $2))"
)
_DRAFTED = {
    "household": "true",
    "visit": "r.visited_at >= $2 AND r.visited_at < $3",
    "problem": _CASE.format("id"),
    "step": _CASE.format("problem_id"),
}


async def records_of(connection: Connection, grid: str, period: Period) -> list[Row]:
    """The living records of a grid that a draft of a period counts: households, visits, problems
    not resolved before it, their steps.
    """
    parts = [
        f"SELECT '{name}' AS kind, r.id::text, r.grid, r.rev, r.stamp, r.by, r.created_by,"
        f" {fields_json(KINDS[name], 'r')} AS fields"
        f" FROM {name} r WHERE r.grid = $1 AND NOT r.deleted AND {where}"
        for name, where in _DRAFTED.items()
    ]
    return await connection.fetch(" UNION ALL ".join(parts), grid, period.begins, period.ends)
