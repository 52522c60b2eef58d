"""Whether a household lives here: moved away, died out or merged with another, since when."""

from alembic import op

from sync_protocol.texts import Text

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
summary = Text("Adds the states of households: moved away, died out, merged with another.")
compatible_from = "0013"
loses = Text("which households have moved away, died out or were merged with another")


def upgrade() -> None:
    """A household without a state lives here."""
    op.execute(
        "ALTER TABLE household ADD COLUMN state TEXT, ADD COLUMN state_since TEXT,"
        " ADD COLUMN merged_into UUID"
    )


def downgrade() -> None:
    """Every household counts again; `gridloop check --mend` puts the tallies right."""
    op.execute(
        "ALTER TABLE household DROP COLUMN state, DROP COLUMN state_since, DROP COLUMN merged_into"
    )
