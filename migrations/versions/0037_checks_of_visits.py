"""Checks of visits."""

from alembic import op

from sync_protocol.texts import Text

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None
summary = Text("Adds the table of checks of visits.")
compatible_from = "0013"
loses = Text("checks of visits")


def upgrade() -> None:
    """An empty table."""
    op.execute(
        'CREATE TABLE visit_check (id UUID NOT NULL, grid TEXT COLLATE "C" NOT NULL,'
        " rev BIGINT NOT NULL, deleted BOOLEAN NOT NULL, device UUID NOT NULL,"
        " seq BIGINT NOT NULL, stamp BIGINT NOT NULL, by TEXT NOT NULL, created_by TEXT NOT NULL,"
        " received_at TIMESTAMP WITH TIME ZONE NOT NULL, echo BOOLEAN NOT NULL, offset_ms BIGINT,"
        " clocks JSONB, extra JSON, visit_id UUID, checked_at TIMESTAMP WITH TIME ZONE,"
        " finding TEXT, note TEXT, PRIMARY KEY (id))"
    )
    op.execute("CREATE INDEX visit_check_feed ON visit_check (grid, rev)")
    op.execute("CREATE INDEX visit_check_visit ON visit_check (visit_id)")


def downgrade() -> None:
    """The visits stay."""
    op.execute("DROP TABLE visit_check")
