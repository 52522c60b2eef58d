"""No role deletes a line of the trail before its time: its guard looks at the line's age."""

from alembic import op

from sync_protocol.texts import Text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
summary = Text("Guards the trail by the age of its lines.")
loses = None

FLOOR = "180 days"


def upgrade() -> None:
    """A setting can be made by whoever runs SQL; the age of a line cannot be changed."""
    _guard(f"OLD.at < now() - interval '{FLOOR}'")


def downgrade() -> None:
    """Goes back to the setting."""
    _guard("current_setting('gridloop.purging', true) = 'on'")


def _guard(may_go: str) -> None:
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                IF {may_go} THEN
                    RETURN OLD;
                END IF;
            END IF;
            RAISE EXCEPTION 'the trail is only added to';
        END $$
        """
    )
