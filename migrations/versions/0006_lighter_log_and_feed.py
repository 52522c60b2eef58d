"""Lighter to write and to read: the log as text, and a feed that passes over visits outside the
window without looking at them.
"""

from alembic import op

from migrations import batches
from sync_protocol.texts import Text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
summary = Text(
    "Keeps the bodies of the log as text, and builds the feed of visits with their days."
)
loses = None
rewrites = ("mutation", "visit")
online = True

_FEED = "(grid, rev, visited_at)"


def upgrade() -> None:
    """Rewrites the log, whose bodies are the service's own canonical JSON, which need not be
    checked again; and an index of the visits.

    Both take minutes where there are many; phones sync meanwhile.
    """
    if batches.is_worth_it("visit"):
        with op.get_context().autocommit_block():
            batches.build_index("visit_feed_new", "visit", _FEED)
    if batches.is_worth_it("mutation"):
        batches.rewrite(
            "mutation",
            ("device", "seq", "received_at"),
            {"body": ("text", "{row}.body::text")},
            {"mutation_record": "(id)"},
        )
    else:
        op.execute("ALTER TABLE mutation ALTER COLUMN body TYPE text USING body::text")
    op.execute("DROP INDEX visit_feed")
    if batches.is_there("visit_feed_new"):
        op.execute("ALTER INDEX visit_feed_new RENAME TO visit_feed")
    else:
        op.execute(f"CREATE INDEX visit_feed ON visit {_FEED}")


def downgrade() -> None:
    """Goes back."""
    op.execute("DROP INDEX visit_feed")
    op.execute("CREATE INDEX visit_feed ON visit (grid, rev)")
    op.execute("ALTER TABLE mutation ALTER COLUMN body TYPE json USING body::json")
