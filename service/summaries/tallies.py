"""The SQL that keeps the tallies: one statement a table, each adding what changed to rows that are made as they are needed."""

from collections.abc import Mapping
from typing import Any

from service.database import Connection
from service.summaries.credit import Changes

_DAYS = """
    INSERT INTO tally AS t (day, grid, cadre, visits, prompt, raised, resolved)
    SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[])
    ON CONFLICT (day, grid, cadre) DO UPDATE
    SET visits = t.visits + excluded.visits, prompt = t.prompt + excluded.prompt,
        raised = t.raised + excluded.raised, resolved = t.resolved + excluded.resolved
"""

_CADRES = """
    INSERT INTO cadre_tally AS t (span, village, cadre, visits, raised, resolved)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::int[])
    ON CONFLICT (span, village, cadre) DO UPDATE
    SET visits = t.visits + excluded.visits, raised = t.raised + excluded.raised, resolved = t.resolved + excluded.resolved
"""

# A household that was not visited in the span before, or is not visited any more, changes the number of distinct households.
_GRIDS = """
    WITH change AS (
        SELECT * FROM unnest($8::uuid[], $9::text[], $10::text[], $11::int[]) AS c(household, span, grid, visits)
    ), visited AS (
        INSERT INTO visited_household AS v (household, span, grid, visits) SELECT * FROM change
        ON CONFLICT (household, span, grid) DO UPDATE SET visits = v.visits + excluded.visits
        RETURNING household, span, grid, visits
    ), turned AS (
        SELECT v.span, v.grid, (v.visits > 0)::int - (v.visits - c.visits > 0)::int AS n, h.contact_member IS NOT NULL AS contact
        FROM visited v JOIN change c USING (household, span, grid) LEFT JOIN household h ON h.id = v.household AND NOT h.deleted
    )
    INSERT INTO grid_tally AS t (span, grid, duty, visits, raised, resolved, late, households, contacts)
    SELECT span, grid, duty, sum(visits), sum(raised), sum(resolved), sum(late), sum(households), sum(contacts) FROM (
        SELECT *, 0, 0 FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[])
        UNION ALL
        SELECT span, grid, '', 0, 0, 0, 0, n, CASE WHEN contact THEN n ELSE 0 END FROM turned WHERE n <> 0
    ) AS d (span, grid, duty, visits, raised, resolved, late, households, contacts)
    GROUP BY span, grid, duty ORDER BY span, grid, duty
    ON CONFLICT (span, grid, duty) DO UPDATE
    SET visits = t.visits + excluded.visits, raised = t.raised + excluded.raised, resolved = t.resolved + excluded.resolved,
        late = t.late + excluded.late, households = t.households + excluded.households, contacts = t.contacts + excluded.contacts
"""

_STOCK = """
    INSERT INTO household_tally AS t (grid, households, contacts) SELECT * FROM unnest($1::text[], $2::int[], $3::int[])
    ON CONFLICT (grid) DO UPDATE SET households = t.households + excluded.households, contacts = t.contacts + excluded.contacts
"""

_FLIPS = """
    UPDATE grid_tally t SET contacts = t.contacts + d.n
    FROM (SELECT v.span, v.grid, sum(f.flip) AS n FROM unnest($1::uuid[], $2::int[]) AS f(household, flip)
          JOIN visited_household v ON v.household = f.household AND v.visits > 0 GROUP BY 1, 2) AS d
    WHERE t.span = d.span AND t.grid = d.grid AND t.duty = ''
"""


def columns(rows: Mapping[Any, tuple[int, ...]], keys: int, counts: int) -> list[list[Any]]:
    """The rows of a tally as one array a column, `keys` of the key and `counts` of the counts; empty arrays for no rows."""
    if not rows:
        return [[] for _ in range(keys + counts)]
    names = [list(column) for column in zip(*rows, strict=True)] if keys > 1 else [list(rows)]
    return names + [list(column) for column in zip(*rows.values(), strict=True)]


async def add(connection: Connection, changes: Changes) -> None:
    """Adds changes to the tallies. The records themselves are written already."""
    stock, flips = changes.stock(), changes.flips()
    if stock:
        await connection.execute(_STOCK, *columns(stock, 1, 2))
    if flips:
        await connection.execute(_FLIPS, list(flips), list(flips.values()))
    days = changes.days()
    if days:
        await connection.execute(_DAYS, *columns(days, 3, 4))
    cadres = changes.cadres()
    if cadres:
        await connection.execute(_CADRES, *columns(cadres, 3, 3))
    grids, visited = changes.grids(), changes.visited()
    if grids or visited:
        await connection.execute(_GRIDS, *columns(grids, 3, 4), *columns(visited, 3, 1))
