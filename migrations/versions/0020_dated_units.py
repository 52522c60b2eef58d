"""Units whose parents, names and limits have days, levels as rows, and a version of the tree."""

from alembic import op

from sync_protocol.texts import Text

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
summary = Text("Adds days to units: their parents, names, levels, and the history of changes.")
compatible_from = "0013"
loses = Text("former parents and names of units, and the days on which they begin and end")

_LEVELS = (
    ("city", 1, "市", "city", "false"),
    ("banner", 2, "旗县区", "banner", "false"),
    ("township", 3, "苏木乡镇", "township", "true"),
    ("village", 4, "嘎查村", "village", "true"),
    ("grid", 5, "网格", "grid", "true"),
)
_RENEW = """
CREATE FUNCTION renew_tree_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE server SET tree_version = gen_random_uuid()::text;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """A unit without rows in `unit_parent` has had its one parent always."""
    op.execute(
        "CREATE TABLE level (slug TEXT NOT NULL, position INTEGER NOT NULL, name_zh TEXT NOT NULL,"
        " name_en TEXT NOT NULL, sees_tags BOOLEAN NOT NULL DEFAULT false,"
        " PRIMARY KEY (slug), UNIQUE (position))"
    )
    rows = ", ".join(
        f"('{slug}', {position}, '{zh}', '{en}', {sees})"
        for slug, position, zh, en, sees in _LEVELS
    )
    op.execute(f"INSERT INTO level (slug, position, name_zh, name_en, sees_tags) VALUES {rows}")
    op.execute(
        'CREATE TABLE unit_parent (unit TEXT COLLATE "C" NOT NULL, parent TEXT COLLATE "C",'
        " valid_from DATE NOT NULL, valid_to DATE, PRIMARY KEY (unit, valid_from))"
    )
    op.execute(
        'CREATE TABLE unit_name (unit TEXT COLLATE "C" NOT NULL, language TEXT NOT NULL,'
        " name TEXT NOT NULL, valid_from DATE NOT NULL, valid_to DATE NOT NULL,"
        " PRIMARY KEY (unit, language, valid_to))"
    )
    op.execute(
        "CREATE TABLE unit_change (id UUID NOT NULL, at TIMESTAMP WITH TIME ZONE NOT NULL,"
        ' staff_code TEXT NOT NULL, unit TEXT COLLATE "C" NOT NULL, action TEXT NOT NULL,'
        " details JSONB NOT NULL, PRIMARY KEY (id))"
    )
    op.execute("CREATE INDEX unit_change_of_unit ON unit_change (unit, at)")
    op.execute(
        'CREATE TABLE household_change (day DATE NOT NULL, grid TEXT COLLATE "C" NOT NULL,'
        " households INTEGER NOT NULL DEFAULT 0, contacts INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (day, grid))"
    )
    op.execute("ALTER TABLE household_tally ADD COLUMN since DATE")
    op.execute("ALTER TABLE unit ADD COLUMN since DATE")
    op.execute("ALTER TABLE unit ADD COLUMN closed DATE")
    op.execute("ALTER TABLE unit ADD COLUMN go_live DATE")
    op.execute("ALTER TABLE server ADD COLUMN tree_version TEXT NOT NULL DEFAULT ''")
    op.execute("UPDATE server SET tree_version = gen_random_uuid()::text")
    op.execute(_RENEW)
    for table in ("unit", "unit_parent", "level"):
        op.execute(
            f"CREATE TRIGGER {table}_renews_tree_version"
            f" AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION renew_tree_version()"
        )


def downgrade() -> None:
    """Moved units fall back under the parents that they were made with."""
    op.execute("DROP TRIGGER unit_renews_tree_version ON unit")
    op.execute("DROP TABLE unit_change, unit_name, unit_parent, level, household_change")
    op.execute("ALTER TABLE household_tally DROP COLUMN since")
    op.execute("DROP FUNCTION renew_tree_version()")
    op.execute("ALTER TABLE server DROP COLUMN tree_version")
    for name in ("since", "closed", "go_live"):
        op.execute(f"ALTER TABLE unit DROP COLUMN {name}")
