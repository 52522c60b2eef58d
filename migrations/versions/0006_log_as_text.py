"""The log keeps mutations as the text that they are: canonical JSON of the service's own, which the database need not read again."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rewrites the log, which takes minutes where it is large; nothing can sync meanwhile."""
    op.execute("ALTER TABLE mutation ALTER COLUMN body TYPE text USING body::text")


def downgrade() -> None:
    """Goes back."""
    op.execute("ALTER TABLE mutation ALTER COLUMN body TYPE json USING body::json")
