"""The SQL that keeps the tallies: statements that add what changed to rows, which are made as they are needed."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.database import Connection
from service.summaries.credit import Changes

WEEK_DAYS = tuple(f"{name}_{day}" for name in ("visits", "prompt") for day in range(1, 8))


def _upsert(table: str, keys: Mapping[str, str], counts: Sequence[str], first: int = 1) -> str:
    """The statement that adds counts to rows of a tally; their columns come as arrays, parameters from `first` on."""
    names = [*keys, *counts]
    types = [*keys.values(), *["int"] * len(counts)]
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, first))
    return (
        f"INSERT INTO {table} AS t ({', '.join(names)}) SELECT * FROM unnest({arrays})"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(f'{name} = t.{name} + excluded.{name}' for name in counts)}"
    )


# A household that was not visited in the span before, or is not visited any more, changes the number of distinct households.
_WORK = f"""
    WITH days AS ({_upsert("tally", {"day": "date", "grid": "text", "cadre": "text"}, ("visits", "raised", "resolved"), 12)}
    ), cadres AS ({_upsert("cadre_tally", {"span": "text", "village": "text", "cadre": "text"}, ("visits", "raised", "resolved"), 18)}
    ), weeks AS ({_upsert("week_tally", {"week": "text", "grid": "text"}, WEEK_DAYS, 24)}
    ), change AS (
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

_CASES = _upsert(
    "case_tally", {"every": "text", "span": "text", "village": "text", "severity": "text"}, ("raised", "closed", "lapsed", "cleared")
)
_STOCK = _upsert("household_tally", {"grid": "text"}, ("households", "contacts"))

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
    cases = changes.cases()
    if cases:
        await connection.execute(_CASES, *columns(cases, 4, 4))
    work = (
        *columns(changes.grids(), 3, 4),
        *columns(changes.visited(), 3, 1),
        *columns(changes.days(), 3, 3),
        *columns(changes.cadres(), 3, 3),
        *columns(changes.weeks(), 2, 14),
    )
    if any(work):
        await connection.execute(_WORK, *work)
