"""Tallies of quarters, half-years and years, so that a year is read like a week; hours to resolve
by bands, so that a median reads few problems; since when a household has its contact member.
"""

from alembic import op

from migrations import batches
from sync_protocol.texts import Text

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None
summary = Text("Fills tallies of quarters, half-years and years, and of hours to resolve.")
compatible_from = "0013"
loses = Text("since when households have their contact members")
rewrites = ("visit", "visited_household", "case_file")
online = True

# Grids of a range: their visits are read.
_GRIDS = 50
_DUTIES = (
    "party_building",
    "social_security",
    "public_order",
    "emergency",
    "social_relief",
    "public_service",
)
_COUNTS = [
    *("visits", "raised", "resolved"),
    *(f"{name}_{duty}" for duty in _DUTIES for name in ("visits", "raised", "resolved")),
]
_IS_MONTH = "{0}.span LIKE '____-__' AND {0}.span !~ '[QH]'"
# The quarter, half-year and year of a day, and the moments at which they end.
_LONG = """unnest(ARRAY[to_char({0}, 'YYYY-"Q"Q'),
        to_char({0}, 'YYYY-"H"') || (extract(month FROM {0})::int + 5) / 6, to_char({0}, 'YYYY')],
    ARRAY[date_trunc('quarter', {0}::timestamp) + interval '3 months',
        date_trunc('year', {0}::timestamp)
            + (extract(month FROM {0})::int + 5) / 6 * interval '6 months',
        date_trunc('year', {0}::timestamp) + interval '1 year']) AS l(span, ends)"""
_DAY = "({0} AT TIME ZONE 'Asia/Shanghai')::date"
_CAME_LATE = "{0} >= l.ends AT TIME ZONE 'Asia/Shanghai'"
# What came before the quarter had ended came before the half-year had, and the year.
_QUARTER_ENDS = (
    "(date_trunc('quarter', r.visited_at AT TIME ZONE 'Asia/Shanghai') + interval '3 months')"
    " AT TIME ZONE 'Asia/Shanghai'"
)
_COUNTED = "state NOT IN ('rejected', 'joined')"

# What `part` stands for are grids.
_OF_GRIDS = f"""
    INSERT INTO grid_tally (span, grid, late, {", ".join(_COUNTS)})
    SELECT span, grid, sum(late), {", ".join(f"sum({name})" for name in _COUNTS)} FROM (
        SELECT l.span, t.grid, 0 AS late, {", ".join(f"t.{name}" for name in _COUNTS)}
        FROM {{part}} JOIN grid_tally t ON t.grid = part.grid AND {_IS_MONTH.format("t")},
            {_LONG.format("to_date(t.span, 'YYYY-MM')")}
        UNION ALL
        SELECT l.span, v.grid, 1, {", ".join("0" for _ in _COUNTS)}
        FROM {{part}} CROSS JOIN LATERAL (SELECT r.grid, r.visited_at, r.received_at FROM visit r
                WHERE r.grid = part.grid AND NOT r.deleted AND r.received_at >= {_QUARTER_ENDS}
                OFFSET 0) AS v,
            {_LONG.format(_DAY.format("v.visited_at"))}
        WHERE {_CAME_LATE.format("v.received_at")}
        UNION ALL
        SELECT l.span, c.grid, 1, {", ".join("0" for _ in _COUNTS)}
        FROM {{part}} JOIN case_file c ON c.grid = part.grid AND c.{_COUNTED},
            {_LONG.format(_DAY.format("c.raised_at"))}
        WHERE {_CAME_LATE.format("c.received_at")}
    ) AS every GROUP BY 1, 2
    ON CONFLICT (span, grid) DO UPDATE SET late = excluded.late,
        {", ".join(f"{name} = excluded.{name}" for name in _COUNTS)}
"""
_DUTIES_ADDED = f"""
    INSERT INTO duty_tally (span, grid, duty, visits, raised, resolved)
    SELECT l.span, t.grid, t.duty, sum(t.visits), sum(t.raised), sum(t.resolved)
    FROM duty_tally t, {_LONG.format("to_date(t.span, 'YYYY-MM')")}
    WHERE {_IS_MONTH.format("t")} GROUP BY 1, 2, 3
"""
# A household counts once, in the grid with the highest code: of the weeks and months that are there
# those are taken away that count twice.
_ONCE = """
    UPDATE grid_tally t SET households = t.households - d.households,
        contacts = t.contacts - d.contacts
    FROM (SELECT v.span, v.grid, count(*) AS households, count(h.contact_member) AS contacts
        FROM (SELECT household, span, max(grid) AS counts FROM visited_household GROUP BY 1, 2
              HAVING count(*) > 1) AS twice
        JOIN visited_household v ON v.household = twice.household AND v.span = twice.span
            AND v.grid <> twice.counts
        LEFT JOIN household h ON h.id = v.household AND NOT h.deleted GROUP BY 1, 2) AS d
    WHERE t.span = d.span AND t.grid = d.grid
"""
_HOUSEHOLDS = f"""
    UPDATE grid_tally t SET households = d.households, contacts = d.contacts
    FROM (SELECT s.span, s.grid, count(*) AS households, count(h.contact_member) AS contacts
        FROM (SELECT v.household, l.span, max(v.grid) AS grid FROM visited_household v,
                {_LONG.format("to_date(v.span, 'YYYY-MM')")}
              WHERE {_IS_MONTH.format("v")} GROUP BY 1, 2) AS s
        LEFT JOIN household h ON h.id = s.household AND NOT h.deleted GROUP BY 1, 2) AS d
    WHERE t.span = d.span AND t.grid = d.grid
"""
_RAISED, _RESOLVED, _DUE = (_DAY.format(name) for name in ("raised_at", "resolved_at", "due"))
_LAPSED = "due < coalesce(resolved_at, 'infinity')"
_TURNS = f"""
    SELECT grid, severity, {_RAISED} AS day, 1 AS raised, 0 AS closed, 0 AS lapsed, 0 AS cleared,
           (resolved_at IS NOT NULL)::int AS done FROM case_file WHERE {_COUNTED}
    UNION ALL
    SELECT grid, severity, greatest({_RESOLVED}, {_RAISED}), 0, 1, 0, ({_LAPSED})::int, 0
    FROM case_file WHERE {_COUNTED} AND resolved_at IS NOT NULL
    UNION ALL
    SELECT grid, severity, greatest({_DUE}, {_RAISED}), 0, 0, 1, 0, 0
    FROM case_file WHERE {_COUNTED} AND {_LAPSED}
"""
_KIND = "CASE WHEN {0} LIKE '%Q%' THEN 'quarter' WHEN {0} LIKE '%H%' THEN 'half' ELSE 'year' END"
_CASES = f"""
    INSERT INTO case_tally (every, span, village, severity, raised, closed, lapsed, cleared, done)
    SELECT {_KIND.format("l.span")}, l.span, left(grid, 12), severity, sum(raised), sum(closed),
           sum(lapsed), sum(cleared), sum(done)
    FROM ({_TURNS}) AS t, {_LONG.format("t.day")} GROUP BY 1, 2, 3, 4
"""
_DONE = f"""
    UPDATE case_tally t SET done = d.done
    FROM (SELECT s.span, left(grid, 12) AS village, severity, count(*) AS done FROM case_file,
            unnest(ARRAY['', to_char({_RAISED}, 'IYYY"-W"IW'), to_char({_RAISED}, 'YYYY-MM')])
                AS s(span)
        WHERE {_COUNTED} AND resolved_at IS NOT NULL GROUP BY 1, 2, 3) AS d
    WHERE t.span = d.span AND t.village = d.village AND t.severity = d.severity
"""
_BEGINS = [round(900 * 1.125**step) for step in range(80)]
_HOURS = f"""
    INSERT INTO hours_tally (span, village, band, problems)
    SELECT s.span, left(grid, 12),
           width_bucket(extract(epoch FROM resolved_at - raised_at), ARRAY{_BEGINS}), count(*)
    FROM case_file, unnest(ARRAY[to_char({_RESOLVED}, 'IYYY"-W"IW'), to_char({_RESOLVED},
        'YYYY-MM')] || (SELECT array_agg(l.span) FROM {_LONG.format(_RESOLVED)})) AS s(span)
    WHERE {_COUNTED} AND resolved_at IS NOT NULL GROUP BY 1, 2, 3
"""


def upgrade() -> None:
    """Fills what is there, grid by grid where visits are read. What processes of the release before
    write meanwhile and afterwards is not in it; `gridloop check --mend` puts that right.
    """
    with op.get_context().autocommit_block():
        batches.build_index(
            "case_duration",
            "case_file",
            f"((resolved_at - raised_at), resolved_at) INCLUDE (grid, raised_at) WHERE {_COUNTED}",
        )
    if batches.is_worth_it("visit"):
        batches.fill(
            "tallies of long spans", "counter", ("grid",), _OF_GRIDS.format(part="part"), _GRIDS
        )
    else:
        op.execute(_OF_GRIDS.format(part="(SELECT grid FROM counter) AS part"))
    op.execute(
        'CREATE TABLE hours_tally (span TEXT COLLATE "C" NOT NULL, village TEXT COLLATE "C" NOT'
        " NULL, band INTEGER NOT NULL, problems INTEGER DEFAULT 0 NOT NULL,"
        " PRIMARY KEY (span, village, band)) WITH (fillfactor = 80)"
    )
    op.execute(
        "CREATE TABLE contact_change (household UUID NOT NULL, day DATE NOT NULL,"
        " change INTEGER DEFAULT 0 NOT NULL, PRIMARY KEY (household, day))"
    )
    op.execute("ALTER TABLE case_tally ADD COLUMN done INTEGER DEFAULT 0 NOT NULL")
    for statement in (_DUTIES_ADDED, _ONCE, _HOUSEHOLDS, _CASES, _DONE, _HOURS):
        op.execute(statement)


def downgrade() -> None:
    """Weeks and months stay as they are."""
    op.execute("DROP INDEX case_duration")
    op.execute("DELETE FROM grid_tally WHERE span !~ 'W' AND (span ~ '[QH]' OR length(span) = 4)")
    op.execute("DELETE FROM duty_tally WHERE span !~ 'W' AND (span ~ '[QH]' OR length(span) = 4)")
    op.execute("DELETE FROM case_tally WHERE every IN ('quarter', 'half', 'year')")
    op.execute("ALTER TABLE case_tally DROP COLUMN done")
    op.execute("DROP TABLE hours_tally, contact_change")
