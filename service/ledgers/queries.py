"""The SQL of the ledgers: rows in the order in which they are filed, read by a cursor."""

from collections.abc import Sequence

from service.cases.models import IS_COUNTED
from service.kit.conditions import Subtree
from service.kit.database import Connection
from service.records.models import IS_PRESENT


async def names(connection: Connection, subtree: Subtree, others: Sequence[str]) -> dict[str, str]:
    """The names of a unit, of all below it, and of some others."""
    rows = await connection.fetch(
        f"SELECT code, name FROM unit WHERE {subtree.under('code')} OR code = ANY($2::text[])",
        subtree.code,
        list(others),
    )
    return {row["code"]: row["name"] for row in rows}


def visits(subtree: Subtree) -> str:
    """The visits of a unit $1 from $2 to $3."""
    return f"""
    SELECT r.visited_at, r.grid, r.received_at, h.head_name, h.phone, h.id::text AS household_id,
           coalesce(c.name, r.created_by) AS author, w.role, r.content,
           coalesce(r.duties, '{{}}') AS duties, p.title AS problem, k.state
    FROM visit r LEFT JOIN household h ON h.id = r.household_id
    LEFT JOIN cadre c ON c.staff_code = r.created_by
    LEFT JOIN LATERAL (SELECT o.role FROM post o WHERE o.staff_code = r.created_by
        ORDER BY o.valid_to DESC NULLS FIRST, o.valid_from DESC LIMIT 1) AS w ON true
    LEFT JOIN LATERAL (SELECT x.id, x.title FROM problem x WHERE x.visit_id = r.id AND NOT x.deleted
        ORDER BY x.id LIMIT 1) AS p ON true
    LEFT JOIN case_file k ON k.problem = p.id
    WHERE {subtree.under("r.grid")} AND r.visited_at >= $2 AND r.visited_at < $3 AND NOT r.deleted
    ORDER BY r.grid, r.visited_at, r.id
"""


def problems(subtree: Subtree) -> str:
    """The problems of a unit $1 raised from $2 to $3, and those that were raised before and open at
    $2.
    """
    return f"""
    SELECT r.problem::text AS id, r.grid, r.received_at, r.raised_at, r.raised_at < $2 AS is_older,
           coalesce(c.name, r.raised_by) AS raised_by, p.source, r.duty, p.category,
           r.severity, p.title, p.detail, coalesce(w.name, r.handler_cadre, u.name) AS handler,
           r.due, r.state, r.resolved_at, r.satisfied,
           (SELECT s.note FROM step s WHERE s.problem_id = r.problem AND s.action = 'resolve'
               AND s.at = r.resolved_at AND NOT s.deleted
            ORDER BY s.stamp DESC LIMIT 1) AS measures
    FROM case_file r JOIN problem p ON p.id = r.problem
    LEFT JOIN cadre c ON c.staff_code = r.raised_by LEFT JOIN cadre w
        ON w.staff_code = r.handler_cadre
    LEFT JOIN unit u ON u.code = r.handler_unit
    WHERE {subtree.under("r.grid")} AND r.raised_at < $3 AND (r.raised_at >= $2
        OR {IS_COUNTED} AND (r.resolved_at IS NULL OR r.resolved_at >= $2))
    ORDER BY r.raised_at, r.problem
"""


def disputes(subtree: Subtree) -> str:
    """The disputes of a unit $1 raised from $2 to $3, and those that were raised before and open at
    $2.
    """
    return f"""
    SELECT r.problem::text AS id, r.grid, r.received_at, r.raised_at, r.raised_at < $2 AS is_older,
           p.parties, p.dispute_kind, p.title, p.detail, p.mediator, p.agreement,
           p.second_visit_at, coalesce(w.name, r.handler_cadre, u.name) AS handler, r.state,
           r.satisfied,
           (SELECT s.note FROM step s WHERE s.problem_id = r.problem AND s.action = 'resolve'
               AND s.at = r.resolved_at AND NOT s.deleted
            ORDER BY s.stamp DESC LIMIT 1) AS measures
    FROM case_file r JOIN problem p ON p.id = r.problem
    LEFT JOIN cadre w ON w.staff_code = r.handler_cadre
    LEFT JOIN unit u ON u.code = r.handler_unit
    WHERE {subtree.under("r.grid")} AND r.category = 'dispute' AND r.raised_at < $3
        AND (r.raised_at >= $2 OR {IS_COUNTED} AND (r.resolved_at IS NULL OR r.resolved_at >= $2))
    ORDER BY r.raised_at, r.problem
"""


# The last visit before $3: the newest weeks in which the household was visited are rows of their
# own, $4 is the week of the period's last day; of that one all visits may lie behind the period.
_LAST = """
    LEFT JOIN LATERAL (
        SELECT max(x.visited_at) AS at FROM (
            SELECT v.span, v.grid FROM visited_household v WHERE v.household = h.id
                AND v.span LIKE '____-W__' AND v.span <= $4 ORDER BY v.span DESC LIMIT 2) AS w
        JOIN visit x ON x.grid = w.grid AND x.household_id = h.id AND NOT x.deleted
            AND x.visited_at < $3
            AND x.visited_at >= (to_date(w.span, 'IYYY"-W"IW')::timestamp
                AT TIME ZONE 'Asia/Shanghai')
            AND x.visited_at < ((to_date(w.span, 'IYYY"-W"IW') + 7)::timestamp
                AT TIME ZONE 'Asia/Shanghai')
    ) AS last ON true
"""


def _households(subtree: Subtree, more: str, joined: str, only: str, order: str) -> str:
    return f"""
    SELECT h.id::text, h.grid, h.head_name, h.phone, h.members, coalesce(h.tags, '{{}}') AS tags,
           coalesce(l.name, h.lead_member) AS lead, coalesce(c.name, h.contact_member) AS contact,
           last.at AS last_visit, {more}
    FROM household h {_LAST}
    LEFT JOIN cadre l ON l.staff_code = h.lead_member
    LEFT JOIN cadre c ON c.staff_code = h.contact_member {joined}
    WHERE {subtree.under("h.grid")} AND NOT h.deleted AND {IS_PRESENT} AND {only}
        AND ($5::timestamptz IS NULL OR last.at IS NULL OR last.at < $5)
    ORDER BY {order}
"""


def special(subtree: Subtree) -> str:
    """The special households of a unit $1, with their last visits before $3; $2: the first moment
    of the period, $4: the week of its last day; $5: only those without a visit since.
    """
    return _households(
        subtree,
        more="coalesce(last.at >= $2, false) AS is_visited",
        joined="",
        only="cardinality(h.tags) > 0",
        order="h.grid, h.head_name, h.id",
    )


def contracted(subtree: Subtree) -> str:
    """The households of a unit $1 that somebody leads, by who does, with their visits from $2 to $3
    and the last one; $4: the week of the period's last day; $5: only those without a visit since.
    """
    return _households(
        subtree,
        more="coalesce(n.visits, 0) AS visits, coalesce(n.own, 0) AS own",
        joined=f"""
    LEFT JOIN (SELECT x.household_id, y.lead_member, count(*)::int AS visits,
                   (count(*) FILTER (WHERE x.created_by = y.lead_member))::int AS own
               FROM visit x JOIN household y ON y.id = x.household_id
               WHERE {subtree.under("x.grid")} AND x.visited_at >= $2 AND x.visited_at < $3
                   AND NOT x.deleted AND y.lead_member IS NOT NULL GROUP BY 1, 2) AS n
        ON n.household_id = h.id""",
        only="h.lead_member IS NOT NULL",
        order="lead, h.lead_member, h.grid, h.head_name, h.id",
    )
