"""Fields of disputes, and problems counted by category."""

from alembic import op

from sync_protocol.texts import Text

revision = "0035"
down_revision = "0030"
branch_labels = None
depends_on = None
summary = Text("Adds the fields of disputes, and counts problems by category.")
compatible_from = "0013"
loses = Text("parties, kind, mediator, agreement and second visit of disputes")

_DAY = "(({0} AT TIME ZONE 'Asia/Shanghai')::date)"
_COUNTED = "state NOT IN ('rejected', 'joined') AND category IS NOT NULL"


def _counted(moment: str, raised: int, resolved: int) -> str:
    day = _DAY.format(moment)
    return (
        f"SELECT s.span, c.grid, c.category, {raised} AS raised, {resolved} AS resolved"
        " FROM case_file c, LATERAL unnest(ARRAY["
        f"to_char({day}, 'IYYY\"-W\"IW'), to_char({day}, 'YYYY-MM')]) AS s(span)"
        f" WHERE {_COUNTED} AND {moment} IS NOT NULL"
    )


def upgrade() -> None:
    """Few problems had a word as their category: these are read once and counted."""
    op.execute(
        "ALTER TABLE problem ADD COLUMN parties TEXT, ADD COLUMN dispute_kind TEXT,"
        " ADD COLUMN mediator TEXT, ADD COLUMN agreement TEXT,"
        " ADD COLUMN second_visit_at TIMESTAMP WITH TIME ZONE"
    )
    op.execute('ALTER TABLE case_file ADD COLUMN category TEXT COLLATE "C"')
    op.execute(
        'CREATE TABLE category_tally (span TEXT COLLATE "C" NOT NULL,'
        ' grid TEXT COLLATE "C" NOT NULL, category TEXT COLLATE "C" NOT NULL,'
        " raised INTEGER NOT NULL DEFAULT 0, resolved INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (span, grid, category))"
    )
    op.execute(
        "UPDATE case_file c SET category = p.category FROM problem p"
        " WHERE p.id = c.problem AND p.category ~ '^[a-z][a-z0-9_]{0,39}$'"
    )
    op.execute(
        "INSERT INTO category_tally (span, grid, category, raised, resolved)"
        " SELECT span, grid, category, sum(raised), sum(resolved)"
        f" FROM ({_counted('raised_at', 1, 0)} UNION ALL {_counted('resolved_at', 0, 1)}) AS every"
        " GROUP BY 1, 2, 3"
    )


def downgrade() -> None:
    """The category itself stays with the problem."""
    op.execute("DROP TABLE category_tally")
    op.execute("ALTER TABLE case_file DROP COLUMN category")
    op.execute(
        "ALTER TABLE problem DROP COLUMN parties, DROP COLUMN dispute_kind, DROP COLUMN mediator,"
        " DROP COLUMN agreement, DROP COLUMN second_visit_at"
    )
