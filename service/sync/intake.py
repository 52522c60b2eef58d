"""Readies mutations for the write path: reads them by their declaration, corrects their clocks, finds their flaws. Pure.

What is wrong with a mutation is not an error: it becomes a `Flaw`, and the mutation is held (promise 2).
"""

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
from sync_protocol.records import KINDS, Kind, UnfitFields, clean_fields


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


class Ready(msgspec.Struct):
    """A mutation on its way through the write path: the corrected `stamp`, and canonical `fields` unless it has a `flaw`.

    `as_sent`: whether they say just what was sent. `origin`: the held mutation it repeats. `rebased`, `override`: see `Edit`.
    """

    author: Author
    mutation: Mutation
    stamp: str
    kind: Kind | None = None
    fields: dict[str, Any] = {}
    flaw: Flaw | None = None
    as_sent: bool = True
    origin: str | None = None
    rebased: bool = False
    override: bool = False

    @property
    def moment(self) -> datetime:
        """When it was made, by the server's clock."""
        return from_ms(clock.stamp_ms(self.stamp))

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


def ready(author: Author, mutations: Sequence[Mutation], now: datetime) -> list[Ready]:
    """A device's mutations, in the order of seq, ready to be applied at `now`."""
    now_ms = to_ms(now)
    raw = [
        mutation.stamp if mutation.flaw is None or clock.is_stamp(mutation.stamp) else clock.make_stamp(now_ms) for mutation in mutations
    ]
    stamps = clock.correct_stamps(raw, author.offset_ms, now_ms, author.last_stamp)
    return [ready_one(author, mutation, stamp, author.offset_ms, now_ms) for mutation, stamp in zip(mutations, stamps, strict=True)]


def ready_one(author: Author, mutation: Mutation, stamp: str, offset_ms: int, now_ms: int, override: bool = False) -> Ready:
    """One mutation whose stamp is corrected already."""
    item = Ready(author, mutation, stamp, override=override)
    if mutation.flaw is not None:
        item.flaw = Flaw("unreadable", mutation.flaw)
        return item
    kind = item.kind = KINDS.get(mutation.kind)
    if kind is None:
        item.flaw = Flaw("kind-unknown", f"This server does not know records of kind ‘{mutation.kind[:40]}’ yet.")
        return item
    try:
        item.fields, item.as_sent = fields, _ = clean_fields(kind, mutation.fields)
    except UnfitFields as error:
        item.flaw = Flaw("fields-wrong", f"{error}.")
        return item
    if kind.events and _correct_events(kind, fields, offset_ms, now_ms):
        item.as_sent = False
    if kind.append_only and stamp != mutation.stamp:
        item.as_sent = False  # the order of steps must be the same on every phone
    if kind.key and mutation.op == "put" and kind.key in fields:
        make_id = ids.weekly_analysis_id if kind.name == "weekly_analysis" else ids.monthly_summary_id
        if mutation.id != make_id(mutation.grid, fields[kind.key]):
            item.flaw = Flaw("id-wrong", f"The id of a {kind.name} follows from its grid and {kind.key}; compute it.")
            return item
    item.rebased = mutation.base != 0 and _of_another_epoch(author, mutation, stamp)
    return item


def _correct_events(kind: Kind, fields: dict[str, Any], offset_ms: int, now_ms: int) -> bool:
    """Moves the times of events by the phone's offset, never past the server's now; whether anything moved."""
    moved = False
    latest = _canonical_ms(now_ms)
    for name in kind.events:
        value = fields.get(name)
        if value is None:
            continue
        if offset_ms == 0 and value <= latest:
            continue
        corrected = canonical_moment(from_ms(clock.corrected_ms(to_ms(datetime.fromisoformat(value)), offset_ms, now_ms)))
        if corrected != value:
            fields[name] = corrected
            moved = True
    return moved


@lru_cache(maxsize=16)
def _canonical_ms(ms: int) -> str:
    return canonical_moment(from_ms(ms))


def _of_another_epoch(author: Author, mutation: Mutation, stamp: str) -> bool:
    """Whether the mutation's base is a rev of a history that the server no longer has (promise 9)."""
    if mutation.epoch is not None:
        return mutation.epoch != author.epoch
    return clock.stamp_ms(stamp) < author.epoch_since_ms
