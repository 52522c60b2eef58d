"""How often articles were read, by unit and day."""

from alembic import op

from sync_protocol.texts import Text

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None
summary = Text("Adds a table of how often articles were read.")
compatible_from = "0013"
loses = Text("how often articles were read")


def upgrade() -> None:
    """An empty table, without readers."""
    op.execute(
        'CREATE TABLE article_read (article UUID NOT NULL, unit TEXT COLLATE "C" NOT NULL,'
        " day DATE NOT NULL, source TEXT NOT NULL, reads BIGINT NOT NULL,"
        " PRIMARY KEY (article, unit, day, source))"
    )


def downgrade() -> None:
    """The articles stay."""
    op.execute("DROP TABLE article_read")
