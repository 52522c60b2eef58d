"""By what households are found whose phones are encrypted."""

from alembic import op

from sync_protocol.texts import Text

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
summary = Text("Adds by what households with the same phone are found.")
compatible_from = "0013"
loses = Text("by what households with the same phone are found; ‘keys reencrypt’ makes it again")


def upgrade() -> None:
    """A new table only; ‘gridloop keys reencrypt’ fills it for the households that are there."""
    op.execute(
        "CREATE TABLE household_phone (id UUID PRIMARY KEY, household UUID NOT NULL,"
        " blind BYTEA NOT NULL, content BYTEA NOT NULL)"
    )
    op.execute("CREATE INDEX household_phone_household ON household_phone (household)")
    op.execute("CREATE INDEX household_phone_blind ON household_phone (blind)")


def downgrade() -> None:
    """The phones themselves stay with their households."""
    op.execute("DROP TABLE household_phone")
