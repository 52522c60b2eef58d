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
from service.tallies.spans import spans_of
from sync_protocol.vocabulary import CODE_LENGTH, DUTIES

WORK_COUNTS = ("visits", "raised", "resolved")
CATEGORY_COUNTS = ("raised", "resolved")
DUTY_COUNTS = tuple(f"{name}_{duty}" for duty in DUTIES for name in WORK_COUNTS)
CASE_COUNTS = ("raised", "closed", "lapsed", "cleared", "done")
WEEK_DAYS = tuple(f"{name}_{day}" for name in ("visits", "prompt") for day in range(1, 8))
VILLAGE_DAYS = tuple(f"{name}_{day}" for name in ("visited", "prompt") for day in range(1, 8))


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
    "category_tally", {"span": "text", "grid": "text", "category": "text"}, CATEGORY_COUNTS
)
# The changes of weeks are read twice: what a day had before tells whether a grid is the first time,
# or not any more, among those of its village that were visited.
_WEEK_KEYS = {"week": "text", "grid": "text"}
_WEEK_ROWS = f"""
    SELECT * FROM ({_rows(_WEEK_KEYS, WEEK_DAYS)}) AS r(week, grid, {", ".join(WEEK_DAYS)})
"""
_WEEKS = f"""
    INSERT INTO week_tally AS t (week, grid, {", ".join(WEEK_DAYS)}) SELECT * FROM week_rows
    {_on_conflict(_WEEK_KEYS, WEEK_DAYS)} RETURNING week, grid, {", ".join(WEEK_DAYS)}
"""
_TURNED = ", ".join(
    f"sum((n.{one} > 0)::int - (n.{one} - d.{one} > 0)::int)::int AS {name}"
    for one, name in zip(WEEK_DAYS, VILLAGE_DAYS, strict=True)
)
_VILLAGE_WEEKS = f"""
    INSERT INTO village_week_tally AS t (week, village, {", ".join(VILLAGE_DAYS)})
    SELECT * FROM (SELECT week, left(grid, {CODE_LENGTH["village"]}) AS village, {_TURNED}
        FROM weeks n JOIN week_rows d USING (week, grid) GROUP BY 1, 2 ORDER BY 1, 2) AS v
    WHERE ({", ".join(VILLAGE_DAYS)}) <> ({", ".join("0" for _ in VILLAGE_DAYS)})
    {_on_conflict(("week", "village"), VILLAGE_DAYS)}
"""
_CASES = _upsert(
    "case_tally",
    {"every": "text", "span": "text", "village": "text", "severity": "text"},
    CASE_COUNTS,
)
_HOURS = _upsert("hours_tally", {"span": "text", "village": "text", "band": "int"}, ("problems",))
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
# The spans that are touched, see `spans.Bounds`; the places are those of their first parameter and
# on.
_BOUNDS = (
    "unnest(${0}::text::text[], ${1}::text::text[], ${2}::text::text[], ${3}::text::date[])"
    " AS p(span, low, high, last)"
)
# A household counts once in a span, wherever it was visited: in the grid with the highest code, as
# grids that are made get codes above those that were there. Whether it is a contact household is
# that of the last day of the span.
_CONTACT = """(h.contact_member IS NOT NULL)::int - coalesce((SELECT sum(x.change)
    FROM contact_change x WHERE x.household = t.household AND x.day > t.last), 0)"""


def _moved_counts(turned: str) -> str:
    """By how much the counts of households change, by span and grid: of rows with a `span`, the
    grid in which the household counted (`before`) and now counts (`after`), and its `contact`.
    """
    return f"""
        SELECT c.span, e.grid, sum(e.n)::int AS households, sum(e.n * c.contact)::int AS contacts
        FROM ({turned}) AS c CROSS JOIN LATERAL (VALUES (c.after, 1), (c.before, -1)) AS e(grid, n)
        WHERE e.grid IS NOT NULL GROUP BY 1, 2
    """


_NOW_VISITED = _moved_counts(f"""
    SELECT t.span, b.grid AS before, t.grid AS after, {_CONTACT} AS contact
    FROM (SELECT v.household, p.span, p.low, p.high, p.last, max(v.grid) AS grid
          FROM visited v JOIN {_BOUNDS.format(4, 5, 6, 7)} ON v.span BETWEEN p.low AND p.high
          GROUP BY 1, 2, 3, 4, 5) AS t
    LEFT JOIN LATERAL (SELECT max(o.grid) AS grid FROM visited_household o
        WHERE o.household = t.household AND o.span BETWEEN t.low AND t.high) AS b ON true
    LEFT JOIN household h ON h.id = t.household AND NOT h.deleted
    WHERE b.grid IS NULL OR b.grid < t.grid
""")
_NO_LONGER_VISITED = _moved_counts(f"""
    SELECT t.span, b.before, b.after, {_CONTACT} AS contact
    FROM (SELECT DISTINCT g.household, p.span, p.low, p.high, p.last
          FROM gone g JOIN {_BOUNDS.format(6, 7, 8, 9)} ON g.span BETWEEN p.low AND p.high) AS t
    CROSS JOIN LATERAL (
        SELECT max(o.grid) AS before, max(o.grid) FILTER (WHERE NOT EXISTS (
            SELECT FROM gone g WHERE g.household = o.household AND g.span = o.span
                AND g.grid = o.grid)) AS after
        FROM visited_household o WHERE o.household = t.household
            AND o.span BETWEEN t.low AND t.high) AS b
    LEFT JOIN household h ON h.id = t.household AND NOT h.deleted
    WHERE b.before IS DISTINCT FROM b.after
""")
_LOST_VISITS = f"""
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
    UPDATE grid_tally t SET households = t.households + d.households,
        contacts = t.contacts + d.contacts
    FROM ({_NO_LONGER_VISITED}) AS d
    WHERE t.span = d.span AND t.grid = d.grid
"""
_GRIDS = f"""
    INSERT INTO grid_tally AS t (span, grid, {", ".join(_GRID_COUNTS)}, households, contacts)
    SELECT span, grid, {", ".join(f"coalesce(s.{name}, 0)" for name in _GRID_COUNTS)},
           coalesce(d.households, 0), coalesce(d.contacts, 0)
    FROM ({_rows(_GRID_KEYS, _GRID_COUNTS)}) AS s (span, grid, {", ".join(_GRID_COUNTS)})
    FULL JOIN ({_NOW_VISITED}) AS d USING (span, grid)
    ORDER BY span, grid
    {_on_conflict(_GRID_KEYS, (*_GRID_COUNTS, "households", "contacts"))}
"""

# The longer spans of a month, as `spans_of` names them.
_LONGER = """
    VALUES (left(v.span, 5) || 'Q' || (substr(v.span, 6, 2)::int + 2) / 3),
           (left(v.span, 5) || 'H' || (substr(v.span, 6, 2)::int + 5) / 6), (left(v.span, 4))
"""
_IS_MONTH = "v.span LIKE '____-__' AND v.span NOT LIKE '%Q%' AND v.span NOT LIKE '%H%'"
# Those of the spans of today, $4 on, and later ones.
_GOES_ON = """CASE WHEN x.span LIKE '%W%' THEN x.span >= $4 WHEN x.span LIKE '%Q%' THEN x.span >= $6
    WHEN x.span LIKE '%H%' THEN x.span >= $7 WHEN length(x.span) = 4 THEN x.span >= $8
    ELSE x.span >= $5 END"""
_CONTACT_CHANGES = f"""
    UPDATE grid_tally t SET contacts = t.contacts + d.n
    FROM (SELECT x.span, x.grid, sum(f.flip) AS n
        FROM unnest($1::text::uuid[], $2::text::int[]) AS f(household, flip)
        CROSS JOIN LATERAL (
            SELECT v.span, max(v.grid) AS grid FROM visited_household v
            WHERE v.household = f.household GROUP BY 1
            UNION ALL
            SELECT l.span, max(v.grid) FROM visited_household v CROSS JOIN LATERAL ({_LONGER})
                AS l(span) WHERE v.household = f.household AND {_IS_MONTH} GROUP BY 1) AS x
        WHERE NOT $3::bool OR {_GOES_ON} GROUP BY 1, 2) AS d
    WHERE t.span = d.span AND t.grid = d.grid
"""
_KEPT_CONTACT_CHANGES = """
    INSERT INTO contact_change AS t (household, day, change)
    SELECT f.household, $3::date, f.change
    FROM unnest($1::text::uuid[], $2::text::int[]) AS f(household, change)
    ON CONFLICT (household, day) DO UPDATE SET change = t.change + excluded.change
"""


def _columns(rows: Mapping[Any, tuple[int, ...]]) -> tuple[str, ...]:
    """The rows of a tally as parameters of `_rows`."""
    keys = [(row,) for row in rows] if isinstance(next(iter(rows)), str) else rows
    counts = ",".join(map(str, chain.from_iterable(rows.values())))
    return (*_names(keys), "{" + counts + "}")


def _names(keys: Iterable[Sequence[object]]) -> list[str]:
    """The parts of keys, an array a column."""
    return [text_array(map(str, column)) for column in zip(*keys, strict=True)]


def _bounds(changes: TallyDeltas) -> list[str]:
    """The spans that changes touch, as parameters of `_BOUNDS`."""
    return _names(changes.bounds())


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
        parts += [
            Cte("week_rows", _WEEK_ROWS, _columns(weeks)),
            Cte("weeks", _WEEKS, ()),
            Cte("village_weeks", _VILLAGE_WEEKS, ()),
        ]
    if cadres:
        parts.append(Cte("cadres", _CADRES, _columns(cadres)))
    hours = changes.hours()
    if hours:
        parts.append(Cte("hours", _HOURS, _columns(hours)))
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
            Cte("grids", _GRIDS, (*_columns(grids), *_bounds(changes))),
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
            _LOST_VISITS,
            *_names(lost_visits),
            *map(array, zip(*bounds, strict=True)),
            *_bounds(changes),
        )


async def settle_households(connection: Connection, changes: TallyDeltas, today: date) -> None:
    """Counts households and their contact members anew, before the visits to them are counted;
    keeps by how much the counts have changed today.
    """
    household_counts, contact_changes = changes.household_counts(), changes.contact_changes()
    new_contacts = changes.new_contacts()
    for rows, are_new in ((changes.moved_households(), False), (changes.new_households(), True)):
        if rows:
            await connection.execute(_HOUSEHOLD_CHANGES, *_columns(rows), today, are_new)
    if household_counts:
        await connection.execute(_HOUSEHOLDS, *_columns(household_counts), today)
    for flips, only_what_goes_on in ((contact_changes, True), (new_contacts, False)):
        if flips:
            pairs = array(flips), array(flips.values())
            await connection.execute(_CONTACT_CHANGES, *pairs, only_what_goes_on, *spans_of(today))
    if contact_changes:
        pairs = array(contact_changes), array(contact_changes.values())
        await connection.execute(_KEPT_CONTACT_CHANGES, *pairs, today)
