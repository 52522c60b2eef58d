"""Where a cadre made visits, and which problem a visit brought up, are found without going through
all.
"""

from alembic import op

from migrations import batches
from sync_protocol.texts import Text

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None
summary = Text("Adds indexes by which visits of a cadre and problems of a visit are found.")
compatible_from = "0013"
loses = None
rewrites = ("cadre_tally", "problem")
online = True


def upgrade() -> None:
    """Builds them while others write."""
    with op.get_context().autocommit_block():
        batches.build_index("cadre_tally_cadre", "cadre_tally", "(cadre, span)")
        batches.build_index("problem_visit", "problem", "(visit_id) WHERE visit_id IS NOT NULL")


def downgrade() -> None:
    """Nothing of the field work is in them."""
    op.execute("DROP INDEX cadre_tally_cadre")
    op.execute("DROP INDEX problem_visit")
