"""The mutation log is kept in the order of devices: one index less for every mutation, and the same look for a repeated one."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Takes the device and its count to the front of the key."""
    op.execute("ALTER TABLE mutation DROP CONSTRAINT mutation_pkey, ADD PRIMARY KEY (device, seq, received_at)")
    op.execute("DROP INDEX mutation_device")


def downgrade() -> None:
    """Goes back."""
    op.execute("ALTER TABLE mutation DROP CONSTRAINT mutation_pkey, ADD PRIMARY KEY (received_at, device, seq)")
    op.execute("CREATE INDEX mutation_device ON mutation (device, seq)")
