"""Ties between cadres and households, each with its days."""

from alembic import op

from sync_protocol.texts import Text

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None
summary = Text("Adds the table of ties between cadres and households.")
compatible_from = "0013"
loses = Text("ties between cadres and households, but for contact_member and lead_member")


def upgrade() -> None:
    """An empty table; the two fields of households stay and go on counting."""
    op.execute(
        'CREATE TABLE tie (id UUID NOT NULL, grid TEXT COLLATE "C" NOT NULL, rev BIGINT NOT NULL,'
        " deleted BOOLEAN NOT NULL, device UUID NOT NULL, seq BIGINT NOT NULL,"
        " stamp BIGINT NOT NULL, by TEXT NOT NULL, created_by TEXT NOT NULL,"
        " received_at TIMESTAMP WITH TIME ZONE NOT NULL, echo BOOLEAN NOT NULL, offset_ms BIGINT,"
        " clocks JSONB, extra JSON, household_id UUID, cadre TEXT, kind TEXT, valid_from TEXT,"
        " valid_to TEXT, PRIMARY KEY (id))"
    )
    op.execute("CREATE INDEX tie_feed ON tie (grid, rev)")
    op.execute("CREATE INDEX tie_household ON tie (household_id)")
    op.execute("CREATE INDEX tie_cadre ON tie (cadre, kind)")


def downgrade() -> None:
    """Contact members see what `contact_member` says."""
    op.execute("DROP TABLE tie")
