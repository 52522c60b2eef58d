"""What a herder is answered, beside the notes that cadres write for each other."""

from alembic import op

from migrations import batches
from sync_protocol.texts import Text

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None
summary = Text("Adds the answer to a herder's request to steps, and lists an app's requests.")
compatible_from = "0013"
loses = Text("answers to herders' requests")
rewrites = ("receipt",)
online = True


def upgrade() -> None:
    """No row is touched; an app has few receipts."""
    op.execute("ALTER TABLE step ADD COLUMN answer TEXT")
    with op.get_context().autocommit_block():
        batches.build_index("receipt_client", "receipt", "(client, created_at, problem)")


def downgrade() -> None:
    """The steps stay."""
    op.execute("DROP INDEX receipt_client")
    op.execute("ALTER TABLE step DROP COLUMN answer")
