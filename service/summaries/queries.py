"""The SQL of the summaries: each function one query over the tallies and cases of a unit and a
period.
"""

from collections.abc import Sequence

from service.kit.bounded import bounded
from service.kit.conditions import Range, Subtree, bounds
from service.kit.database import Connection, Row
from service.records.columns import fields_json
from sync_protocol.lifecycle import OPEN
from sync_protocol.records import KINDS

IN_OPEN = "(" + ", ".join(f"'{state}'" for state in sorted(OPEN)) + ")"


def but_not(grids: Sequence[str], column: str, place: int) -> str:
    """SQL for “and not in one of these grids”, which are the parameter of a place; without any
    nothing.
    """
    return f" AND {column} <> ALL(${place}::text[])" if grids else ""


async def unit_and_children(
    connection: Connection, code: str, children: Sequence[str]
) -> list[Row]:
    """A unit, and after it the `children`, in order of code; nothing when there is no such unit."""
    return await connection.fetch(
        "SELECT code, level, name FROM unit WHERE code = $1 OR code = ANY($2::text[])"
        " ORDER BY code <> $1, code",
        code,
        list(children),
    )


# Passed up, and not handed down again: the unit that has it lies above the one that problems of the
# grid come to first. $2: the position of the level of those.
_WAITS_ABOVE = """
    {0}.state IN {1} AND {0}.escalated > 0 AND EXISTS (SELECT FROM unit w JOIN level l
        ON l.slug = w.level WHERE w.code = {0}.handler_unit AND l.position < $2)
"""


async def decisions(connection: Connection, subtree: Subtree, first_handlers: int) -> Row:
    """What waits for a decision in a unit now: open problems that were escalated and not handed
    down again, open conflicts, held mutations. `first_handlers`: the position of the level that
    problems come to first.
    """
    row = await connection.fetchrow(
        f"""
        SELECT (SELECT count(*) FROM case_file c WHERE {subtree.under("c.grid")}
                   AND {_WAITS_ABOVE.format("c", IN_OPEN)})::int AS escalated,
               (SELECT count(*) FROM conflict WHERE {subtree.under("grid")}
                   AND resolved_at IS NULL)::int AS conflicts,
               (SELECT count(*) FROM held WHERE {subtree.under("grid")} AND state = 'open')::int
                   AS held
        """,
        subtree.code,
        first_handlers,
    )
    assert row is not None
    return row


async def escalated(
    connection: Connection, subtree: Subtree, first_handlers: int, limit: int
) -> list[Row]:
    """The problems of a unit that `decisions` counts, those that wait the longest first."""
    return await connection.fetch(
        f"""
        SELECT c.problem::text AS id, c.grid, p.title, c.severity, c.handler_unit, c.raised_at,
               c.due
        FROM case_file c JOIN problem p ON p.id = c.problem
        WHERE {subtree.under("c.grid")} AND {_WAITS_ABOVE.format("c", IN_OPEN)}
        ORDER BY c.raised_at, c.problem LIMIT $3
        """,
        subtree.code,
        first_handlers,
        limit,
    )


async def texts(
    connection: Connection, kind: str, name: str, ranges: Sequence[Range], after: str, limit: int
) -> list[Row]:
    """The texts of a week or month of these units."""
    key = "week" if kind == "weekly_analysis" else "month"
    return await connection.fetch(
        bounded(f"""
        SELECT r.id::text, r.grid, coalesce(u.name, '') AS grid_name, r.created_by,
               coalesce(c.name, '') AS author, r.by, r.received_at,
               {fields_json(KINDS[kind], "r")} AS fields
        FROM {kind} r LEFT JOIN unit u ON u.code = r.grid LEFT JOIN cadre c
            ON c.staff_code = r.created_by
        WHERE r.{key} = $3 AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS s(low, high)
            WHERE r.grid >= s.low AND r.grid < s.high)
          AND NOT r.deleted AND r.grid > $4 ORDER BY r.grid LIMIT $5
        """),
        *bounds(ranges),
        name,
        after,
        limit,
    )
