"""The SQL of the loop: which grid made each day's visit, filed its analyses and its summaries."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from service.kit.conditions import Breakdown, Range, Subtree, bounds
from service.kit.database import Connection, Row
from service.records.columns import fields_json
from service.tallies.spans import is_tallied
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


def _by_week(days: Sequence[date]) -> dict[str, int]:
    """The weeks of some days, with the days of each as bits."""
    found: dict[str, int] = {}
    for day in days:
        found[week_of(day)] = found.get(week_of(day), 0) | 1 << day.weekday()
    return found


def _but(grids: Sequence[str], column: str, place: int) -> str:
    return f" AND {column} <> ALL(${place}::text[])" if grids else ""


async def day_counts(
    connection: Connection,
    subtree: Subtree,
    days: Sequence[date],
    to_come: Sequence[date],
    below: Breakdown,
    but: Sequence[str],
) -> list[Row]:
    """Of the grid-days with a visit, per unit right below: with one that was written the same day
    (`on_time`), and with later ones only (`late`); how many of both are of days `to_come`
    (`early`); `but`: without those of these grids.
    """
    weeks, open_weeks = _by_week([*days, *to_come]), _by_week(to_come)
    return await connection.fetch(
        f"""
        SELECT code, coalesce(sum(bit_count((prompt & days)::bit(7))), 0)::int AS on_time,
               coalesce(sum(bit_count((visited & ~prompt & days)::bit(7))), 0)::int AS late,
               coalesce(sum(bit_count((visited & to_come)::bit(7))), 0)::int AS early
        FROM (SELECT {below.unit_of("w.grid", "$5")} AS code, {_VISITED} AS visited,
                     {_PROMPT} AS prompt, d.days, d.to_come
            FROM unnest($2::text[], $3::int[], $4::int[]) AS d(week, days, to_come)
              JOIN week_tally w ON w.week = d.week AND {subtree.under("w.grid")}
              {_but(but, "w.grid", 6)} OFFSET 0) AS kept GROUP BY code
        """,
        subtree.code,
        list(weeks),
        list(weeks.values()),
        [open_weeks.get(week, 0) for week in weeks],
        below.width,
        *([list(but)] if but else ()),
    )


async def log_counts(
    connection: Connection,
    subtree: Subtree,
    due: Due,
    now: datetime,
    below: Breakdown,
    but: Sequence[str],
) -> list[Row]:
    """How many logs of a kind were written by their due time, and how many later, per unit right
    below; how many of both are not due yet (`early`); `but`: without those of these grids.
    """
    name = "week" if due.log == "weekly_analysis" else "month"
    return await connection.fetch(
        f"""
        SELECT {below.unit_of("r.grid", "$5")} AS code,
               count(*) FILTER (WHERE {_STAMP} <= d.due)::int AS on_time,
               count(*) FILTER (WHERE {_STAMP} > d.due)::int AS late,
               count(*) FILTER (WHERE d.is_early)::int AS early
        FROM unnest($2::text[], $3::bigint[], $4::bool[]) AS d(name, due, is_early)
        JOIN {due.log} r ON r.{name} = d.name AND {subtree.under("r.grid")} AND NOT r.deleted
            {_but(but, "r.grid", 6)}
        GROUP BY 1
        """,
        subtree.code,
        due.names,
        # The last stamp of the millisecond in which it is due.
        [to_ms(moment) << 16 | 0xFFFF for moment in due.due],
        [moment > now for moment in due.due],
        below.width,
        *([list(but)] if but else ()),
    )


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
    weeks = _by_week(period.days)
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
    weeks = {period.name: 0} if is_tallied(period) else _by_week(period.days)
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
