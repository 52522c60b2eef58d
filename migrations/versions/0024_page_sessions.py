"""Browsers that are signed in to the pages."""

from alembic import op

from sync_protocol.texts import Text

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
summary = Text("Adds the sessions of browsers that are signed in to the pages.")
compatible_from = "0013"
loses = Text("the sessions of browsers, which sign in again")


def upgrade() -> None:
    """Nobody is signed in yet."""
    op.execute(
        "CREATE TABLE page_session (hash TEXT PRIMARY KEY, family UUID NOT NULL,"
        ' staff_code TEXT COLLATE "C" NOT NULL, created_at TIMESTAMPTZ NOT NULL,'
        " last_seen_at TIMESTAMPTZ NOT NULL, ends_at TIMESTAMPTZ NOT NULL)"
    )
    op.execute("CREATE INDEX ix_page_session_family ON page_session (family)")
    op.execute("CREATE INDEX ix_page_session_staff_code ON page_session (staff_code)")
    op.execute("CREATE INDEX ix_page_session_ends_at ON page_session (ends_at)")


def downgrade() -> None:
    """Browsers sign in again."""
    op.execute("DROP TABLE page_session")
