"""Attempts, apps, first passwords, the trail, articles, receipts, answers to repeat, and an index
for the days of visits.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
summary = Text(
    "Adds attempts, apps, the trail, articles, receipts and kept answers, and an index of visits"
    " by day."
)
loses = Text("the trail, articles, apps and receipts")
rewrites = ("visit",)
pace = {"visit": 0.2}

STATEMENTS = (
    "ALTER TABLE cadre ADD COLUMN must_change BOOLEAN DEFAULT false NOT NULL",
    "CREATE UNLOGGED TABLE attempt (key TEXT NOT NULL, count INTEGER NOT NULL, expires_at DOUBLE"
    " PRECISION NOT NULL, PRIMARY KEY (key))",
    "CREATE TABLE app_client (id TEXT NOT NULL, name TEXT NOT NULL, secret TEXT NOT NULL, scopes"
    " TEXT[] NOT NULL,"
    ' unit TEXT COLLATE "C" NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, revoked_at'
    " TIMESTAMP WITH TIME ZONE, PRIMARY KEY (id))",
    "CREATE TABLE audit (id UUID NOT NULL, at TIMESTAMP WITH TIME ZONE NOT NULL, staff_code TEXT"
    ' COLLATE "C" NOT NULL, action TEXT NOT NULL,'
    " subjects TEXT[] NOT NULL, count INTEGER NOT NULL, address TEXT NOT NULL, request_id TEXT NOT"
    " NULL, PRIMARY KEY (id))",
    "CREATE INDEX audit_when ON audit (at, id)",
    "CREATE INDEX ix_audit_staff_code ON audit (staff_code)",
    # The trail is added to and, after its time, purged; nothing else.
    """
    CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('gridloop.purging', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the trail is only added to';
    END $$
    """,
    "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE"
    " ON audit FOR EACH ROW EXECUTE FUNCTION audit_only_grows()",
    "CREATE TRIGGER audit_never_emptied BEFORE TRUNCATE"
    " ON audit EXECUTE FUNCTION audit_only_grows()",
    'CREATE TABLE article (id UUID NOT NULL, unit TEXT COLLATE "C" NOT NULL, mailbox TEXT COLLATE'
    ' "C" NOT NULL, rev BIGINT NOT NULL,'
    " kind TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL, author"
    " TEXT NOT NULL,"
    " created_at TIMESTAMP WITH TIME ZONE NOT NULL, updated_at TIMESTAMP WITH TIME ZONE NOT NULL,"
    " published_at TIMESTAMP WITH TIME ZONE, withdrawn_at TIMESTAMP WITH TIME ZONE, PRIMARY KEY"
    " (id))",
    "CREATE INDEX article_feed ON article (mailbox, rev)",
    "CREATE INDEX article_newest ON article (updated_at, id)",
    "CREATE INDEX ix_article_unit ON article (unit)",
    "CREATE TABLE receipt (number TEXT NOT NULL, problem UUID NOT NULL, client TEXT NOT NULL,"
    " created_at TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY (number), UNIQUE (problem))",
    "ALTER TABLE problem ADD COLUMN contact TEXT",
    "CREATE TABLE idempotency (caller TEXT NOT NULL, key TEXT NOT NULL, request BYTEA NOT NULL, at"
    " TIMESTAMP WITH TIME ZONE NOT NULL,"
    " status INTEGER, headers JSON, body TEXT, PRIMARY KEY (caller, key))",
    # Visits come in about in the order of their days, so that a range of days is a few blocks.
    "CREATE INDEX visit_days ON visit USING brin (visited_at) WITH (pages_per_range = 32)",
)


def upgrade() -> None:
    """Makes the tables; personal data that is there is sealed by `gridloop keys reseal`."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Goes back; sealed values stay sealed, so open them first."""
    op.execute("DROP INDEX visit_days")
    op.execute("DROP TABLE audit, app_client, attempt, article, receipt, idempotency")
    op.execute("ALTER TABLE problem DROP COLUMN contact")
    op.execute("DELETE FROM counter WHERE grid LIKE '#%'")
    op.execute("DROP FUNCTION audit_only_grows")
    op.execute("ALTER TABLE cadre DROP COLUMN must_change")
