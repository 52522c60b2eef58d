"""On how many grids of a village there was a visit on each day, and when logs were written, so that
the loop of a year is counted without reading every grid's weeks and every log.
"""

from alembic import op

from migrations import batches
from sync_protocol.texts import Text

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None
summary = Text("Adds a tally of villages and weeks, and indexes by which logs are counted.")
compatible_from = "0013"
loses = None
rewrites = ("week_tally", "weekly_analysis", "monthly_summary")
online = True

_DAYS = range(1, 8)
_COLUMNS = [f"{name}_{day}" for name in ("visited", "prompt") for day in _DAYS]
_VISITS = [f"{name}_{day}" for name in ("visits", "prompt") for day in _DAYS]
_LOGS = {"weekly_analysis": "week", "monthly_summary": "month"}


def upgrade() -> None:
    """Fills the tally from that of grids. What processes of the release before write meanwhile and
    afterwards is not in it; `gridloop check --mend` puts that right.
    """
    with op.get_context().autocommit_block():
        for log, period in _LOGS.items():
            batches.build_index(
                f"{log}_unchanged",
                log,
                f"({period}, grid) INCLUDE (stamp) WHERE clocks IS NULL AND NOT deleted",
            )
            batches.build_index(
                f"{log}_changed",
                log,
                f"({period}, grid) WHERE clocks IS NOT NULL AND NOT deleted",
            )
    columns = ", ".join(f"{name} INTEGER DEFAULT 0 NOT NULL" for name in _COLUMNS)
    op.execute(
        'CREATE TABLE village_week_tally (week TEXT COLLATE "C" NOT NULL, village TEXT COLLATE "C"'
        f" NOT NULL, {columns}, PRIMARY KEY (week, village)) WITH (fillfactor = 80)"
    )
    counts = ", ".join(f"count(*) FILTER (WHERE {name} > 0)" for name in _VISITS)
    op.execute(
        f"INSERT INTO village_week_tally (week, village, {', '.join(_COLUMNS)})"
        f" SELECT week, left(grid, 12), {counts} FROM week_tally GROUP BY 1, 2 ORDER BY 1, 2"
    )


def downgrade() -> None:
    """Nothing of the field work is in them."""
    op.execute("DROP TABLE village_week_tally")
    for log in _LOGS:
        op.execute(f"DROP INDEX {log}_changed")
        op.execute(f"DROP INDEX {log}_unchanged")
