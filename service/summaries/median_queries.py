"""The SQL of medians of many problems: the band of hours in which one lies, and the problems of
that.
"""

from collections.abc import Sequence
from datetime import timedelta

from service.cases.models import IS_COUNTED
from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection, Row
from sync_protocol.periods import Period


async def bands(
    connection: Connection, subtree: Subtree, spans: Sequence[str], below: Breakdown
) -> list[Row]:
    """How many problems were resolved in spans, by band of hours and unit right below."""
    return await connection.fetch(
        f"""
        SELECT span, {below.unit_of("village", "$3")} AS code, band, sum(problems)::int AS problems
        FROM hours_tally WHERE span = ANY($2::text[]) AND {subtree.under("village")}
        GROUP BY 1, 2, 3 HAVING sum(problems) > 0
        """,
        subtree.code,
        list(spans),
        below.width,
    )


async def hours_between(
    connection: Connection,
    subtree: Subtree,
    period: Period,
    below: Breakdown,
    bounds: tuple[timedelta, timedelta],
) -> dict[str, list[float]]:
    """The hours from raised to resolved of what was resolved in a period and took from so long
    (included) to so long (excluded), per unit right below.
    """
    rows = await connection.fetch(
        f"""
        SELECT {below.unit_of("grid", "$4")} AS code,
               array_agg(date_part('epoch', resolved_at - raised_at) / 3600) AS hours
        FROM case_file
        WHERE resolved_at >= $2 AND resolved_at < $3 AND {IS_COUNTED} AND {subtree.under("grid")}
            AND resolved_at - raised_at >= $5 AND resolved_at - raised_at < $6
        GROUP BY 1
        """,
        subtree.code,
        period.begins,
        period.ends,
        below.width,
        *bounds,
    )
    return {row["code"]: row["hours"] for row in rows}
