"""Encrypted values are bound to their place, and the log's bodies are encrypted: what says how far
a database has come with that.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
summary = Text(
    "Lets the log's bodies be encrypted in blocks, and says how far the database has come with"
    " that."
)
loses = Text("how far the encryption has come")

# The field of a held mutation that may name what it waits for, with the kind of record, as of this
# revision.
REFERENCES = (
    ("household_id", "household"),
    ("visit_id", "visit"),
    ("problem_id", "problem"),
    ("duplicate_of", "problem"),
)


def upgrade() -> None:
    """A database with records or cadres keeps the form of the previous release until `gridloop keys
    reencrypt`; a new one needs none of it.
    """
    op.execute("ALTER TABLE server ADD COLUMN encryption TEXT")
    op.execute(
        "UPDATE server SET encryption = CASE WHEN EXISTS (SELECT FROM cadre) OR EXISTS (SELECT"
        " FROM mutation)"
        " OR EXISTS (SELECT FROM household) OR EXISTS (SELECT FROM visit) OR EXISTS (SELECT"
        " FROM signing_key)"
        " THEN 'compatible' ELSE 'complete' END"
    )
    op.execute("ALTER TABLE server ALTER COLUMN encryption SET NOT NULL")
    op.execute("ALTER TABLE mutation ALTER COLUMN body DROP NOT NULL")
    op.execute(
        "CREATE TABLE mutation_body (device UUID NOT NULL, received_at TIMESTAMP WITH TIME ZONE"
        " NOT NULL, first_seq BIGINT NOT NULL,"
        " last_seq BIGINT NOT NULL, located BOOLEAN NOT NULL, body BYTEA NOT NULL, PRIMARY KEY"
        " (device, received_at, first_seq))"
    )
    # What is compressed and encrypted cannot be compressed again.
    op.execute("ALTER TABLE mutation_body ALTER COLUMN body SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE held ADD COLUMN waits_for_kind TEXT")
    named = " ".join(
        f"WHEN body -> 'fields' ->> '{field}' = waits_for::text THEN '{kind}'"
        for field, kind in REFERENCES
    )
    op.execute(
        "UPDATE held SET waits_for_kind = CASE WHEN record = waits_for::text"
        f" THEN kind {named} END WHERE waits_for IS NOT NULL"
    )


def downgrade() -> None:
    """Goes back from a database in the form of the previous release; what is encrypted in the
    present form could not be read there.
    """
    op.execute(
        """
        DO $$ BEGIN
            IF EXISTS (SELECT FROM mutation_body)
            OR EXISTS (SELECT FROM mutation WHERE body IS NULL) THEN
                RAISE EXCEPTION 'the log is encrypted in a form that the previous release cannot read; restore a backup from before';
            END IF;
        END $$
        """
    )
    op.execute("ALTER TABLE held DROP COLUMN waits_for_kind")
    op.execute("DROP TABLE mutation_body")
    op.execute("ALTER TABLE mutation ALTER COLUMN body SET NOT NULL")
    op.execute("ALTER TABLE server DROP COLUMN encryption")
