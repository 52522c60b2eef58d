"""Outgoing webhooks: who is told of what, what there was to tell, and what became of it."""

from alembic import op

from sync_protocol.texts import Text

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None
summary = Text("Adds tables of webhooks.")
compatible_from = "0013"
loses = Text("webhooks, and what was sent to them")


def upgrade() -> None:
    """Empty tables."""
    op.execute(
        'CREATE TABLE webhook (id UUID PRIMARY KEY, name TEXT NOT NULL, unit TEXT COLLATE "C"'
        " NOT NULL, app TEXT, events TEXT[] NOT NULL, format TEXT NOT NULL, host TEXT NOT NULL,"
        " address TEXT NOT NULL, secret TEXT, active BOOLEAN NOT NULL,"
        " created_by TEXT NOT NULL, created_at TIMESTAMPTZ NOT NULL,"
        " since TIMESTAMPTZ NOT NULL, stopped_because TEXT, rests_until TIMESTAMPTZ)"
    )
    op.execute(
        "CREATE TABLE webhook_event (id UUID PRIMARY KEY, key TEXT NOT NULL UNIQUE,"
        ' type TEXT NOT NULL, unit TEXT COLLATE "C" NOT NULL, at TIMESTAMPTZ NOT NULL,'
        " data JSONB NOT NULL, client TEXT, receipt TEXT)"
    )
    op.execute("CREATE INDEX webhook_event_at ON webhook_event (at)")
    op.execute(
        "CREATE TABLE webhook_delivery (webhook UUID NOT NULL, event UUID NOT NULL,"
        " id UUID NOT NULL UNIQUE, type TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL,"
        " attempts INTEGER NOT NULL, created_at TIMESTAMPTZ NOT NULL,"
        " next_at TIMESTAMPTZ NOT NULL, last_at TIMESTAMPTZ, last_status INTEGER,"
        " last_error TEXT, PRIMARY KEY (webhook, event))"
    )
    op.execute(
        "CREATE INDEX webhook_delivery_due ON webhook_delivery (webhook, next_at)"
        " WHERE state = 'waiting'"
    )
    op.execute("CREATE INDEX webhook_delivery_newest ON webhook_delivery (webhook, created_at, id)")
    op.execute(
        'CREATE TABLE webhook_cursor (grid TEXT COLLATE "C" PRIMARY KEY, rev BIGINT NOT NULL)'
    )


def downgrade() -> None:
    """The records stay."""
    for table in ("webhook_cursor", "webhook_delivery", "webhook_event", "webhook"):
        op.execute(f"DROP TABLE {table}")
