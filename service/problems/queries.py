"""The SQL of problems: lists and one problem with its steps. Where a problem stands is in
`case_file`.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from service.cases.models import IS_ASSIGNED
from service.kit.bounded import bounded
from service.kit.conditions import Conditions, Range, Reach, bounds, contains, own_or_tied
from service.kit.database import Connection, Row
from service.problems.numbers import read_number
from service.records.columns import fields_json, personal_array
from sync_protocol.lifecycle import OPEN
from sync_protocol.periods import Period, day_around
from sync_protocol.records import PROBLEM, STEP

_LISTED = """
    SELECT c.problem::text AS id, c.grid, c.state, p.title, p.detail, c.duty, p.category,
           c.severity, p.source, c.raised_at, c.raised_by,
           c.handler_unit, c.handler_cadre, c.due, c.resolved_at, c.resolved_by, c.satisfied,
           c.escalated, p.household_id::text, p.dispute_kind
    FROM case_file c JOIN problem p ON p.id = c.problem
"""


class Filters(NamedTuple):
    """What a list of problems is narrowed to; None narrows nothing. `open` and `overdue` are as of
    now. `by`: what happened, or was due, in the period.
    """

    state: str | None = None
    open: bool | None = None
    overdue: bool | None = None
    severity: str | None = None
    duty: str | None = None
    cadre: str | None = None
    handler_unit: str | None = None
    text: str | None = None
    category: str | None = None
    source: str | None = None
    period: Period | None = None
    by: str = "raised"
    dispute_kind: str | None = None


# The moment by which a problem falls into a period.
_MOMENTS = {"raised": "c.raised_at", "resolved": "c.resolved_at", "due": "c.due"}


async def problems(
    connection: Connection,
    reach: Reach,
    assigned: Sequence[str],
    filters: Filters,
    now: datetime,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Problems of a reach, and those `assigned` to the reader from elsewhere, those raised last
    first.
    """
    where = Conditions.reaching(
        "c.grid", reach, own_or_tied("p", "{0}", "{1}"), assigned, "c.problem"
    )
    if filters.state is not None:
        where.add("c.state = {}", filters.state)
    if filters.open is not None:
        where.add(
            "c.state = ANY({}::text[])" if filters.open else "c.state <> ALL({}::text[])",
            sorted(OPEN),
        )
    if filters.overdue is not None:
        late = "(c.state NOT IN ('rejected', 'joined') AND coalesce(c.resolved_at, {}) > c.due)"
        where.add(late if filters.overdue else f"NOT {late}", now)
    if filters.severity is not None:
        where.add("c.severity = {}", filters.severity)
    if filters.duty is not None:
        where.add("c.duty = {}", filters.duty)
    if filters.cadre is not None:
        where.add("{} IN (c.raised_by, c.handler_cadre, c.resolved_by)", filters.cadre)
    if filters.handler_unit is not None:
        where.add("c.handler_unit = {}", filters.handler_unit)
    if filters.text is not None:
        number = read_number(filters.text)
        if number is None:
            where.add("(p.title ILIKE {0} OR p.detail ILIKE {0})", contains(filters.text))
        else:
            where.add("c.raised_at >= {} AND c.raised_at < {}", *_ends(day_around(number.day)))
            where.add("right(c.problem::text, 6) = {}", number.ends)
    if filters.category is not None:
        where.add("p.category = {}", filters.category)
    if filters.dispute_kind is not None:
        where.add("p.dispute_kind = {}", filters.dispute_kind)
    if filters.source is not None:
        where.add("p.source = {}", filters.source)
    if filters.period is not None:
        moment = _MOMENTS[filters.by]
        where.add(f"{moment} >= {{}} AND {moment} < {{}}", *_ends(filters.period))
    if after is not None:
        where.add("(c.raised_at, c.problem) < ({}, {}::uuid)", *after)
    last = where.parameter(limit)
    sql = f"{_LISTED} WHERE {where.sql} ORDER BY c.raised_at DESC, c.problem DESC LIMIT {last}"
    return await connection.fetch(bounded(sql), *where.values)


def _ends(period: Period) -> tuple[datetime, datetime]:
    return period.begins, period.ends


async def assigned_to(
    connection: Connection, staff_code: str, units: Sequence[Sequence[Range]]
) -> list[str]:
    """The open problems that were assigned to a cadre, or to one of these units or a unit below
    from elsewhere; each unit is given by its ranges.
    """
    lows, highs = bounds([one for ranges in units for one in ranges])
    numbers = [number for number, ranges in enumerate(units) for _ in ranges]
    rows = await connection.fetch(
        f"""
        SELECT problem::text FROM case_file WHERE {IS_ASSIGNED} AND handler_cadre = $1
        UNION
        SELECT c.problem::text FROM unnest($2::text[], $3::text[], $4::int[]) AS u(low, high, unit)
        JOIN case_file c ON {IS_ASSIGNED} AND c.handler_unit >= u.low AND c.handler_unit < u.high
            AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[], $4::int[])
                AS o(low, high, unit) WHERE o.unit = u.unit AND c.grid >= o.low AND c.grid < o.high)
        """,
        staff_code,
        lows,
        highs,
        numbers,
    )
    return [row["problem"] for row in rows]


async def is_tied(connection: Connection, id: str, staff_code: str, day: date) -> bool:
    """Whether a problem is a contact member's own, or about a household that is tied to the member
    on a day.
    """
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM problem p WHERE p.id = $1::uuid"
        f" AND {own_or_tied('p', '$2', '$3')})",
        id,
        staff_code,
        day.isoformat(),
    )
    return found


async def problem(connection: Connection, id: str) -> Row | None:
    """One problem as it is listed, with everything of its record."""
    return await connection.fetchrow(
        f"SELECT listed.*, r.rev, r.received_at, {fields_json(PROBLEM, 'r')} AS fields,"
        f" {personal_array(PROBLEM, 'r')} AS personal, r.created_by"
        f" FROM ({_LISTED} WHERE c.problem = $1::uuid) AS listed JOIN problem r ON r.id = $1::uuid",
        id,
    )


async def steps(connection: Connection, id: str) -> list[Row]:
    """The steps of a problem in stamp order, with the names of their authors and devices."""
    return await connection.fetch(
        f"""
        SELECT s.id::text, s.stamp, s.created_by, coalesce(c.name, '') AS name, s.received_at,
               s.offset_ms, s.device::text, coalesce(d.name, '') AS device_name,
               {fields_json(STEP, "s")} AS fields
        FROM step s LEFT JOIN cadre c ON c.staff_code = s.created_by
            LEFT JOIN device d ON d.id = s.device
        WHERE s.problem_id = $1::uuid AND NOT s.deleted ORDER BY s.stamp, s.id
        """,
        id,
    )


async def author_of(connection: Connection, id: str) -> str | None:
    """Who made the problem with this id; None when there is none."""
    author: str | None = await connection.fetchval(
        "SELECT created_by FROM problem WHERE id = $1::uuid", id
    )
    return author


async def step_with(connection: Connection, id: str) -> Row | None:
    """Who took the step with this id, of which problem, and when it came; None when there is
    none.
    """
    return await connection.fetchrow(
        "SELECT created_by, problem_id::text, received_at FROM step WHERE id = $1::uuid", id
    )


async def grid_of(connection: Connection, id: str) -> str | None:
    """The grid in which a living problem lies."""
    grid: str | None = await connection.fetchval(
        "SELECT grid FROM problem WHERE id = $1::uuid AND NOT deleted", id
    )
    return grid
