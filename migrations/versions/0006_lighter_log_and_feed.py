"""Lighter to write and to read: the log as text, and a feed that passes over visits outside the window without looking at them."""

from alembic import op

from sync_protocol.texts import Text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
summary = Text("Keeps the bodies of the log as text, and builds the feed of visits with their days.")
loses = None
rewrites = ("mutation", "visit")


def upgrade() -> None:
    """Rewrites the log, whose bodies are the service's own canonical JSON, which need not be checked again; and an index of the visits.

    Both take minutes where there are many, and nothing can sync meanwhile.
    """
    op.execute("ALTER TABLE mutation ALTER COLUMN body TYPE text USING body::text")
    op.execute("DROP INDEX visit_feed")
    op.execute("CREATE INDEX visit_feed ON visit (grid, rev, visited_at)")


def downgrade() -> None:
    """Goes back."""
    op.execute("DROP INDEX visit_feed")
    op.execute("CREATE INDEX visit_feed ON visit (grid, rev)")
    op.execute("ALTER TABLE mutation ALTER COLUMN body TYPE json USING body::json")
