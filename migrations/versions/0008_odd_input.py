"""What came of a held mutation is kept beside a copy that everybody can show, and counts for its
device.
"""

import json
import zlib

import sqlalchemy as sa
from alembic import op

from sync_protocol.limits import MAX_MUTATION_BYTES, normalised
from sync_protocol.messages import canonical_json
from sync_protocol.texts import Text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
summary = Text("Keeps what came of a held mutation beside a copy that can be shown.")
loses = Text("what came, where only a copy can be shown")
rewrites = ("held",)
pace = {"held": 200}

_AT_ONCE = 500


def upgrade() -> None:
    """Also turns what is held already, and would make every reading of it fail, into such
    copies.
    """
    op.add_column("held", sa.Column("original", sa.LargeBinary(), nullable=True))
    op.add_column("held", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE held SET size = 500 + octet_length(body::text)")
    _normalise()
    op.create_index("held_device", "held", ["device"], postgresql_where=sa.text("state = 'open'"))


def _normalise() -> None:
    if op.get_context().as_sql:
        return  # only read, by whoever wants to know what it does
    connection = op.get_bind()
    after = "00000000-0000-0000-0000-000000000000"
    while True:
        page = sa.text(
            "SELECT id::text, body::text FROM held WHERE id > cast(:after AS uuid) ORDER BY id"
            " LIMIT :many"
        )
        rows = connection.execute(page, {"after": after, "many": _AT_ONCE}).all()
        for id, text in rows:
            after = id
            try:
                body = json.loads(text)
                # What fits is only cleaned, never cut.
                copy = (
                    normalised(body, 4 * len(text))
                    if len(text.encode()) <= MAX_MUTATION_BYTES
                    else normalised(body)
                )
            except RecursionError:
                body, copy = None, {"fields": {"unreadable": "…"}}
            if copy != body:
                values = {
                    "id": id,
                    "body": canonical_json(copy),
                    "original": zlib.compress(text.encode()),
                }
                connection.execute(
                    sa.text(
                        "UPDATE held SET body = cast(:body AS json), original = :original"
                        " WHERE id = cast(:id AS uuid)"
                    ),
                    values,
                )
        if len(rows) < _AT_ONCE:
            return


def downgrade() -> None:
    """The copies stay; what came of them is lost."""
    op.drop_index("held_device", table_name="held")
    op.drop_column("held", "size")
    op.drop_column("held", "original")
