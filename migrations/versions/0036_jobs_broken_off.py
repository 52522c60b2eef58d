"""Whether an attempt of a job has begun, and how often processes ended under it."""

from alembic import op

from sync_protocol.texts import Text

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None
summary = Text("Notes which jobs ended with their process.")
compatible_from = "0013"
loses = None
online = True

_COLUMNS = {"begun": "BOOLEAN DEFAULT false", "broken_off": "INTEGER DEFAULT 0"}


def upgrade() -> None:
    """Processes of the release before write nothing there: their jobs are not counted."""
    for name, type_ in _COLUMNS.items():
        op.execute(f"ALTER TABLE job ADD COLUMN {name} {type_} NOT NULL")


def downgrade() -> None:
    """Nothing of the field work is in them."""
    for name in _COLUMNS:
        op.execute(f"ALTER TABLE job DROP COLUMN {name}")
