"""The row by which the service finds out whether the database takes writes."""

from alembic import op

from sync_protocol.texts import Text

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
summary = Text("Adds the row by which the service finds out whether the database takes writes.")
compatible_from = "0013"
loses = None


def upgrade() -> None:
    """One row, of which only the moment changes."""
    op.execute(
        "CREATE TABLE write_probe (one BOOLEAN PRIMARY KEY CHECK (one), at TIMESTAMP WITH TIME"
        " ZONE NOT NULL)"
    )
    op.execute("INSERT INTO write_probe VALUES (true, now())")


def downgrade() -> None:
    """Nothing of the field work is in it."""
    op.execute("DROP TABLE write_probe")
