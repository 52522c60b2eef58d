"""The tables of webhooks."""

from datetime import datetime
from typing import Any
from uuid import UUID as Uuid

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlmodel import Field, SQLModel

_CODE = Text(collation="C")
_MOMENT = DateTime(timezone=True)


class Webhook(SQLModel, table=True):
    """Where somebody is told of events of a unit and all below it, and of which.

    `app`: the app for which it is; none for a group robot. `host` is shown; `address` and `secret`
    are encrypted, for an address of a group robot lets everybody write to the group. `since`: what
    was before is not told. `rests_until`: nothing is sent before, for nobody answered.
    """

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    unit: str = Field(sa_column=Column(_CODE, nullable=False))
    app: str | None = Field(default=None, sa_column=Column(Text))
    events: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    format: str = Field(sa_column=Column(Text, nullable=False))
    host: str = Field(sa_column=Column(Text, nullable=False))
    address: str = Field(sa_column=Column(Text, nullable=False))
    secret: str | None = Field(default=None, sa_column=Column(Text))
    active: bool = Field(sa_column=Column(Boolean, nullable=False))
    created_by: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    since: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    stopped_because: str | None = Field(default=None, sa_column=Column(Text))
    rests_until: datetime | None = Field(default=None, sa_column=Column(_MOMENT))


class WebhookEvent(SQLModel, table=True):
    """Something that has happened. `key` names it, so that it is told once; `client` and `receipt`:
    the app whose request it is about, and its number there.
    """

    __tablename__ = "webhook_event"
    __table_args__ = (Index("webhook_event_at", "at"),)

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    key: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    type: str = Field(sa_column=Column(Text, nullable=False))
    unit: str = Field(sa_column=Column(_CODE, nullable=False))
    at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    data: Any = Field(sa_column=Column(JSONB, nullable=False))
    client: str | None = Field(default=None, sa_column=Column(Text))
    receipt: str | None = Field(default=None, sa_column=Column(Text))


class WebhookDelivery(SQLModel, table=True):
    """An event on its way to a webhook: waiting (until `next_at`), delivered, or dead after the
    last attempt.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index(
            "webhook_delivery_due",
            "webhook",
            "next_at",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("webhook_delivery_newest", "webhook", "created_at", "id"),
    )

    webhook: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    event: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    id: Uuid = Field(sa_column=Column(UUID, nullable=False, unique=True))
    type: str = Field(sa_column=Column(Text, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    next_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    last_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    last_status: int | None = Field(default=None, sa_column=Column(Integer))
    last_error: str | None = Field(default=None, sa_column=Column(Text))


class WebhookCursor(SQLModel, table=True):
    """Up to which revision of a grid events were taken from what was written there."""

    __tablename__ = "webhook_cursor"

    grid: str = Field(sa_column=Column(_CODE, primary_key=True))
    rev: int = Field(sa_column=Column(BigInteger, nullable=False))
