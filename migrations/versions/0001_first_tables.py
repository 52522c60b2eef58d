"""Units and cadres, devices and tokens, the six record kinds, the sync's log and counters, cases
and tallies.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
summary = Text(
    "Makes the first tables: units and cadres, devices, records, the log, cases and tallies."
)
loses = Text("all that is in the database")

TABLES = """
CREATE TABLE cadre (
    staff_code TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    phone TEXT NOT NULL,
    party_member BOOLEAN NOT NULL,
    password TEXT,
    demo BOOLEAN NOT NULL,
    PRIMARY KEY (staff_code)
);
CREATE TABLE case_file (
    problem UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    state TEXT NOT NULL,
    duty TEXT NOT NULL,
    severity TEXT NOT NULL,
    handler_unit TEXT COLLATE "C" NOT NULL,
    handler_cadre TEXT,
    raised_at TIMESTAMP WITH TIME ZONE NOT NULL,
    raised_by TEXT NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    resolved_by TEXT,
    ended_at TIMESTAMP WITH TIME ZONE,
    due TIMESTAMP WITH TIME ZONE,
    satisfied TEXT,
    escalated INTEGER NOT NULL,
    PRIMARY KEY (problem)
);
CREATE INDEX case_open ON case_file (grid)
    WHERE state IN ('raised','accepted','assigned','handling','returned','reopened');
CREATE INDEX case_raised ON case_file (grid, raised_at);
CREATE INDEX case_resolved ON case_file (grid, resolved_at);
CREATE TABLE conflict (
    id UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    record UUID NOT NULL,
    field TEXT NOT NULL,
    rule TEXT NOT NULL,
    rev BIGINT NOT NULL,
    kept JSON,
    kept_by TEXT NOT NULL,
    kept_device UUID NOT NULL,
    kept_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lost JSON,
    lost_by TEXT NOT NULL,
    lost_device UUID NOT NULL,
    lost_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    choice TEXT,
    value JSONB,
    note TEXT,
    resolved_by TEXT,
    resolved_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);
CREATE INDEX conflict_open ON conflict (grid) WHERE resolved_at IS NULL;
CREATE INDEX conflict_record ON conflict (record);
CREATE TABLE counter (
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    PRIMARY KEY (grid)
);
CREATE TABLE departure (
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    kind TEXT NOT NULL,
    id UUID NOT NULL,
    PRIMARY KEY (grid, rev)
);
CREATE TABLE device (
    id UUID NOT NULL,
    staff_code TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    app_version TEXT NOT NULL,
    acked_seq BIGINT NOT NULL,
    last_stamp BIGINT NOT NULL,
    queued INTEGER NOT NULL,
    clock_offset_ms BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);
CREATE INDEX ix_device_staff_code ON device (staff_code);
CREATE TABLE held (
    id UUID NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    staff_code TEXT NOT NULL,
    mailbox TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    kind TEXT NOT NULL,
    record TEXT NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    stamp BIGINT NOT NULL,
    offset_ms BIGINT NOT NULL,
    body JSON NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    waits_for UUID,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_at TIMESTAMP WITH TIME ZONE,
    decision TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX held_grid ON held (grid) WHERE state = 'open';
CREATE INDEX held_mailbox ON held (mailbox, rev);
CREATE INDEX held_waiting ON held (waits_for) WHERE state = 'open' AND waits_for IS NOT NULL;
CREATE TABLE household (
    id UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    by TEXT NOT NULL,
    created_by TEXT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    echo BOOLEAN NOT NULL,
    offset_ms BIGINT,
    clocks JSONB,
    extra JSON,
    head_name TEXT,
    phone TEXT,
    address TEXT,
    members INTEGER,
    tags TEXT[],
    contact_member TEXT,
    lead_member TEXT,
    location JSONB,
    note TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX household_feed ON household (grid, rev);
CREATE TABLE monthly_summary (
    id UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    by TEXT NOT NULL,
    created_by TEXT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    echo BOOLEAN NOT NULL,
    offset_ms BIGINT,
    clocks JSONB,
    extra JSON,
    month TEXT,
    results TEXT,
    shortfalls TEXT,
    measures TEXT,
    next_month TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX monthly_summary_feed ON monthly_summary (grid, rev);
CREATE TABLE mutation (
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    staff_code TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    grid TEXT NOT NULL,
    stamp BIGINT NOT NULL,
    offset_ms BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    body JSON NOT NULL,
    outcome TEXT NOT NULL,
    rev BIGINT,
    verdict JSON,
    origin UUID,
    PRIMARY KEY (received_at, device, seq)
);
CREATE INDEX mutation_device ON mutation (device, seq);
CREATE INDEX mutation_record ON mutation (id);
CREATE TABLE post (
    id UUID NOT NULL,
    staff_code TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    unit TEXT COLLATE "C" NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);
CREATE INDEX ix_post_staff_code ON post (staff_code);
CREATE INDEX ix_post_unit ON post (unit);
CREATE TABLE problem (
    id UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    by TEXT NOT NULL,
    created_by TEXT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    echo BOOLEAN NOT NULL,
    offset_ms BIGINT,
    clocks JSONB,
    extra JSON,
    visit_id UUID,
    household_id UUID,
    duty TEXT,
    category TEXT,
    title TEXT,
    detail TEXT,
    severity TEXT,
    raised_at TIMESTAMP WITH TIME ZONE,
    location JSONB,
    photos TEXT[],
    source TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX problem_feed ON problem (grid, rev);
CREATE INDEX problem_raised ON problem (raised_at);
CREATE TABLE refresh_token (
    hash TEXT NOT NULL,
    family UUID NOT NULL,
    staff_code TEXT NOT NULL,
    device UUID,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (hash)
);
CREATE INDEX ix_refresh_token_family ON refresh_token (family);
CREATE TABLE server (
    one BOOLEAN NOT NULL,
    epoch UUID NOT NULL,
    epoch_at TIMESTAMP WITH TIME ZONE NOT NULL,
    cursor_key BYTEA NOT NULL,
    PRIMARY KEY (one)
);
CREATE TABLE signing_key (
    kid TEXT NOT NULL,
    private_pem TEXT NOT NULL,
    public_pem TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    retired_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (kid)
);
CREATE TABLE step (
    id UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    by TEXT NOT NULL,
    created_by TEXT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    echo BOOLEAN NOT NULL,
    offset_ms BIGINT,
    clocks JSONB,
    extra JSON,
    problem_id UUID,
    action TEXT,
    at TIMESTAMP WITH TIME ZONE,
    note TEXT,
    to_unit TEXT,
    to_cadre TEXT,
    satisfied TEXT,
    reason TEXT,
    duplicate_of UUID,
    until TIMESTAMP WITH TIME ZONE,
    photos TEXT[],
    PRIMARY KEY (id)
);
CREATE INDEX step_feed ON step (grid, rev);
CREATE INDEX step_problem ON step (problem_id);
CREATE TABLE tally (
    day DATE NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    cadre TEXT COLLATE "C" NOT NULL,
    duty TEXT COLLATE "C" NOT NULL,
    visits INTEGER NOT NULL,
    raised INTEGER NOT NULL,
    resolved INTEGER NOT NULL,
    PRIMARY KEY (day, grid, cadre, duty)
);
CREATE TABLE unit (
    code TEXT COLLATE "C" NOT NULL,
    level TEXT NOT NULL,
    parent TEXT COLLATE "C",
    name TEXT NOT NULL,
    name_mn TEXT,
    kind TEXT NOT NULL,
    party_group TEXT NOT NULL,
    PRIMARY KEY (code)
);
CREATE INDEX ix_unit_parent ON unit (parent);
CREATE TABLE visit (
    id UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    by TEXT NOT NULL,
    created_by TEXT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    echo BOOLEAN NOT NULL,
    offset_ms BIGINT,
    clocks JSONB,
    extra JSON,
    household_id UUID,
    visited_at TIMESTAMP WITH TIME ZONE,
    duties TEXT[],
    content TEXT,
    people_met TEXT[],
    location JSONB,
    photos TEXT[],
    PRIMARY KEY (id)
);
CREATE INDEX visit_feed ON visit (grid, rev);
CREATE INDEX visit_when ON visit (grid, visited_at);
CREATE TABLE weekly_analysis (
    id UUID NOT NULL,
    grid TEXT COLLATE "C" NOT NULL,
    rev BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    device UUID NOT NULL,
    seq BIGINT NOT NULL,
    stamp BIGINT NOT NULL,
    by TEXT NOT NULL,
    created_by TEXT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    echo BOOLEAN NOT NULL,
    offset_ms BIGINT,
    clocks JSONB,
    extra JSON,
    week TEXT,
    situation TEXT,
    causes TEXT,
    measures TEXT,
    next_week TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX weekly_analysis_feed ON weekly_analysis (grid, rev);
"""

# An update of a counter or a device touches no index, so room on the page keeps it cheap.
STORAGE = """
ALTER TABLE counter SET (fillfactor = 50);
ALTER TABLE device SET (fillfactor = 50);
ALTER TABLE tally SET (fillfactor = 80);
"""


def upgrade() -> None:
    """Makes the tables, and the server's one row with its first epoch."""
    for statement in (TABLES + STORAGE).split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(
        "INSERT INTO server (one, epoch, epoch_at, cursor_key)"
        " VALUES (true, gen_random_uuid(), now(), uuid_send(gen_random_uuid()) ||"
        " uuid_send(gen_random_uuid()))"
    )


def downgrade() -> None:
    """Drops everything."""
    op.execute(
        "DROP TABLE cadre, case_file, conflict, counter, departure, device, held, household,"
        " monthly_summary, mutation, post, problem, refresh_token, server, signing_key, step,"
        " tally, unit, visit, weekly_analysis"
    )
