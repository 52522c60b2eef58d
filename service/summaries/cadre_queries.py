"""The SQL of what cadres did: any period, as whole months from the monthly tally and the days that
remain from the daily one.
"""

import statistics
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from service.cases.models import IS_COUNTED
from service.identity.memberships import is_member
from service.kit.conditions import Subtree
from service.kit.database import Connection, Row
from service.summaries.queries import IN_OPEN
from sync_protocol.periods import Period, local_day, month_around, quarter_around, week_around


class Pieces(NamedTuple):
    """A period as spans of `cadre_tally` and runs of days of `tally`, which are added (1) or taken
    away (-1).
    """

    spans: list[str]
    first_days: list[date]
    last_days: list[date]
    day_signs: list[int]


def pieces(subtree: Subtree, period: Period) -> Pieces:
    """Cuts a period of a unit into few pieces: whole quarters, then months, then weeks, then a part
    of a week as its days, or as the week less its other days when those are fewer.

    The spans are tallied by village, so that a single grid is counted by its days.
    """
    found = Pieces([], [], [], [])
    if subtree.height == 0:
        _days(found, period.first, period.last, 1)
        return found
    day = period.first
    while day <= period.last:
        spans = (quarter_around(day), month_around(day), week_around(day))
        whole = [span for span in spans if span.first == day and span.last <= period.last]
        around = week_around(day)
        until = min(around.last, period.last, month_around(day).last)
        if whole:
            found.spans.append(whole[0].name)
            until = whole[0].last
        elif (until - day).days < 3:
            _days(found, day, until, 1)
        else:
            found.spans.append(around.name)
            _days(found, around.first, day - timedelta(days=1), -1)
            _days(found, until + timedelta(days=1), around.last, -1)
        day = until + timedelta(days=1)
    return found


def _days(found: Pieces, first: date, last: date, sign: int) -> None:
    if first <= last:
        found.first_days.append(first)
        found.last_days.append(last)
        found.day_signs.append(sign)


def overdue(period: Period, now: datetime, ends: str, judged: str) -> str:
    """SQL for “was overdue at the end of a period, or is now if it has not ended”, of a row of
    `case_file`; `ends` and `judged` are the places of the period's end and of the moment as of
    which it is.
    """
    still = f"state IN {IN_OPEN}"
    if period.ends > now:
        return f"due < {judged} AND {still}"
    return (
        f"due < {judged} AND raised_at < {ends} AND ({still}"
        f" OR resolved_at >= {ends} AND {IS_COUNTED})"
    )


class Kept(NamedTuple):
    """What seals keep of what cadres did in some grids. `is_whole`: nothing else is shown."""

    grids: Sequence[str] = ()
    work: Sequence[Sequence[Any]] = ()
    hours: Mapping[str, Sequence[float]] = {}
    is_whole: bool = False


NOTHING_KEPT = Kept()


async def median_hours(
    connection: Connection,
    subtree: Subtree,
    period: Period,
    staff_codes: Sequence[str],
    kept: Kept = NOTHING_KEPT,
) -> dict[str, float]:
    """Median hours from raised to resolved of what each of these cadres resolved in a unit in a
    period.
    """
    if not kept.grids:
        rows = await connection.fetch(
            f"""
            SELECT resolved_by, percentile_cont(0.5) WITHIN GROUP
                (ORDER BY date_part('epoch', resolved_at - raised_at) / 3600) AS hours
            FROM case_file
            WHERE resolved_by = ANY($2::text[]) AND resolved_at >= $3 AND resolved_at < $4
                AND {IS_COUNTED}
              AND {subtree.under("grid")} GROUP BY 1
            """,
            subtree.code,
            list(staff_codes),
            period.begins,
            period.ends,
        )
        return {row["resolved_by"]: round(row["hours"], 2) for row in rows}
    found = {code: [*kept.hours[code]] for code in staff_codes if code in kept.hours}
    if not kept.is_whole:
        for row in await hours_by_grid(connection, subtree, period):
            if row["grid"] not in kept.grids:
                found.setdefault(row["resolved_by"], []).extend(row["hours"])
    return {code: round(statistics.median(hours), 2) for code, hours in found.items()}


async def work_by_grid(
    connection: Connection, subtree: Subtree, period: Period, now: datetime
) -> list[Row]:
    """What everybody did in each grid in a period, and what is overdue in their hands, by days of
    party membership (None of who is no cadre): grid, cadre, membership, visits, raised, resolved,
    overdue.
    """
    return await connection.fetch(
        f"""
        SELECT grid, cadre, member, sum(visits)::int, sum(raised)::int, sum(resolved)::int,
               sum(overdue)::int FROM (
            SELECT t.grid, t.cadre, CASE WHEN c.staff_code IS NOT NULL
                       THEN {is_member("c", "t.day")} END AS member,
                   t.visits, t.raised, t.resolved, 0 AS overdue
            FROM tally t LEFT JOIN cadre c ON c.staff_code = t.cadre
            WHERE t.day BETWEEN $2 AND $3 AND {subtree.under("t.grid")}
            UNION ALL
            SELECT f.grid, f.handler_cadre, CASE WHEN c.staff_code IS NOT NULL
                       THEN {is_member("c", "$6::date")} END, 0, 0, 0, 1
            FROM case_file f LEFT JOIN cadre c ON c.staff_code = f.handler_cadre
            WHERE {subtree.under("f.grid")} AND $5::timestamptz IS NOT NULL
                AND {overdue(period, now, "$5", "$4")}
        ) AS every GROUP BY 1, 2, 3
        HAVING sum(visits) <> 0 OR sum(raised) <> 0 OR sum(resolved) <> 0 OR sum(overdue) <> 0
        """,
        subtree.code,
        period.first,
        period.last,
        min(period.ends, now),
        period.ends,
        min(period.last, local_day(now)),
    )


async def hours_by_grid(connection: Connection, subtree: Subtree, period: Period) -> list[Row]:
    """The hours from raised to resolved of what each cadre resolved in each grid in a period."""
    return await connection.fetch(
        f"""
        SELECT grid, resolved_by,
               array_agg(date_part('epoch', resolved_at - raised_at) / 3600) AS hours
        FROM case_file WHERE resolved_at >= $2 AND resolved_at < $3 AND {IS_COUNTED}
            AND resolved_by IS NOT NULL AND {subtree.under("grid")} GROUP BY 1, 2
        """,
        subtree.code,
        period.begins,
        period.ends,
    )
