"""The tables of the sync: counters, the mutation log, held mutations, conflicts, departures, erased
records, and the server's epoch.
"""

from datetime import datetime
from typing import Any
from uuid import UUID as Uuid

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSON, JSONB, UUID
from sqlmodel import Field, SQLModel

_CODE = Text(collation="C")
_MOMENT = DateTime(timezone=True)


class Server(SQLModel, table=True):
    """One row: the epoch (the identity of the server's history), the key that signs cursors, and
    how values are encrypted.

    `encryption`: see `service.kit.encryption.State`. `own_work_from`: since when nobody verifies
    the own resolution; long ago where no step was written before the rule. `timeline`: that under
    which the database was last written, see `service.writes.timelines`; empty before the first use.
    `tree_version`: another with every change of units, see `service.organisation.trees`;
    `vocabulary_version`: the same of words, limits and the calendar, see
    `service.vocabulary.keeping`.
    """

    one: bool = Field(default=True, primary_key=True)
    epoch: Uuid = Field(sa_column=Column(UUID, nullable=False))
    epoch_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    cursor_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    own_work_from: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    encryption: str = Field(sa_column=Column(Text, nullable=False))
    timeline: str = Field(default="", sa_column=Column(Text, nullable=False, server_default=""))
    tree_version: str = Field(default="", sa_column=Column(Text, nullable=False, server_default=""))
    vocabulary_version: str = Field(
        default="", sa_column=Column(Text, nullable=False, server_default="")
    )


class Timeline(SQLModel, table=True):
    """A timeline under which the database was written, by name and in order."""

    name: str = Field(sa_column=Column(Text, primary_key=True))
    number: int = Field(sa_column=Column(BigInteger, nullable=False, unique=True))
    begun_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))


class TimelineHead(SQLModel, table=True):
    """The head of a grid, or of a mailbox, as the timeline `number` began."""

    __tablename__ = "timeline_head"

    number: int = Field(sa_column=Column(BigInteger, primary_key=True))
    grid: str = Field(sa_column=Column(_CODE, primary_key=True))
    rev: int = Field(sa_column=Column(BigInteger, nullable=False))


class TimelineAcked(SQLModel, table=True):
    """The acknowledged seq of a device as the timeline `number` began."""

    __tablename__ = "timeline_acked"

    number: int = Field(sa_column=Column(BigInteger, primary_key=True))
    device: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    acked_seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class Counter(SQLModel, table=True):
    """The head revision of a grid; its row lock is what makes revisions visible in order."""

    grid: str = Field(sa_column=Column(_CODE, primary_key=True))
    rev: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class LoggedMutation(SQLModel, table=True):
    """Every mutation that ever came in, whole, with what became of it.

    `offset_ms` and `stamp` (corrected) say how its clock was judged; `verdict` holds, encrypted,
    what the outcome alone does not say; `origin` names the held mutation that a release repeats.
    `body` is its canonical JSON in rows of the previous release; all others have theirs in
    `MutationBody`. `digest` is keyed, and outlives the body.
    """

    __tablename__ = "mutation"
    __table_args__ = (Index("mutation_record", "id"),)

    device: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True))
    received_at: datetime = Field(sa_column=Column(_MOMENT, primary_key=True))
    staff_code: str = Field(sa_column=Column(Text, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    id: str = Field(sa_column=Column(Text, nullable=False))
    grid: str = Field(sa_column=Column(Text, nullable=False))
    stamp: int = Field(sa_column=Column(BigInteger, nullable=False))
    offset_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    body: str | None = Field(default=None, sa_column=Column(Text))
    outcome: str = Field(sa_column=Column(Text, nullable=False))
    rev: int | None = Field(default=None, sa_column=Column(BigInteger))
    verdict: Any = Field(default=None, sa_column=Column(JSON))
    origin: Uuid | None = Field(default=None, sa_column=Column(UUID))


class MutationBody(SQLModel, table=True):
    """The bodies of mutations of a device that came in together, from `first_seq` to `last_seq`:
    one compressed and encrypted block.

    `located`: whether a body of a visit may hold a location. Several blocks of a push may stand
    side by side.
    """

    __tablename__ = "mutation_body"

    device: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    received_at: datetime = Field(sa_column=Column(_MOMENT, primary_key=True))
    first_seq: int = Field(sa_column=Column(BigInteger, primary_key=True))
    last_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    located: bool = Field(sa_column=Column(Boolean, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class HeldMutation(SQLModel, table=True):
    """A mutation that could not be applied, kept whole until somebody releases or discards it.

    `waits_for` is the record, of kind `waits_for_kind`, whose arrival releases it by itself;
    `stamp` is corrected; `state` is open, released or discarded. `original`: what came, where
    `body` is a normalised copy of it, see `originals`; `size`: the bytes that count for its device.
    `body`, `detail` and `original` are encrypted. `seen`: the rev up to which its device could have
    seen the record.
    """

    __tablename__ = "held"
    __table_args__ = (
        Index(
            "held_waiting",
            "waits_for",
            postgresql_where=text("state = 'open' AND waits_for IS NOT NULL"),
        ),
        Index("held_mailbox", "mailbox", "rev"),
        Index("held_grid", "grid", postgresql_where=text("state = 'open'")),
        Index("held_device", "device", postgresql_where=text("state = 'open'")),
    )

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    device: Uuid = Field(sa_column=Column(UUID, nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    staff_code: str = Field(sa_column=Column(Text, nullable=False))
    mailbox: str = Field(sa_column=Column(_CODE, nullable=False))
    rev: int = Field(sa_column=Column(BigInteger, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    record: str = Field(sa_column=Column(Text, nullable=False))
    grid: str = Field(sa_column=Column(_CODE, nullable=False))
    stamp: int = Field(sa_column=Column(BigInteger, nullable=False))
    offset_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    body: Any = Field(sa_column=Column(JSON, nullable=False))
    original: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    size: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    detail: str = Field(sa_column=Column(Text, nullable=False))
    waits_for: Uuid | None = Field(default=None, sa_column=Column(UUID))
    waits_for_kind: str | None = Field(default=None, sa_column=Column(Text))
    received_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    state: str = Field(default="open", sa_column=Column(Text, nullable=False))
    decided_by: str | None = Field(default=None, sa_column=Column(Text))
    decided_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    decision: str | None = Field(default=None, sa_column=Column(Text))
    seen: int | None = Field(default=None, sa_column=Column(BigInteger))


class ConflictRow(SQLModel, table=True):
    """A field on which two devices disagreed: both values, authors, times and devices, and the rule
    that chose.
    """

    __tablename__ = "conflict"
    __table_args__ = (
        Index("conflict_open", "grid", postgresql_where=text("resolved_at IS NULL")),
        Index("conflict_record", "record"),
    )

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    grid: str = Field(sa_column=Column(_CODE, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    record: Uuid = Field(sa_column=Column(UUID, nullable=False))
    field: str = Field(sa_column=Column(Text, nullable=False))
    rule: str = Field(sa_column=Column(Text, nullable=False))
    rev: int = Field(sa_column=Column(BigInteger, nullable=False))
    kept: Any = Field(default=None, sa_column=Column(JSON))
    kept_by: str = Field(sa_column=Column(Text, nullable=False))
    kept_device: Uuid = Field(sa_column=Column(UUID, nullable=False))
    kept_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    lost: Any = Field(default=None, sa_column=Column(JSON))
    lost_by: str = Field(sa_column=Column(Text, nullable=False))
    lost_device: Uuid = Field(sa_column=Column(UUID, nullable=False))
    lost_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    created_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    choice: str | None = Field(default=None, sa_column=Column(Text))
    value: Any = Field(default=None, sa_column=Column(JSONB))
    note: str | None = Field(default=None, sa_column=Column(Text))
    resolved_by: str | None = Field(default=None, sa_column=Column(Text))
    resolved_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))


class Departure(SQLModel, table=True):
    """A record that left a grid at a revision: what the grid's feed says of it from then on."""

    grid: str = Field(sa_column=Column(_CODE, primary_key=True))
    rev: int = Field(sa_column=Column(BigInteger, primary_key=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    id: Uuid = Field(sa_column=Column(UUID, nullable=False))


class ErasedRecord(SQLModel, table=True):
    """A record whose personal data was erased, as revision `rev` of its grid.

    What was written without knowing of that must not bring the data back: it waits for a person.
    """

    __tablename__ = "erased_record"

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    kind: str = Field(sa_column=Column(Text, primary_key=True))
    grid: str = Field(sa_column=Column(_CODE, nullable=False))
    rev: int = Field(sa_column=Column(BigInteger, nullable=False))
    at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))


class HouseholdPhone(SQLModel, table=True):
    """A number of a household's phone: its blind index, and what that was made of, encrypted; see
    `phone_index`.
    """

    __tablename__ = "household_phone"
    __table_args__ = (
        Index("household_phone_household", "household"),
        Index("household_phone_blind", "blind"),
    )

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    household: Uuid = Field(sa_column=Column(UUID, nullable=False))
    blind: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
