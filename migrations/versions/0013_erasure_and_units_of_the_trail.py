"""Erasures of personal data, and the units for which an act in the trail was done."""

from alembic import op

from sync_protocol.texts import Text

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
summary = Text("Adds erasures, and the units for which an act in the trail was done.")
loses = Text("which erasures were done, and the units of the trail")


def upgrade() -> None:
    """Lines of the trail from before carry no unit: they are shown to who administers or audits
    everything.
    """
    op.execute(
        'CREATE TABLE erasure (kind TEXT NOT NULL, subject TEXT COLLATE "C" NOT NULL, reason TEXT'
        " NOT NULL, asked_by TEXT NOT NULL,"
        " begun_at TIMESTAMP WITH TIME ZONE NOT NULL, completed_at TIMESTAMP WITH TIME ZONE, done"
        " JSONB NOT NULL, removed JSONB NOT NULL,"
        " PRIMARY KEY (kind, subject))"
    )
    op.execute(
        'CREATE TABLE erased_record (id UUID NOT NULL, kind TEXT NOT NULL, grid TEXT COLLATE "C"'
        " NOT NULL, rev BIGINT NOT NULL,"
        " at TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY (id, kind))"
    )
    op.execute("ALTER TABLE audit ADD COLUMN units TEXT[] NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    """What was erased stays erased; that it was is forgotten."""
    op.execute("ALTER TABLE audit DROP COLUMN units")
    op.execute("DROP TABLE erased_record, erasure")
