"""What a seal keeps of each grid, from which units above and below a sealed one are put together."""

from alembic import op

from migrations import batches
from sync_protocol.texts import Text

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None
summary = Text("Adds what a seal keeps of each grid.")
compatible_from = "0013"
loses = Text("what seals keep of each grid; sealed summaries stay")


def upgrade() -> None:
    """Seals from before keep their summary alone."""
    with op.get_context().autocommit_block():
        batches.build_index("seal_span", "seal", "(span) WHERE NOT lifted")
    op.execute(
        'CREATE TABLE sealed_grid (seal UUID NOT NULL, grid TEXT COLLATE "C" NOT NULL,'
        " kept JSONB NOT NULL, PRIMARY KEY (seal, grid))"
    )


def downgrade() -> None:
    """Units above and below a sealed one show their numbers as they stand."""
    op.execute("DROP INDEX seal_span")
    op.execute("DROP TABLE sealed_grid")
