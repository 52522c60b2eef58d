"""Under which timelines of PostgreSQL the database was written and where it stood when each began;
what held mutations had seen.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
summary = Text("Adds timelines of PostgreSQL, and what held mutations had seen.")
compatible_from = "0013"
loses = Text("under which timelines the database was written, and what held mutations had seen")


def upgrade() -> None:
    """A database that knows of no timeline takes the one under which it is first used, and compares
    nothing with what was before.
    """
    op.execute("ALTER TABLE held ADD COLUMN seen BIGINT")
    op.execute("ALTER TABLE server ADD COLUMN timeline TEXT NOT NULL DEFAULT ''")
    op.execute(
        "CREATE TABLE timeline (name TEXT PRIMARY KEY, number BIGINT NOT NULL UNIQUE, begun_at"
        " TIMESTAMP WITH TIME ZONE NOT NULL)"
    )
    op.execute(
        'CREATE TABLE timeline_head (number BIGINT NOT NULL, grid TEXT COLLATE "C" NOT NULL, rev'
        " BIGINT NOT NULL, PRIMARY KEY (number, grid))"
    )
    op.execute(
        "CREATE TABLE timeline_acked (number BIGINT NOT NULL, device UUID NOT NULL, acked_seq"
        " BIGINT NOT NULL, PRIMARY KEY (number, device))"
    )


def downgrade() -> None:
    """The next upgrade begins anew with the timeline of its day."""
    op.execute("DROP TABLE timeline_acked, timeline_head, timeline")
    op.execute("ALTER TABLE server DROP COLUMN timeline")
    op.execute("ALTER TABLE held DROP COLUMN seen")
