"""Imports of the roster: which there were and what each did, and by what a household of a file is
known again.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
summary = Text("Adds imports of the roster, and by what a household of a file is known again.")
compatible_from = "0013"
loses = Text("which imports there were, and by what households of files are known again")


def upgrade() -> None:
    """New tables only; processes of the previous release do not know of them."""
    op.execute(
        "CREATE TABLE roster_import (id UUID PRIMARY KEY, at TIMESTAMP WITH TIME ZONE NOT NULL,"
        " asked_by TEXT NOT NULL, units TEXT[] NOT NULL, options TEXT[] NOT NULL, state TEXT NOT"
        " NULL, stage TEXT NOT NULL, done BIGINT NOT NULL, total BIGINT NOT NULL, report TEXT,"
        " begun_at TIMESTAMP WITH TIME ZONE, ended_at TIMESTAMP WITH TIME ZONE)"
    )
    op.execute(
        "CREATE TABLE roster_import_file (import UUID NOT NULL, number INTEGER NOT NULL, part"
        " INTEGER NOT NULL, name TEXT NOT NULL, body BYTEA NOT NULL,"
        " PRIMARY KEY (import, number, part))"
    )
    op.execute(
        "CREATE TABLE import_effect (import UUID NOT NULL, kind TEXT NOT NULL, key TEXT COLLATE"
        ' "C" NOT NULL, what TEXT NOT NULL, grid TEXT NOT NULL, rev BIGINT NOT NULL, body BYTEA,'
        " left_because TEXT, PRIMARY KEY (import, kind, key))"
    )
    op.execute("CREATE INDEX import_effect_key ON import_effect (key)")
    op.execute(
        'CREATE TABLE import_key (id UUID PRIMARY KEY, scope TEXT COLLATE "C" NOT NULL, blind BYTEA'
        " NOT NULL, household UUID NOT NULL, content BYTEA NOT NULL)"
    )
    op.execute("CREATE UNIQUE INDEX import_key_blind ON import_key (scope, blind)")
    op.execute("CREATE INDEX import_key_household ON import_key (household)")


def downgrade() -> None:
    """What was imported stays; it cannot be undone as an import any more."""
    op.execute("DROP TABLE import_key, import_effect, roster_import_file, roster_import")
