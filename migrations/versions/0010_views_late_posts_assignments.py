"""What rights in the sync need: when the end of a post was recorded, which problems are assigned,
from when nobody verifies the own work, and on which day a phone's pull was last written into the
audit trail.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
summary = Text(
    "Adds when the end of a post was recorded, assignments, and since when nobody verifies the own"
    " work."
)
loses = Text("when the ends of posts were recorded")
rewrites = ("case_file",)
pace = {"case_file": 4.5}

_ASSIGNED = "assigned AND ended_at IS NULL"


def upgrade() -> None:
    """Adds columns; only `case_file` is gone through, and none is rewritten."""
    op.execute("ALTER TABLE post ADD COLUMN end_recorded_at TIMESTAMPTZ")
    op.execute("ALTER TABLE device ADD COLUMN audited_on DATE")
    # A database without a step has no history that the rule could change.
    op.execute(
        "ALTER TABLE server ADD COLUMN own_work_from TIMESTAMPTZ NOT NULL DEFAULT"
        " '1970-01-01T00:00:00Z'"
    )
    op.execute("UPDATE server SET own_work_from = now() WHERE EXISTS (SELECT FROM step)")
    op.execute("ALTER TABLE server ALTER COLUMN own_work_from DROP DEFAULT")
    op.execute("ALTER TABLE case_file ADD COLUMN assigned BOOLEAN NOT NULL DEFAULT false")
    op.execute(
        """
        UPDATE case_file c SET assigned = true WHERE (
            SELECT s.action FROM step s WHERE s.problem_id = c.problem AND NOT s.deleted
              AND s.action IN ('assign', 'return', 'reopen', 'escalate')
              ORDER BY s.stamp DESC, s.id DESC LIMIT 1) = 'assign'
        """
    )
    op.execute(f"CREATE INDEX case_assigned_unit ON case_file (handler_unit) WHERE {_ASSIGNED}")
    op.execute(f"CREATE INDEX case_assigned_cadre ON case_file (handler_cadre) WHERE {_ASSIGNED}")


def downgrade() -> None:
    """Goes back; when posts ended is still known, when that was recorded no more."""
    op.execute("DROP INDEX case_assigned_cadre")
    op.execute("DROP INDEX case_assigned_unit")
    op.execute("ALTER TABLE case_file DROP COLUMN assigned")
    op.execute("ALTER TABLE server DROP COLUMN own_work_from")
    op.execute("ALTER TABLE device DROP COLUMN audited_on")
    op.execute("ALTER TABLE post DROP COLUMN end_recorded_at")
