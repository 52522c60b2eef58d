"""Readies mutations for the write path: whose they are, their clocks corrected, and whether their
base means anything still. Pure.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from service.identity.rights import PostHeld
from service.kit.settings import Settings
from service.writes.mutations import HoldReason, ParsedMutation
from sync_protocol import clock
from sync_protocol.cursor import Position
from sync_protocol.ids import server_device_id
from sync_protocol.kinds import Kind
from sync_protocol.messages import Mutation
from sync_protocol.moments import OUTSIDE_THE_YEARS, canonical_moment, is_in_the_years
from sync_protocol.periods import from_ms, to_ms
from sync_protocol.record_state import Edit
from sync_protocol.texts import Text


class Author(msgspec.Struct):
    """Whose mutations they are: the device, its cadre, all posts the cadre ever held, and what is
    known of the device's clock.

    `epoch` is the server's; `epoch_since_ms` is when this device is known to have learned of it, 0
    if it always knew. `pulled`: how far it has pulled each grid. `revoked_at`: nothing made after
    that moment is applied. `registered_at`: since when there is such a device; None for the
    server's own. What is stamped before `oldest_stamp` was made long before that.
    """

    device: str
    staff_code: str
    posts: Sequence[PostHeld]
    offset_ms: int = 0
    last_stamp: str = clock.ZERO
    epoch: str = ""
    epoch_since_ms: int = 0
    pulled: Mapping[str, Position] = {}
    revoked_at: datetime | None = None
    registered_at: datetime | None = None
    oldest_stamp: str = clock.ZERO

    def seen(self, grid: str) -> int:
        """The rev up to which it has pulled a grid."""
        position = self.pulled.get(grid)
        return position.rev if position is not None else 0


# The fields by which a new record goes with another, the first that it has.
_GOES_WITH: Mapping[str, Sequence[tuple[str, str]]] = {
    "step": (("problem_id", "problem"),),
    "problem": (("household_id", "household"), ("visit_id", "visit")),
    "visit": (("household_id", "household"),),
    "tie": (("household_id", "household"),),
}


def _about(kind: Kind, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    for name, refers in _GOES_WITH.get(kind.name, ()):
        if target := fields.get(name):
            return refers, str(target)
    return None


def oldest_stamp(registered_at: datetime, settings: Settings) -> str:
    """The stamp before which nothing of a device registered then is believed."""
    return clock.make_stamp(
        max(0, to_ms(registered_at - timedelta(days=settings.stamp_too_old_days)))
    )


class PreparedMutation(msgspec.Struct):
    """A mutation on its way through the write path: what was read, whose it is, and its corrected
    `stamp`.

    `origin`: the held mutation it repeats, and `received_at` when that came. `decider`: the posts
    of the person who released it as it is, `decided_by`: who that is. `created_by`: whose record it
    makes, if not the author's; `rights_at`: the stamp at which rights are judged, if not its own.
    `rebased`,
    `override`: see `Edit`. `seen`: the rev up to which its device could have seen the record when
    the mutation was held. `moved_to`: the grid in which a new record belongs by now, because what
    it is about has left the one that its author knew. `about`: kind and id of what a new record
    goes with when that moves to another grid: a step with its problem, a problem, visit or tie with
    its household, a problem without one with its visit. `is_accepted`: it moves a record into or
    out of a grid where its author may not write, and who covers both has released it.
    """

    author: Author
    mutation: Mutation
    parsed: ParsedMutation
    stamp: str
    kind: Kind | None
    fields: dict[str, Any]
    flaw: HoldReason | None
    as_sent: bool
    rebased: bool = False
    override: bool = False
    origin: str | None = None
    received_at: datetime | None = None
    decider: Sequence[PostHeld] | None = None
    decided_by: str | None = None
    created_by: str | None = None
    rights_at: str | None = None
    seen: int | None = None
    moved_to: str | None = None
    is_accepted: bool = False
    about: tuple[str, str] | None = None

    @property
    def is_decided(self) -> bool:
        """Whether a person has released it, as it is or with other words."""
        return self.decider is not None or self.rights_at is not None

    @property
    def judged_at(self) -> str:
        """The stamp at which its author must have had the right to it."""
        return self.rights_at or self.stamp

    @property
    def moment(self) -> datetime:
        """The same as a moment, by the server's clock."""
        return from_ms(clock.stamp_ms(self.judged_at))

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
            self.created_by,
            mover=server_device_id(self.decided_by)
            if self.is_accepted and self.decided_by is not None
            else None,
            was_held=self.origin is not None,
        )


def prepare(
    author: Author, parsed_mutations: Sequence[ParsedMutation], now: datetime
) -> list[PreparedMutation]:
    """A device's mutations, in the order of seq, ready to be applied at `now`."""
    now_ms = to_ms(now)
    raw = [
        parsed.mutation.stamp
        if parsed.mutation.flaw is None or clock.is_stamp(parsed.mutation.stamp)
        else clock.make_stamp(now_ms)
        for parsed in parsed_mutations
    ]
    stamps = clock.correct_stamps(
        raw, author.offset_ms, now_ms, author.last_stamp, author.oldest_stamp
    )
    return [
        prepare_one(author, parsed, stamp, author.offset_ms, now_ms)
        for parsed, stamp in zip(parsed_mutations, stamps, strict=True)
    ]


def prepare_one(
    author: Author, parsed: ParsedMutation, stamp: str, offset_ms: int, now_ms: int
) -> PreparedMutation:
    """One mutation whose stamp is corrected already."""
    mutation, kind, fields = parsed.mutation, parsed.kind, parsed.fields
    item = PreparedMutation(
        author, mutation, parsed, stamp, kind, fields, parsed.flaw, parsed.as_sent
    )
    if kind is None:
        return item
    if kind.events:
        corrected = _corrected_events(kind, fields, offset_ms, now_ms)
        if corrected:
            item.fields, item.as_sent = {**fields, **corrected}, False
        if item.flaw is None:
            item.flaw = _flaw_of_events(kind, item.fields)
    if stamp != mutation.stamp:
        item.as_sent = (
            False  # the order of steps, and who wrote last, must be the same on every phone
        )
    item.about = _about(kind, item.fields)
    item.rebased = _of_another_epoch(author, mutation, stamp)
    return item


def _flaw_of_events(kind: Kind, fields: Mapping[str, Any]) -> HoldReason | None:
    """An event lies in the years that count, once the phone's clock is corrected."""
    for name in kind.events:
        value = fields.get(name)
        if value is not None and not is_in_the_years(value):
            return HoldReason(
                "fields-wrong",
                Text("{field} {what}.", field=kind.by_name[name].word, what=OUTSIDE_THE_YEARS),
            )
    return None


def _corrected_events(
    kind: Kind, fields: Mapping[str, Any], offset_ms: int, now_ms: int
) -> dict[str, str]:
    """The times of events that move."""
    moved = {}
    for name in kind.events:
        value = fields.get(name)
        if value is not None and (corrected := corrected_event(value, offset_ms, now_ms)) != value:
            moved[name] = corrected
    return moved


def corrected_event(moment: str, offset_ms: int, now_ms: int) -> str:
    """The time of an event in canonical form, moved by the phone's offset and never past the
    server's now.
    """
    if offset_ms == 0 and moment <= latest_event(now_ms):
        return moment
    return canonical_moment(
        from_ms(clock.corrected_ms(to_ms(datetime.fromisoformat(moment)), offset_ms, now_ms))
    )


@lru_cache(maxsize=16)
def latest_event(now_ms: int) -> str:
    """The server's now as the time of an event, in canonical form: none lies behind it."""
    return canonical_moment(from_ms(now_ms))


def _of_another_epoch(author: Author, mutation: Mutation, stamp: str) -> bool:
    """Whether the mutation's base is a rev of a history that the server no longer has (promise
    9).
    """
    if mutation.epoch is not None:
        return mutation.epoch != author.epoch
    return clock.stamp_ms(stamp) < author.epoch_since_ms


def noteworthy_offset(offset_ms: int) -> int | None:
    """A phone's clock offset, if it is one that people should know of."""
    return offset_ms if abs(offset_ms) >= clock.NOTEWORTHY_MS else None
