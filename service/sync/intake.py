"""Readies mutations for the write path: reads them by their declaration, corrects their clocks, finds their flaws. Pure.

What is wrong with a mutation is not an error: it becomes a `Flaw`, and the mutation is held (promise 2).
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from service.identity.rights import PostHeld
from sync_protocol import clock, ids
from sync_protocol.fields import canonical_moment
from sync_protocol.merge import Edit
from sync_protocol.messages import Mutation
from sync_protocol.periods import from_ms, to_ms
from sync_protocol.records import KINDS, Kind, UnfitFields, clean_fields, clean_many
from sync_protocol.texts import Text, text_of


class Flaw(NamedTuple):
    """Why a mutation is held: a stable reason, a sentence, and the record whose arrival would mend it."""

    reason: str
    detail: str
    waits_for: str | None = None


class Author(msgspec.Struct):
    """Whose mutations they are: the device, its cadre, all posts the cadre ever held, and what is known of the device's clock.

    `epoch` is the server's; `epoch_since_ms` is when this device is known to have learned of it, 0 if it always knew. `seen`: the rev
    up to which it has pulled each grid. `revoked_at`: nothing made after that moment is applied.
    """

    device: str
    staff_code: str
    posts: Sequence[PostHeld]
    offset_ms: int = 0
    last_stamp: str = clock.ZERO
    epoch: str = ""
    epoch_since_ms: int = 0
    seen: Mapping[str, int] = {}
    revoked_at: datetime | None = None


class Reading(msgspec.Struct):
    """A mutation read by its declaration: what can be known of it before the world is looked at.

    `fields`: in canonical form, unless it has a `flaw`; `as_sent`: whether they say just what was sent; `content`: as it is logged;
    `digest`: see `digest_of`.
    """

    mutation: Mutation
    content: bytes
    digest: bytes
    kind: Kind | None = None
    fields: dict[str, Any] = {}
    flaw: Flaw | None = None
    as_sent: bool = True


class Ready(msgspec.Struct):
    """A mutation on its way through the write path: what was read, whose it is, and its corrected `stamp`.

    `origin`: the held mutation it repeats. `rebased`, `override`: see `Edit`.
    """

    author: Author
    mutation: Mutation
    reading: Reading
    stamp: str
    kind: Kind | None
    fields: dict[str, Any]
    flaw: Flaw | None
    as_sent: bool
    rebased: bool = False
    override: bool = False
    origin: str | None = None

    @property
    def moment(self) -> datetime:
        """When it was made, by the server's clock."""
        return from_ms(clock.stamp_ms(self.stamp))

    @property
    def last_stamp(self) -> str:
        """The highest stamp in it: its own."""
        return self.stamp

    def edit(self) -> Edit:
        """What it does to a record, for the merge."""
        mutation, author = self.mutation, self.author
        return Edit(
            mutation.id,
            mutation.grid,
            mutation.op,
            mutation.base,
            self.stamp,
            author.device,
            author.staff_code,
            self.fields,
            self.rebased,
            self.override,
            mutation.base_grid,
        )


def read(mutation: Mutation) -> Reading:
    """Reads a mutation; what is wrong with it becomes its flaw."""
    [reading] = read_all([mutation])
    return reading


def read_all(mutations: Sequence[Mutation]) -> list[Reading]:
    """The same for many: those of a kind are read together where that is enough, which is faster."""
    readings = []
    by_kind: dict[str, list[Reading]] = {}
    for mutation in mutations:
        content = mutation.canonical()
        reading = Reading(mutation, content, digest_of(content))
        readings.append(reading)
        if mutation.flaw is None:
            by_kind.setdefault(mutation.kind, []).append(reading)
        else:
            reading.flaw = Flaw("unreadable", mutation.flaw)
    for name, some in by_kind.items():
        _read_fields(name, some)
    return readings


def _read_fields(kind_name: str, readings: Sequence[Reading]) -> None:
    """Reads the fields of mutations of one kind."""
    kind = KINDS.get(kind_name)
    if kind is None:
        for reading in readings:
            reading.flaw = Flaw("kind-unknown", Text("This server does not know records of kind ‘{kind}’ yet.", kind=kind_name[:40]))
        return
    cleaned = clean_many(kind, [reading.mutation.fields for reading in readings])
    for place, reading in enumerate(readings):
        reading.kind = kind
        if cleaned is not None:
            reading.fields = cleaned[place]
        else:
            try:
                reading.fields, reading.as_sent = clean_fields(kind, reading.mutation.fields)
            except UnfitFields as error:
                reading.flaw = Flaw("fields-wrong", text_of(error))
                continue
        if kind.key is not None:
            _check_id(kind, kind.key, reading)


def _check_id(kind: Kind, key: str, reading: Reading) -> None:
    """A record with a natural key has the id that follows from it (promise 5)."""
    mutation = reading.mutation
    if mutation.op == "put" and key in reading.fields:
        make_id = ids.weekly_analysis_id if kind.name == "weekly_analysis" else ids.monthly_summary_id
        if mutation.id != make_id(mutation.grid, reading.fields[key]):
            text = Text(
                "The id of a {kind} follows from its grid and {key}; compute it.",
                kind=kind.word,
                key=kind.by_name[key].word,
            )
            reading.flaw = Flaw("id-wrong", text)


def digest_of(content: bytes) -> bytes:
    """What tells whether a repeated seq has the same content (promise 10)."""
    return hashlib.blake2b(content, digest_size=12).digest()


def ready(author: Author, readings: Sequence[Reading], now: datetime) -> list[Ready]:
    """A device's mutations, in the order of seq, ready to be applied at `now`."""
    now_ms = to_ms(now)
    raw = [
        reading.mutation.stamp if reading.mutation.flaw is None or clock.is_stamp(reading.mutation.stamp) else clock.make_stamp(now_ms)
        for reading in readings
    ]
    stamps = clock.correct_stamps(raw, author.offset_ms, now_ms, author.last_stamp)
    return [ready_one(author, reading, stamp, author.offset_ms, now_ms) for reading, stamp in zip(readings, stamps, strict=True)]


def ready_one(author: Author, reading: Reading, stamp: str, offset_ms: int, now_ms: int) -> Ready:
    """One mutation whose stamp is corrected already."""
    mutation, kind, fields = reading.mutation, reading.kind, reading.fields
    item = Ready(author, mutation, reading, stamp, kind, fields, reading.flaw, reading.as_sent)
    if kind is None:
        return item
    if kind.events:
        corrected = _corrected_events(kind, fields, offset_ms, now_ms)
        if corrected:
            item.fields, item.as_sent = {**fields, **corrected}, False
    if kind.append_only and stamp != mutation.stamp:
        item.as_sent = False  # the order of steps must be the same on every phone
    item.rebased = mutation.base != 0 and _of_another_epoch(author, mutation, stamp)
    return item


def _corrected_events(kind: Kind, fields: Mapping[str, Any], offset_ms: int, now_ms: int) -> dict[str, str]:
    """The times of events that move."""
    moved = {}
    for name in kind.events:
        value = fields.get(name)
        if value is not None and (corrected := corrected_event(value, offset_ms, now_ms)) != value:
            moved[name] = corrected
    return moved


def corrected_event(moment: str, offset_ms: int, now_ms: int) -> str:
    """The time of an event in canonical form, moved by the phone's offset and never past the server's now."""
    if offset_ms == 0 and moment <= latest_event(now_ms):
        return moment
    return canonical_moment(from_ms(clock.corrected_ms(to_ms(datetime.fromisoformat(moment)), offset_ms, now_ms)))


@lru_cache(maxsize=16)
def latest_event(now_ms: int) -> str:
    """The server's now as the time of an event, in canonical form: none lies behind it."""
    return canonical_moment(from_ms(now_ms))


def _of_another_epoch(author: Author, mutation: Mutation, stamp: str) -> bool:
    """Whether the mutation's base is a rev of a history that the server no longer has (promise 9)."""
    if mutation.epoch is not None:
        return mutation.epoch != author.epoch
    return clock.stamp_ms(stamp) < author.epoch_since_ms
