"""Sign-ins that survive a lost answer, second factors, one-time codes, delays between attempts."""

from alembic import op

from sync_protocol.texts import Text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
summary = Text(
    "Adds second factors, one-time codes and generations of sign-ins; drops kept answers."
)
loses = Text("second factors and one-time codes")
rewrites = ("refresh_token",)
pace = {"refresh_token": 14}


def upgrade() -> None:
    """Sign-ins under way go on; what they used before counts as used, so that a stolen older token
    still ends them.
    """
    op.execute("ALTER TABLE cadre ADD COLUMN password_expires_at TIMESTAMP WITH TIME ZONE")
    op.execute(
        "ALTER TABLE refresh_token ADD COLUMN generation INTEGER NOT NULL DEFAULT 0,"
        " ADD COLUMN first_used_at TIMESTAMP WITH TIME ZONE,"
        " ADD COLUMN family_since TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),"
        " ADD COLUMN ended_by TEXT, ADD COLUMN address TEXT NOT NULL DEFAULT ''"
    )
    op.execute(
        "UPDATE refresh_token r"
        " SET generation = n.generation, first_used_at = coalesce(r.used_at, now()) FROM ("
        " SELECT hash, row_number() OVER (PARTITION BY family"
        " ORDER BY used_at NULLS LAST, expires_at) - 1 AS generation"
        " FROM refresh_token) AS n WHERE n.hash = r.hash"
    )
    op.execute("DROP INDEX ix_refresh_token_family")
    op.execute("CREATE INDEX refresh_token_generation ON refresh_token (family, generation)")
    op.execute("CREATE INDEX refresh_token_staff_code ON refresh_token (staff_code)")
    op.execute(
        'CREATE TABLE second_factor (staff_code TEXT COLLATE "C" NOT NULL, secret TEXT NOT NULL,'
        " created_at TIMESTAMP WITH TIME ZONE NOT NULL, confirmed_at TIMESTAMP WITH TIME ZONE,"
        " last_step BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (staff_code))"
    )
    op.execute(
        'CREATE TABLE one_time_code (staff_code TEXT COLLATE "C" NOT NULL, purpose TEXT NOT NULL,'
        " hash TEXT NOT NULL,"
        " created_at TIMESTAMP WITH TIME ZONE NOT NULL, expires_at TIMESTAMP WITH TIME ZONE,"
        " PRIMARY KEY (staff_code, purpose, hash))"
    )
    op.execute("ALTER TABLE attempt ADD COLUMN last_at DOUBLE PRECISION NOT NULL DEFAULT 0")
    # Answers that were kept before say nothing of the rights they rested on: they are not given
    # again.
    op.execute("DELETE FROM idempotency")
    op.execute("ALTER TABLE idempotency ADD COLUMN rights TEXT[]")


def downgrade() -> None:
    """Goes back; second factors and one-time codes are lost."""
    op.execute("ALTER TABLE idempotency DROP COLUMN rights")
    op.execute("ALTER TABLE attempt DROP COLUMN last_at")
    op.execute("DROP TABLE one_time_code, second_factor")
    op.execute("DROP INDEX refresh_token_staff_code, refresh_token_generation")
    op.execute("CREATE INDEX ix_refresh_token_family ON refresh_token (family)")
    op.execute(
        "ALTER TABLE refresh_token DROP COLUMN generation, DROP COLUMN first_used_at, DROP COLUMN"
        " family_since,"
        " DROP COLUMN ended_by, DROP COLUMN address"
    )
    op.execute("ALTER TABLE cadre DROP COLUMN password_expires_at")
