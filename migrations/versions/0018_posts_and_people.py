"""People over time: staff codes that were given later, party membership with dates, and what a post
is called there.
"""

from alembic import op

from sync_protocol.texts import Text

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
summary = Text("Adds later staff codes, party membership with dates, and titles of posts.")
compatible_from = "0013"
loses = Text("later staff codes, dates of party membership and titles of posts")


def upgrade() -> None:
    """Adds two tables and two columns that may be empty. `cadre.party_member` stays, and is all
    that is known of who has no spans.
    """
    op.execute(
        'CREATE TABLE staff_code_alias (code TEXT COLLATE "C" PRIMARY KEY, staff_code TEXT COLLATE'
        ' "C" NOT NULL, given_at TIMESTAMP WITH TIME ZONE NOT NULL)'
    )
    op.execute("CREATE INDEX ix_staff_code_alias_staff_code ON staff_code_alias (staff_code)")
    op.execute(
        'CREATE TABLE party_membership (staff_code TEXT COLLATE "C" NOT NULL, number INTEGER NOT'
        " NULL, joined_on DATE, left_on DATE, PRIMARY KEY (staff_code, number))"
    )
    op.execute('ALTER TABLE cadre ADD COLUMN shown_code TEXT COLLATE "C"')
    op.execute("ALTER TABLE post ADD COLUMN title TEXT")


def downgrade() -> None:
    """Everybody has the first staff code again; posts and numbers stay."""
    op.execute("ALTER TABLE post DROP COLUMN title")
    op.execute("ALTER TABLE cadre DROP COLUMN shown_code")
    op.execute("DROP TABLE party_membership, staff_code_alias")
