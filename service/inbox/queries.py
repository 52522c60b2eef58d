"""The SQL of the inbox: conflicts and held mutations, listed and decided."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.bounded import bounded
from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row

_CONFLICT = """
    SELECT c.id::text, c.grid, c.kind, c.record::text, c.field, c.rule, c.rev, c.kept, c.kept_by,
           c.kept_device::text, c.kept_at,
           c.lost, c.lost_by, c.lost_device::text, c.lost_at, c.created_at, c.choice, c.value,
           c.note, c.resolved_by, c.resolved_at
    FROM conflict c
"""
_HELD = """
    SELECT h.id::text, h.device::text, h.seq, h.staff_code, h.kind, h.record, h.grid, h.reason,
           h.detail, h.state, h.received_at,
           h.body, h.original IS NOT NULL AS normalised, h.waits_for::text, h.decided_by,
           h.decided_at, h.decision
    FROM held h
"""
_IN_SCOPE = (
    "EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS u(low, high) WHERE {0}.grid >= u.low"
    " AND {0}.grid < u.high)"
)


async def conflicts(
    connection: Connection,
    ranges: Sequence[Range],
    state: str | None,
    kind: str | None,
    record: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Conflicts of these units, the newest first."""
    return await connection.fetch(
        bounded(
            _CONFLICT
            + f"""
        WHERE {_IN_SCOPE.format("c")} AND
            ($3::text IS NULL OR ($3 = 'open') = (c.resolved_at IS NULL))
          AND ($4::text IS NULL OR c.kind = $4) AND ($5::uuid IS NULL OR c.record = $5)
          AND ($6::timestamptz IS NULL OR (c.created_at, c.id) < ($6, $7::uuid))
        ORDER BY c.created_at DESC, c.id DESC LIMIT $8
        """
        ),
        *bounds(ranges),
        state,
        kind,
        record,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )


async def lock_conflict(
    connection: Connection, conflict: str, ranges: Sequence[Range]
) -> Row | None:
    """A conflict of these units, locked."""
    return await connection.fetchrow(
        _CONFLICT + f" WHERE {_IN_SCOPE.format('c')} AND c.id = $3 FOR UPDATE OF c",
        *bounds(ranges),
        conflict,
    )


async def resolve_conflict(
    connection: Connection,
    conflict: str,
    choice: str,
    value: str | None,
    note: str,
    by: str,
    now: datetime,
) -> None:
    """Keeps how a conflict was settled."""
    await connection.execute(
        "UPDATE conflict SET choice = $2, value = $3::jsonb, note = $4, resolved_by = $5,"
        " resolved_at = $6 WHERE id = $1",
        conflict,
        choice,
        value,
        note,
        by,
        now,
    )


async def grid_of_held(connection: Connection, id: str) -> Row | None:
    """The grid that a held mutation names, whether there is such a grid, and who wrote it."""
    return await connection.fetchrow(
        "SELECT h.grid, h.staff_code, EXISTS (SELECT FROM unit u WHERE u.code = h.grid) AS known"
        " FROM held h WHERE h.id = $1",
        id,
    )


async def original_of(connection: Connection, id: str) -> Row | None:
    """What came of a held mutation: its author, its grid and whether there is such a grid, its
    body, and the original of a copy.
    """
    return await connection.fetchrow(
        "SELECT h.staff_code, h.kind, h.record, h.grid, EXISTS (SELECT FROM unit u"
        " WHERE u.code = h.grid) AS known, h.body, h.original"
        " FROM held h WHERE h.id = $1",
        id,
    )


async def held(
    connection: Connection,
    ranges: Sequence[Range],
    author: str,
    state: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Held mutations of these units and of the caller's own, the newest first."""
    return await connection.fetch(
        bounded(
            _HELD
            + f"""
        WHERE ({_IN_SCOPE.format("h")} OR h.staff_code = $3) AND ($4::text IS NULL OR h.state = $4)
          AND ($5::timestamptz IS NULL OR (h.received_at, h.id) < ($5, $6::uuid))
        ORDER BY h.received_at DESC, h.id DESC LIMIT $7
        """
        ),
        *bounds(ranges),
        author,
        state,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )


# A record: its kind and id, and the household, problem and visit that it refers to.
Record = tuple[str, str | None, str | None, str | None, str | None]


async def subjects(connection: Connection, named: Sequence[Record]) -> list[Row]:
    """Whom or what records are about, in their order. Each is named by kind and id, and by the
    household, problem and visit that it refers to, where somebody has sent these.
    """
    if not named:
        return []
    return await connection.fetch(
        """
        SELECT h.id::text AS household, h.grid AS household_grid, h.head_name,
               p.id::text AS problem, p.grid AS problem_grid, p.title, v.visited_at,
               coalesce(a.week, m.month) AS period
        FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[]) WITH ORDINALITY
            AS n(kind, record, household, problem, visit, place)
        LEFT JOIN step s ON n.kind = 'step' AND s.id = n.record
        LEFT JOIN visit_check k ON n.kind = 'visit_check' AND k.id = n.record
        LEFT JOIN tie t ON n.kind = 'tie' AND t.id = n.record
        LEFT JOIN visit v ON v.id = CASE n.kind WHEN 'visit' THEN n.record
            WHEN 'visit_check' THEN coalesce(n.visit, k.visit_id) END
        LEFT JOIN problem p ON p.id = CASE n.kind WHEN 'problem' THEN n.record
            WHEN 'step' THEN coalesce(n.problem, s.problem_id) END
        LEFT JOIN household h ON h.id = CASE n.kind WHEN 'household' THEN n.record
            ELSE coalesce(n.household, v.household_id, p.household_id, t.household_id) END
        LEFT JOIN weekly_analysis a ON n.kind = 'weekly_analysis' AND a.id = n.record
        LEFT JOIN monthly_summary m ON n.kind = 'monthly_summary' AND m.id = n.record
        ORDER BY n.place
        """,
        *(list(column) for column in zip(*named, strict=True)),
    )
