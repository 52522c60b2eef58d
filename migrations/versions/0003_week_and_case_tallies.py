"""Tallies of the days of a week, of how problems turned, and of quarters, in place of counting days
and cases one by one.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
summary = Text("Fills tallies of weeks, cases and quarters from the days and cases.")
loses = Text("the tallies of weeks and cases")
rewrites = ("case_file", "tally")
pace = {"case_file": 8, "tally": 3}

_DAYS = range(1, 8)
_OPEN = "state IN ('raised','accepted','assigned','handling','returned','reopened')"
_DAY = "({0} AT TIME ZONE 'Asia/Shanghai')::date"
_SPANS = "unnest(ARRAY['', to_char(day, 'IYYY\"-W\"IW'), to_char(day, 'YYYY-MM')])"
_LAPSED = "due < coalesce(resolved_at, 'infinity')"
_TURNS = f"""
    SELECT grid, severity, {_DAY.format("raised_at")} AS day, 1 AS raised, 0 AS closed, 0 AS lapsed,
           0 AS cleared
    FROM case_file WHERE state NOT IN ('rejected', 'joined')
    UNION ALL
    SELECT grid, severity, greatest({_DAY.format("resolved_at")}, {_DAY.format("raised_at")}), 0, 1,
           0, ({_LAPSED})::int
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND resolved_at IS NOT NULL
    UNION ALL
    SELECT grid, severity, greatest({_DAY.format("due")}, {_DAY.format("raised_at")}), 0, 0, 1, 0
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND {_LAPSED}
"""


def _counts(names: list[str]) -> str:
    return ", ".join(f"{name} INTEGER DEFAULT 0 NOT NULL" for name in names)


def _days_of(condition: str) -> str:
    return ", ".join(
        f"coalesce(sum({condition}) FILTER (WHERE extract(isodow FROM day) = {day}), 0)"
        for day in _DAYS
    )


_WEEK_DAYS = [f"{name}_{day}" for name in ("visits", "prompt") for day in _DAYS]
STATEMENTS = (
    'CREATE TABLE week_tally (week TEXT COLLATE "C" NOT NULL, grid TEXT COLLATE "C" NOT NULL,'
    f" {_counts(_WEEK_DAYS)},"
    " PRIMARY KEY (week, grid)) WITH (fillfactor = 60)",
    'CREATE TABLE case_tally (every TEXT COLLATE "C" NOT NULL, span TEXT COLLATE "C" NOT NULL,'
    ' village TEXT COLLATE "C" NOT NULL, severity TEXT COLLATE "C" NOT NULL,'
    f" {_counts(['raised', 'closed', 'lapsed', 'cleared'])}, PRIMARY KEY (every, span, village,"
    " severity)) WITH (fillfactor = 60)",
    f"INSERT INTO week_tally (week, grid, {', '.join(_WEEK_DAYS)})"
    f" SELECT to_char(day, 'IYYY\"-W\"IW'), grid, {_days_of('visits')}, {_days_of('prompt')}"
    " FROM tally WHERE visits <> 0 GROUP BY 1, 2 ORDER BY 1, 2",
    f"INSERT INTO case_tally (every, span, village, severity, raised, closed, lapsed, cleared)"
    " SELECT CASE WHEN s.span = '' THEN '' WHEN s.span LIKE '%W%' THEN 'week'"
    " ELSE 'month' END, s.span, left(grid, 12), severity,"
    " sum(raised), sum(closed), sum(lapsed), sum(cleared)"
    f" FROM ({_TURNS}) AS t, LATERAL (SELECT {_SPANS} AS span) AS s"
    " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    "INSERT INTO cadre_tally (span, village, cadre, visits, raised, resolved)"
    " SELECT to_char(to_date(span, 'YYYY-MM'), 'YYYY-\"Q\"Q'), village, cadre, sum(visits),"
    " sum(raised), sum(resolved)"
    " FROM cadre_tally WHERE length(span) = 7 AND span NOT LIKE '%Q%' GROUP BY 1, 2, 3"
    " ORDER BY 1, 2, 3",
    "ALTER TABLE tally DROP COLUMN prompt",
    "DROP INDEX case_open_during",
    "ALTER TABLE case_file DROP COLUMN open_during",
    "DROP INDEX case_resolved_when",
    "CREATE INDEX case_resolved_when ON case_file (resolved_at) INCLUDE (grid, raised_at)"
    " WHERE state NOT IN ('rejected', 'joined')",
    "DROP INDEX case_resolver",
    "CREATE INDEX case_resolver"
    " ON case_file (resolved_by, resolved_at) INCLUDE (grid, raised_at, state)",
    "CREATE INDEX case_due ON case_file (due) INCLUDE (grid, severity, handler_cadre)"
    f" WHERE {_OPEN}",
)


def upgrade() -> None:
    """Makes the tables and fills them from the days and cases that are there."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Goes back; `prompt` is 0 until `gridloop check --mend` of that version."""
    op.execute("DROP INDEX case_due")
    op.execute("DROP INDEX case_resolved_when")
    op.execute(
        "CREATE INDEX case_resolved_when"
        " ON case_file (resolved_at) INCLUDE (grid, raised_at, state)"
    )
    op.execute("DROP INDEX case_resolver")
    op.execute("CREATE INDEX case_resolver ON case_file (resolved_by, resolved_at)")
    op.execute(
        "ALTER TABLE case_file ADD COLUMN open_during TSTZRANGE GENERATED ALWAYS AS ("
        "CASE WHEN state IN ('rejected', 'joined') THEN 'empty'::tstzrange"
        " ELSE tstzrange(raised_at, CASE WHEN resolved_at < raised_at THEN raised_at ELSE"
        " resolved_at END) END) STORED"
    )
    op.execute("CREATE INDEX case_open_during ON case_file USING gist (open_during)")
    op.execute("DELETE FROM cadre_tally WHERE span LIKE '%Q%'")
    op.execute("ALTER TABLE tally ADD COLUMN prompt INTEGER DEFAULT 0 NOT NULL")
    op.execute("DROP TABLE week_tally, case_tally")
