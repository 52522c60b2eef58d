"""The SQL of the ledgers: rows in the order in which they are filed, read by a cursor."""

from service.kit.conditions import Subtree
from service.organisation.units import parent_on

# The names of a grid and of the units above it, by the tree of the day $4.
_PLACES = f"""
    JOIN unit g ON g.code = r.grid LEFT JOIN unit v ON v.code = {parent_on("g", "$4")}
    LEFT JOIN unit t ON t.code = {parent_on("v", "$4")}
    LEFT JOIN unit b ON b.code = {parent_on("t", "$4")}
"""


def visits(subtree: Subtree) -> str:
    """The visits of a unit $1 from $2 to $3; $4: the day of the tree."""
    return f"""
    SELECT r.visited_at, r.grid, r.received_at, b.name AS banner, t.name AS township,
           v.name AS village,
           g.name AS grid_name, h.head_name, h.phone,
           h.id::text AS household_id,
           coalesce(c.name, r.created_by) AS author,
           (SELECT p.role FROM post p WHERE p.staff_code = r.created_by
           ORDER BY p.valid_to DESC NULLS FIRST, p.valid_from DESC LIMIT 1)
               AS role,
           r.content, coalesce(r.duties, '{{}}') AS duties, p.title AS problem, k.state
    FROM visit r {_PLACES}
    LEFT JOIN household h ON h.id = r.household_id LEFT JOIN cadre c ON c.staff_code = r.created_by
    LEFT JOIN LATERAL (SELECT x.id, x.title FROM problem x WHERE x.visit_id = r.id AND NOT x.deleted
    ORDER BY x.id LIMIT 1) AS p ON true
    LEFT JOIN case_file k ON k.problem = p.id
    WHERE {subtree.under("r.grid")} AND r.visited_at >= $2 AND r.visited_at < $3 AND NOT r.deleted
    ORDER BY r.grid, r.visited_at, r.id
"""


def problems(subtree: Subtree) -> str:
    """The problems of a unit $1 raised from $2 to $3; $4: the day of the tree."""
    return f"""
    SELECT r.problem::text AS id, r.grid, r.received_at, r.raised_at, g.name AS grid_name,
           coalesce(c.name, r.raised_by) AS raised_by, p.source, r.duty,
           r.severity, p.title, p.detail, coalesce(w.name, r.handler_cadre, u.name) AS handler,
           r.due, r.state, r.resolved_at, r.satisfied,
           (SELECT s.note FROM step s WHERE s.problem_id = r.problem AND s.action = 'resolve'
               AND s.at = r.resolved_at AND NOT s.deleted
            ORDER BY s.stamp DESC LIMIT 1) AS measures
    FROM case_file r {_PLACES} JOIN problem p ON p.id = r.problem
    LEFT JOIN cadre c ON c.staff_code = r.raised_by LEFT JOIN cadre w
        ON w.staff_code = r.handler_cadre
    LEFT JOIN unit u ON u.code = r.handler_unit
    WHERE {subtree.under("r.grid")} AND r.raised_at >= $2 AND r.raised_at < $3
    ORDER BY r.raised_at, r.problem
"""


def disputes(subtree: Subtree) -> str:
    """The disputes of a unit $1 raised from $2 to $3; $4: the day of the tree."""
    return f"""
    SELECT r.problem::text AS id, r.grid, r.received_at, r.raised_at, p.parties, p.dispute_kind,
           p.title, p.detail, p.mediator, p.agreement, p.second_visit_at,
           coalesce(w.name, r.handler_cadre, u.name) AS handler, r.state, r.satisfied,
           (SELECT s.note FROM step s WHERE s.problem_id = r.problem AND s.action = 'resolve'
               AND s.at = r.resolved_at AND NOT s.deleted
            ORDER BY s.stamp DESC LIMIT 1) AS measures
    FROM case_file r {_PLACES} JOIN problem p ON p.id = r.problem
    LEFT JOIN cadre w ON w.staff_code = r.handler_cadre
    LEFT JOIN unit u ON u.code = r.handler_unit
    WHERE {subtree.under("r.grid")} AND r.raised_at >= $2 AND r.raised_at < $3
        AND r.category = 'dispute'
    ORDER BY r.raised_at, r.problem
"""
