"""The SQL that keeps the tallies: statements that add what changed to rows, which are made as they
are needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any

from service.kit.database import Connection
from service.kit.sql import Cte, array, quoted, text_array
from service.tallies.deltas import TallyDeltas
from sync_protocol.vocabulary import DUTIES

WORK_COUNTS = ("visits", "raised", "resolved")
CASE_COUNTS = ("raised", "resolved")
DUTY_COUNTS = tuple(f"{name}_{duty}" for duty in DUTIES for name in WORK_COUNTS)
WEEK_DAYS = tuple(f"{name}_{day}" for name in ("visits", "prompt") for day in range(1, 8))


def _rows(keys: Mapping[str, str], counts: Sequence[str]) -> str:
    """Rows of a tally as a source: $1 on are their keys, an array a column; behind them all counts,
    row by row, in one more array.

    PostgreSQL takes longer to begin with an array than to read what these hold.
    """
    arrays = ", ".join(f"${place}::text::{kind}[]" for place, kind in enumerate(keys.values(), 1))
    cells = ", ".join(
        f"c.every[{len(counts)} * (k.place - 1) + {at}]" for at in range(1, len(counts) + 1)
    )
    return (
        f"SELECT {', '.join(f'k.{name}' for name in keys)}, {cells}"
        f" FROM unnest({arrays}) WITH ORDINALITY AS k({', '.join(keys)}, place),"
        f" (SELECT ${len(keys) + 1}::text::int[] AS every OFFSET 0) AS c"
    )


def _upsert(table: str, keys: Mapping[str, str], counts: Sequence[str]) -> str:
    """The statement that adds counts to rows of a tally."""
    return (
        f"INSERT INTO {table} AS t ({', '.join([*keys, *counts])}) {_rows(keys, counts)}"
        f" {_on_conflict(keys, counts)}"
    )


def _on_conflict(keys: Iterable[str], counts: Iterable[str]) -> str:
    """The part that adds to a row which is there already."""
    return (
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE"
        f" SET {', '.join(f'{name} = t.{name} + excluded.{name}' for name in counts)}"
    )


_DAYS = _upsert("tally", {"day": "date", "grid": "text", "cadre": "text"}, WORK_COUNTS)
_CADRES = _upsert("cadre_tally", {"span": "text", "village": "text", "cadre": "text"}, WORK_COUNTS)
_DUTIES = _upsert("duty_tally", {"span": "text", "grid": "text", "duty": "text"}, WORK_COUNTS)
_CATEGORIES = _upsert(
    "category_tally", {"span": "text", "grid": "text", "category": "text"}, CASE_COUNTS
)
_WEEKS = _upsert("week_tally", {"week": "text", "grid": "text"}, WEEK_DAYS)
_CASES = _upsert(
    "case_tally",
    {"every": "text", "span": "text", "village": "text", "severity": "text"},
    ("raised", "closed", "lapsed", "cleared"),
)
_HOUSEHOLD_KEYS, _HOUSEHOLD_COUNTS = {"grid": "text"}, ("households", "contacts")
_HOUSEHOLDS = f"""
    INSERT INTO household_tally AS t (grid, households, contacts, since)
    SELECT r.*, $3::date FROM ({_rows(_HOUSEHOLD_KEYS, _HOUSEHOLD_COUNTS)}) AS r
    {_on_conflict(_HOUSEHOLD_KEYS, _HOUSEHOLD_COUNTS)}
"""
_HOUSEHOLD_CHANGES = f"""
    INSERT INTO household_change AS t (day, grid, households, contacts)
    SELECT $3::date, r.* FROM ({_rows(_HOUSEHOLD_KEYS, _HOUSEHOLD_COUNTS)})
        AS r(grid, households, contacts)
    WHERE NOT $4::bool OR EXISTS (SELECT FROM household_tally h WHERE h.grid = r.grid
        AND coalesce(h.since, '0001-01-01') < $3::date)
    {_on_conflict(("day", "grid"), _HOUSEHOLD_COUNTS)}
"""

_GRID_KEYS, _GRID_COUNTS = {"span": "text", "grid": "text"}, (*WORK_COUNTS, "late", *DUTY_COUNTS)
_GRIDS_ALONE = _upsert("grid_tally", _GRID_KEYS, _GRID_COUNTS)

_VISITED = """
    INSERT INTO visited_household (household, span, grid)
    SELECT * FROM unnest($1::text::uuid[], $2::text::text[], $3::text::text[])
        ON CONFLICT DO NOTHING
    RETURNING household, span, grid
"""
_LOST_VISITS = """
    WITH gone AS (
        DELETE FROM visited_household v
        USING unnest($1::text::uuid[], $2::text::text[], $3::text::text[], $4::text::timestamptz[],
        $5::text::timestamptz[])
          AS c(household, span, grid, begins, ends)
        WHERE v.household = c.household AND v.span = c.span AND v.grid = c.grid AND NOT EXISTS (
            SELECT FROM visit r WHERE r.grid = c.grid AND r.household_id = c.household
                AND NOT r.deleted
              AND r.visited_at >= c.begins AND r.visited_at < c.ends)
        RETURNING v.household, v.span, v.grid
    )
    UPDATE grid_tally t SET households = t.households - d.households,
        contacts = t.contacts - d.contacts
    FROM (SELECT g.span, g.grid, count(*) AS households, count(h.contact_member) AS contacts
          FROM gone g LEFT JOIN household h ON h.id = g.household AND NOT h.deleted GROUP BY 1, 2)
              AS d
    WHERE t.span = d.span AND t.grid = d.grid
"""
_GRIDS = f"""
    INSERT INTO grid_tally AS t (span, grid, {", ".join(_GRID_COUNTS)}, households, contacts)
    SELECT s.*, coalesce(d.households, 0), coalesce(d.contacts, 0)
    FROM ({_rows(_GRID_KEYS, _GRID_COUNTS)}) AS s (span, grid, {", ".join(_GRID_COUNTS)})
    LEFT JOIN (SELECT v.span, v.grid, count(*) AS households, count(h.contact_member) AS contacts
               FROM visited v LEFT JOIN household h ON h.id = v.household AND NOT h.deleted
               GROUP BY 1, 2) AS d USING (span, grid)
    ORDER BY span, grid
    {_on_conflict(_GRID_KEYS, (*_GRID_COUNTS, "households", "contacts"))}
"""

_CONTACT_CHANGES = """
    UPDATE grid_tally t SET contacts = t.contacts + d.n
    FROM (SELECT v.span, v.grid, sum(f.flip) AS n
        FROM unnest($1::text::uuid[], $2::text::int[]) AS f(household, flip)
          JOIN visited_household v ON v.household = f.household GROUP BY 1, 2) AS d
    WHERE t.span = d.span AND t.grid = d.grid
"""


def _columns(rows: Mapping[Any, tuple[int, ...]]) -> tuple[str, ...]:
    """The rows of a tally as parameters of `_rows`."""
    keys = [(row,) for row in rows] if isinstance(next(iter(rows)), str) else rows
    counts = ",".join(map(str, chain.from_iterable(rows.values())))
    return (*_names(keys), "{" + counts + "}")


def _names(keys: Iterable[Sequence[object]]) -> list[str]:
    """The parts of keys, an array a column."""
    return [text_array(map(str, column)) for column in zip(*keys, strict=True)]


def adding(changes: TallyDeltas) -> list[Cte]:
    """What the visits and problems of changes add to the tallies; where visits count, the
    households stand written already.
    """
    parts = []
    cases, days, weeks, cadres, visited = (
        changes.cases(),
        changes.days(),
        changes.weeks(),
        changes.cadres(),
        changes.visited(),
    )
    if cases:
        parts.append(Cte("cases", _CASES, _columns(cases)))
    if days:
        parts.append(Cte("days", _DAYS, _columns(days)))
    if weeks:
        parts.append(Cte("weeks", _WEEKS, _columns(weeks)))
    if cadres:
        parts.append(Cte("cadres", _CADRES, _columns(cadres)))
    duties = changes.added_duties()
    if duties:
        parts.append(Cte("duties", _DUTIES, _columns(duties)))
    categories = changes.categories()
    if categories:
        parts.append(Cte("categories", _CATEGORIES, _columns(categories)))
    grids = changes.grids()
    if visited:
        # Wherever a household is visited the grid has a row.
        parts += [
            Cte("visited", _VISITED, tuple(_names(visited))),
            Cte("grids", _GRIDS, _columns(grids)),
        ]
    elif grids:
        parts.append(Cte("grids", _GRIDS_ALONE, _columns(grids)))
    return parts


async def remove_unvisited(connection: Connection, changes: TallyDeltas) -> None:
    """Takes the households that are not visited any more in a span out of its counts; the visits
    are written already.
    """
    lost_visits = changes.lost_visits()
    if lost_visits:
        bounds = [
            (quoted(period.begins.isoformat()), quoted(period.ends.isoformat()))
            for period in lost_visits.values()
        ]
        await connection.execute(
            _LOST_VISITS, *_names(lost_visits), *map(array, zip(*bounds, strict=True))
        )


async def settle_households(connection: Connection, changes: TallyDeltas, today: date) -> None:
    """Counts households and their contact members anew, before the visits to them are counted;
    keeps by how much the counts have changed today.
    """
    household_counts, contact_changes = changes.household_counts(), changes.contact_changes()
    for rows, are_new in ((changes.moved_households(), False), (changes.new_households(), True)):
        if rows:
            await connection.execute(_HOUSEHOLD_CHANGES, *_columns(rows), today, are_new)
    if household_counts:
        await connection.execute(_HOUSEHOLDS, *_columns(household_counts), today)
    if contact_changes:
        await connection.execute(
            _CONTACT_CHANGES, array(contact_changes), array(contact_changes.values())
        )
