"""The SQL that finds what households leave behind when they move."""

from collections.abc import Collection, Mapping, Sequence

from service.kit.database import Connection, Row
from sync_protocol.lifecycle import DONE, OPEN

# A problem that has not ended: what was resolved, or verified, may still be reopened.
UNDER_WAY = sorted((OPEN | DONE) - {"closed"})


async def problems_left_behind(
    connection: Connection, former: Mapping[str, Collection[str]]
) -> list[Row]:
    """The problems that have not ended and are about one of these households, in one of the grids
    that it has left; with the revision of each.
    """
    pairs = [(household, grid) for household, grids in former.items() for grid in grids]
    return await connection.fetch(
        """
        WITH moved AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::text[]) AS m(id, grid)),
        found AS (
            SELECT p.id, m.id AS household FROM moved m
            JOIN problem p ON p.grid = m.grid AND p.household_id = m.id
            UNION
            SELECT p.id, m.id FROM moved m
            JOIN visit v ON v.grid = m.grid AND v.household_id = m.id
            JOIN problem p ON p.visit_id = v.id AND p.household_id IS NULL AND p.grid = m.grid
        )
        SELECT p.id::text, p.grid, p.rev, f.household::text FROM found f
        JOIN problem p USING (id) JOIN case_file c ON c.problem = p.id
        WHERE NOT p.deleted AND c.state = ANY($3::text[]) ORDER BY p.id
        """,
        [household for household, _ in pairs],
        [grid for _, grid in pairs],
        UNDER_WAY,
    )


async def ties_left_behind(
    connection: Connection, former: Mapping[str, Collection[str]]
) -> list[Row]:
    """The ties of these households that lie in one of the grids that they have left; with the
    revision of each.
    """
    pairs = [(household, grid) for household, grids in former.items() for grid in grids]
    return await connection.fetch(
        "SELECT t.id::text, t.grid, t.rev, t.household_id::text AS household"
        " FROM unnest($1::uuid[], $2::text[]) AS m(id, grid)"
        " JOIN tie t ON t.household_id = m.id AND t.grid = m.grid WHERE NOT t.deleted"
        " ORDER BY t.id",
        [household for household, _ in pairs],
        [grid for _, grid in pairs],
    )


async def steps_with_revs(connection: Connection, problems: Sequence[str]) -> list[Row]:
    """The steps of problems with their revisions, in the order in which they are folded."""
    return await connection.fetch(
        "SELECT id::text, problem_id::text AS problem, rev FROM step"
        " WHERE problem_id = ANY($1::uuid[]) AND NOT deleted ORDER BY problem_id, stamp, id",
        list(problems),
    )
