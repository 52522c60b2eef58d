"""The SQL of problems by category."""

from collections.abc import Sequence

from service.cases.models import IS_COUNTED
from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection, Row
from service.summaries.count_queries import pieces_of
from service.summaries.queries import but_not
from sync_protocol.periods import Period


async def categories(
    connection: Connection,
    subtree: Subtree,
    periods: Sequence[Period],
    below: Breakdown,
    but: Sequence[str],
) -> list[Row]:
    """Problems raised and resolved in periods of any kind, per period, unit right below and
    category. `but`: not in these grids.
    """
    pieces = [pieces_of(period) for period in periods]
    spans = [
        (period.name, span)
        for period, some in zip(periods, pieces, strict=True)
        for span in some.spans
    ]
    days = [
        (period.name, *bounds)
        for period, some in zip(periods, pieces, strict=True)
        for bounds in zip(some.begins, some.ends, strict=True)
    ]
    parts = []
    if spans:
        parts.append(
            f"""
            SELECT p.period, {below.unit_of("t.grid", "$2")} AS code, t.category, t.raised,
                   t.resolved
            FROM unnest($3::text[], $4::text[]) AS p(period, span)
            JOIN category_tally t ON t.span = p.span AND {subtree.under("t.grid")}
                {but_not(but, "t.grid", 8)}
            """
        )
    if days:
        parts += [
            f"""
            SELECT p.period, {below.unit_of("c.grid", "$2")} AS code, c.category, {counted}
            FROM unnest($5::text[], $6::timestamptz[], $7::timestamptz[])
                AS p(period, begins, ends)
            JOIN case_file c ON c.{moment} >= p.begins AND c.{moment} < p.ends
                AND {subtree.under("c.grid")} AND c.{IS_COUNTED} AND c.category IS NOT NULL
                AND c.{by} IS NOT NULL
                {but_not(but, "c.grid", 8)}
            """
            for moment, by, counted in (
                ("raised_at", "raised_by", "1, 0"),
                ("resolved_at", "resolved_by", "0, 1"),
            )
        ]
    every = " UNION ALL ".join(parts)
    return await connection.fetch(
        f"""
        -- So that every parameter has a type, whichever parts there are.
        WITH given AS (SELECT $2::int, $3::text[], $4::text[], $5::text[], $6::timestamptz[],
            $7::timestamptz[])
        SELECT period AS span, code, category, sum(raised)::int AS raised,
               sum(resolved)::int AS resolved
        FROM ({every}) AS every(period, code, category, raised, resolved) GROUP BY 1, 2, 3
        """,
        subtree.code,
        below.width,
        [period for period, _ in spans],
        [span for _, span in spans],
        [period for period, _, _ in days],
        [begins for _, begins, _ in days],
        [ends for _, _, ends in days],
        *([list(but)] if but else ()),
    )
