"""Indicators: values of units, targets and marks."""

from alembic import op

from sync_protocol.texts import Text

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None
summary = Text("Adds tables of indicators: values, targets, and marks of villages.")
compatible_from = "0013"
loses = Text("values and targets of indicators, and marks of villages")


def upgrade() -> None:
    """Empty tables. Units get feeds of their own with the first indicator of their level."""
    op.execute(
        'CREATE TABLE indicator_value (id UUID NOT NULL, grid TEXT COLLATE "C" NOT NULL,'
        " rev BIGINT NOT NULL, deleted BOOLEAN NOT NULL, device UUID NOT NULL,"
        " seq BIGINT NOT NULL, stamp BIGINT NOT NULL, by TEXT NOT NULL, created_by TEXT NOT NULL,"
        " received_at TIMESTAMP WITH TIME ZONE NOT NULL, echo BOOLEAN NOT NULL, offset_ms BIGINT,"
        " clocks JSONB, extra JSON, indicator TEXT, period TEXT, value FLOAT, source TEXT,"
        " evidence TEXT[], note TEXT, PRIMARY KEY (id))"
    )
    op.execute("CREATE INDEX indicator_value_feed ON indicator_value (grid, rev)")
    op.execute("CREATE INDEX indicator_value_period ON indicator_value (indicator, period, grid)")
    op.execute(
        'CREATE TABLE indicator_target (indicator TEXT COLLATE "C" NOT NULL,'
        ' period TEXT COLLATE "C" NOT NULL, unit TEXT COLLATE "C" NOT NULL,'
        " target FLOAT NOT NULL, set_by TEXT NOT NULL,"
        " set_at TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY (indicator, period, unit))"
    )
    op.execute(
        'CREATE TABLE unit_mark (unit TEXT COLLATE "C" NOT NULL, mark TEXT COLLATE "C" NOT NULL,'
        " valid_from DATE NOT NULL, valid_to DATE, note TEXT, plan JSONB NOT NULL,"
        " set_by TEXT NOT NULL, set_at TIMESTAMP WITH TIME ZONE NOT NULL,"
        " PRIMARY KEY (unit, mark, valid_from))"
    )


def downgrade() -> None:
    """The indicators themselves stay in the vocabulary."""
    op.execute("DROP TABLE indicator_value, indicator_target, unit_mark")
