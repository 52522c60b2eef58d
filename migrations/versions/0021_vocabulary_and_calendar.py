"""Calendar, time limits and lists of words as rows, and a version of them all."""

from alembic import op

from sync_protocol.texts import Text

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
summary = Text("Adds tables of calendar days, time limits and words that administrators edit.")
compatible_from = "0013"
loses = Text("uploaded calendars, local holidays, and edited limits, deadlines and words")

_RENEW = """
CREATE FUNCTION renew_vocabulary_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE server SET vocabulary_version = gen_random_uuid()::text;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Empty tables: until an administrator writes into them, code and settings hold."""
    op.execute(
        'CREATE TABLE vocabulary_term (id UUID NOT NULL, mailbox TEXT COLLATE "C" NOT NULL,'
        " rev BIGINT NOT NULL, list TEXT NOT NULL, code TEXT NOT NULL, name_zh TEXT NOT NULL,"
        " name_en TEXT NOT NULL, name_mn TEXT, position INTEGER NOT NULL,"
        " valid_from DATE NOT NULL, valid_to DATE, attributes JSONB NOT NULL,"
        " changed_by TEXT NOT NULL, changed_at TIMESTAMP WITH TIME ZONE NOT NULL,"
        " PRIMARY KEY (id), UNIQUE (list, code, valid_from),"
        " CHECK (valid_to > valid_from), CHECK (jsonb_typeof(attributes) = 'object'))"
    )
    op.execute("CREATE INDEX vocabulary_feed ON vocabulary_term (mailbox, rev)")
    op.execute(
        'CREATE TABLE calendar_year (unit TEXT COLLATE "C" NOT NULL, year INTEGER NOT NULL,'
        " uploaded_by TEXT NOT NULL, uploaded_at TIMESTAMP WITH TIME ZONE NOT NULL,"
        " PRIMARY KEY (unit, year))"
    )
    op.execute(
        'CREATE TABLE calendar_day (unit TEXT COLLATE "C" NOT NULL, day DATE NOT NULL,'
        " works BOOLEAN NOT NULL, name TEXT NOT NULL, PRIMARY KEY (unit, day))"
    )
    # Of duties that were added; those of the first release have columns in grid_tally.
    op.execute(
        'CREATE TABLE duty_tally (span TEXT COLLATE "C" NOT NULL, grid TEXT COLLATE "C" NOT NULL,'
        ' duty TEXT COLLATE "C" NOT NULL, visits INTEGER NOT NULL DEFAULT 0,'
        " raised INTEGER NOT NULL DEFAULT 0, resolved INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (span, grid, duty))"
    )
    op.execute("ALTER TABLE server ADD COLUMN vocabulary_version TEXT NOT NULL DEFAULT ''")
    op.execute(_RENEW)
    for table in ("vocabulary_term", "calendar_year", "calendar_day"):
        op.execute(
            f"CREATE TRIGGER {table}_renews_vocabulary_version"
            f" AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION renew_vocabulary_version()"
        )


def downgrade() -> None:
    """Code and settings hold again; due times that were computed by other limits stay until
    `gridloop check --mend`.
    """
    op.execute("DROP TABLE vocabulary_term, calendar_day, calendar_year, duty_tally")
    op.execute("DROP FUNCTION renew_vocabulary_version()")
    op.execute("ALTER TABLE server DROP COLUMN vocabulary_version")
