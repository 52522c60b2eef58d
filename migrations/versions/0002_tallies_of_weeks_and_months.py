"""Tallies of weeks and months per grid and cadre, households visited, cases that know when they
were open, seals.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
summary = Text(
    "Adds tallies of weeks and months, households visited and seals; empties the tally of days."
)
loses = Text("the tallies and all seals")
rewrites = ("case_file", "household", "step")
pace = {"case_file": 32, "household": 2, "step": 1}

STATEMENTS = """
DROP TABLE tally;
CREATE TABLE tally (
    day DATE NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    cadre TEXT COLLATE "C" NOT NULL,
    visits INTEGER DEFAULT 0 NOT NULL,
    prompt INTEGER DEFAULT 0 NOT NULL,
    raised INTEGER DEFAULT 0 NOT NULL,
    resolved INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (day, grid, cadre)
);
CREATE TABLE grid_tally (
    span TEXT COLLATE "C" NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    duty TEXT COLLATE "C" NOT NULL,
    visits INTEGER DEFAULT 0 NOT NULL,
    raised INTEGER DEFAULT 0 NOT NULL,
    resolved INTEGER DEFAULT 0 NOT NULL,
    late INTEGER DEFAULT 0 NOT NULL,
    households INTEGER DEFAULT 0 NOT NULL,
    contacts INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (span, duty, grid)
);
CREATE TABLE cadre_tally (
    span TEXT COLLATE "C" NOT NULL,
    village TEXT COLLATE "C" NOT NULL,
    cadre TEXT COLLATE "C" NOT NULL,
    visits INTEGER DEFAULT 0 NOT NULL,
    raised INTEGER DEFAULT 0 NOT NULL,
    resolved INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (span, village, cadre)
);
CREATE TABLE visited_household (
    household UUID NOT NULL,
    span TEXT COLLATE "C" NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    visits INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (household, span, grid)
);
CREATE TABLE household_tally (
    grid TEXT COLLATE "C" NOT NULL,
    households INTEGER DEFAULT 0 NOT NULL,
    contacts INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (grid)
);
CREATE TABLE seal (
    id UUID NOT NULL,
    unit TEXT COLLATE "C" NOT NULL,
    span TEXT COLLATE "C" NOT NULL,
    summary JSONB NOT NULL,
    sealed_by TEXT NOT NULL,
    sealed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lifted BOOLEAN NOT NULL,
    lifted_by TEXT,
    lifted_at TIMESTAMP WITH TIME ZONE,
    lifted_why TEXT,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX seal_in_force ON seal (unit, span) WHERE NOT lifted;
ALTER TABLE case_file ADD COLUMN received_at TIMESTAMP WITH TIME ZONE;
UPDATE case_file c SET received_at = p.received_at FROM problem p WHERE p.id = c.problem;
ALTER TABLE case_file ALTER COLUMN received_at SET NOT NULL;
ALTER TABLE case_file ADD COLUMN open_during TSTZRANGE GENERATED ALWAYS AS (
    CASE WHEN state IN ('rejected', 'joined') THEN 'empty'::tstzrange
         ELSE tstzrange(raised_at, CASE WHEN resolved_at < raised_at THEN raised_at
         ELSE resolved_at END) END) STORED;
CREATE INDEX case_newest ON case_file (raised_at, problem) INCLUDE (grid, severity, state);
CREATE INDEX case_resolved_when ON case_file (resolved_at) INCLUDE (grid, raised_at, state);
CREATE INDEX case_escalated ON case_file (grid, raised_at)
    WHERE escalated > 0 AND state IN ('raised','accepted','assigned','handling','returned','reopened');
CREATE INDEX case_resolver ON case_file (resolved_by, resolved_at);
CREATE INDEX case_open_during ON case_file USING gist (open_during);
CREATE INDEX weekly_analysis_week ON weekly_analysis (week, grid);
CREATE INDEX monthly_summary_month ON monthly_summary (month, grid);
CREATE INDEX step_author ON step (created_by, at);
CREATE INDEX household_contact ON household (contact_member) WHERE contact_member IS NOT NULL;
CREATE INDEX household_lead ON household (lead_member) WHERE lead_member IS NOT NULL;
ALTER TABLE tally SET (fillfactor = 80);
ALTER TABLE grid_tally SET (fillfactor = 80);
ALTER TABLE cadre_tally SET (fillfactor = 80);
ALTER TABLE household_tally SET (fillfactor = 50);
"""


def upgrade() -> None:
    """Makes the tables; the tallies of records that are there already are filled by `gridloop check
    --mend`.
    """
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Goes back to one tally with duties, empty."""
    op.execute("DROP INDEX case_open_during")
    op.execute("ALTER TABLE case_file DROP COLUMN open_during, DROP COLUMN received_at")
    for index in ("case_newest", "case_resolved_when", "case_escalated", "case_resolver", "weekly_analysis_week", "monthly_summary_month",
                  "step_author", "household_contact", "household_lead"):  # fmt: skip
        op.execute(f"DROP INDEX {index}")
    op.execute(
        "DROP TABLE seal, household_tally, visited_household, cadre_tally, grid_tally, tally"
    )
    op.execute(
        'CREATE TABLE tally (day DATE NOT NULL, grid TEXT COLLATE "C" NOT NULL, cadre TEXT COLLATE'
        ' "C" NOT NULL,'
        ' duty TEXT COLLATE "C" NOT NULL, visits INTEGER NOT NULL, raised INTEGER NOT NULL,'
        " resolved INTEGER NOT NULL,"
        " PRIMARY KEY (day, grid, cadre, duty))"
    )
