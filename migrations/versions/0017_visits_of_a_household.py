"""The visits of a household are found without going through all visits: an erasure looks for them
in every grid.
"""

from alembic import op

from migrations import batches
from sync_protocol.texts import Text

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
summary = Text("Adds an index of visits by household, for erasures.")
compatible_from = "0013"
loses = None
rewrites = ("visit",)
online = True


def upgrade() -> None:
    """Builds it while others write."""
    with op.get_context().autocommit_block():
        batches.build_index(
            "visit_household", "visit", "(household_id) WHERE household_id IS NOT NULL"
        )


def downgrade() -> None:
    """Nothing of the field work is in it."""
    op.execute("DROP INDEX visit_household")
