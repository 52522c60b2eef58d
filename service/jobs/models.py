"""The tables of jobs. `job`, `job_log`, `job_schedule` and `job_statistics` are the library's own,
see `library`; what else is kept of a job is ours, and so are the last two columns of `job`.
"""

from datetime import datetime
from uuid import UUID as Uuid

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ENUM, JSONB, UUID
from sqlmodel import Field, SQLModel

_MOMENT = DateTime(timezone=True)
_STATUS = ENUM(
    *("queued", "picked", "successful", "exception", "canceled", "deleted", "failed"),
    name="job_status",
    create_type=False,
)
_QUEUED, _PICKED = text("status = 'queued'"), text("status = 'picked'")


def _moment(name: str) -> Column[datetime]:
    return Column(name, _MOMENT, nullable=False, server_default=func.now())


Table(
    "job",
    SQLModel.metadata,
    Column("id", BigInteger, primary_key=True),
    Column("priority", Integer, nullable=False),
    Column("queue_manager_id", UUID),
    *map(_moment, ("created", "updated", "heartbeat", "execute_after")),
    Column("status", _STATUS, nullable=False),
    Column("entrypoint", Text, nullable=False),
    Column("dedupe_key", Text),
    Column("payload", LargeBinary),
    Column("headers", JSONB),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("slot", BigInteger),
    # Ours: whether an attempt has begun and not ended, and how often a process ended under it.
    Column("begun", Boolean, nullable=False, server_default="false"),
    Column("broken_off", Integer, nullable=False, server_default="0"),
    Index("job_ep_ea_idx", "entrypoint", "execute_after", postgresql_where=_QUEUED),
    Index(
        "job_ep_prio_id_idx", "entrypoint", text("priority DESC"), "id", postgresql_where=_QUEUED
    ),
    Index("job_picked_heartbeat_idx", "heartbeat", postgresql_where=_PICKED),
    Index(
        "job_picked_slot_idx",
        "entrypoint",
        "slot",
        unique=True,
        postgresql_where=text("status = 'picked' AND slot IS NOT NULL"),
    ),
    Index(
        "job_priority_id_id1_idx",
        "priority",
        text("id DESC"),
        postgresql_include=["id"],
        postgresql_where=_QUEUED,
    ),
    Index(
        "job_queue_manager_id_idx",
        "queue_manager_id",
        postgresql_where=text("queue_manager_id IS NOT NULL"),
    ),
    Index(
        "job_unique_dedupe_key",
        "dedupe_key",
        unique=True,
        postgresql_where=text("status IN ('queued', 'picked') AND dedupe_key IS NOT NULL"),
    ),
    Index(
        "job_updated_id_id1_idx",
        "updated",
        text("id DESC"),
        postgresql_include=["id"],
        postgresql_where=_PICKED,
    ),
)
Table(
    "job_log",
    SQLModel.metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _moment("created"),
    Column("job_id", BigInteger, nullable=False),
    Column("status", _STATUS, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("entrypoint", Text, nullable=False),
    Column("traceback", JSONB),
    Column("aggregated", Boolean, server_default="false"),
    Index("job_log_created", "created"),
    Index("job_log_job_id_status", "job_id", text("created DESC")),
    Index("job_log_not_aggregated", text("(1)"), postgresql_where=text("NOT aggregated")),
    Index("job_log_status", "status"),
)
Table(
    "job_schedule",
    SQLModel.metadata,
    Column("id", BigInteger, primary_key=True),
    Column("expression", Text, nullable=False),
    Column("entrypoint", Text, nullable=False),
    *map(_moment, ("heartbeat", "created", "updated", "next_run")),
    Column("last_run", _MOMENT),
    Column("status", _STATUS, server_default="queued"),
    UniqueConstraint("expression", "entrypoint"),
)
Table(
    "job_statistics",
    SQLModel.metadata,
    Column("id", BigInteger, primary_key=True),
    Column("created", _MOMENT, nullable=False, server_default=text("date_trunc('sec', now())")),
    Column("count", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", _STATUS, nullable=False),
    Column("entrypoint", Text, nullable=False),
    Index(
        "job_statistics_unique_count",
        "priority",
        text("date_trunc('sec'::text, timezone('UTC'::text, created))"),
        "status",
        "entrypoint",
        unique=True,
    ),
)


class JobResult(SQLModel, table=True):
    """A job that somebody asked for: how far it has come (`done` of `total`), and what it made,
    which is kept until `kept_until`.

    `state`: waiting, running, done or failed.
    """

    __tablename__ = "job_result"
    __table_args__ = (Index("job_result_kept", "kept_until"),)

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    asked_by: str = Field(sa_column=Column(Text, nullable=False))
    asked_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    done: int = Field(sa_column=Column(BigInteger, nullable=False))
    total: int = Field(sa_column=Column(BigInteger, nullable=False))
    name: str | None = Field(default=None, sa_column=Column(Text))
    media_type: str | None = Field(default=None, sa_column=Column(Text))
    size: int | None = Field(default=None, sa_column=Column(BigInteger))
    ended_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    kept_until: datetime = Field(sa_column=Column(_MOMENT, nullable=False))


class JobResultPart(SQLModel, table=True):
    """A part of what a job made, encrypted."""

    __tablename__ = "job_result_part"

    result: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    part: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
