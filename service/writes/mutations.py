"""Readies mutations for the write path: reads them by their declaration, corrects their clocks,
finds their flaws. Pure.

What is wrong with a mutation is not an error: it becomes a `HoldReason`, and the mutation is held
(promise 2).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from service.identity.rights import PostHeld
from service.kit.settings import Settings
from sync_protocol import clock, ids
from sync_protocol.cleaning import UnfitFields, clean_fields, clean_many
from sync_protocol.cursor import Position
from sync_protocol.decoding import OddMutation, flaw_of, shown
from sync_protocol.fields import InvalidValue
from sync_protocol.kinds import Kind
from sync_protocol.limits import MAX_MUTATION_BYTES, showable
from sync_protocol.messages import Mutation
from sync_protocol.moments import OUTSIDE_THE_YEARS, canonical_moment, is_in_the_years
from sync_protocol.periods import from_ms, to_ms
from sync_protocol.record_state import Edit
from sync_protocol.records import KINDS
from sync_protocol.texts import Text, fitted, text_of


class HoldReason(NamedTuple):
    """Why a mutation is held: a stable reason, a sentence, and the record whose arrival would mend
    it, with its kind.
    """

    reason: str
    detail: str
    waits_for: str | None = None
    waits_for_kind: str | None = None


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


def oldest_stamp(registered_at: datetime, settings: Settings) -> str:
    """The stamp before which nothing of a device registered then is believed."""
    return clock.make_stamp(
        max(0, to_ms(registered_at - timedelta(days=settings.stamp_too_old_days)))
    )


class ParsedMutation(msgspec.Struct):
    """A mutation read by its declaration: what can be known of it before the world is looked at.

    `fields`: in canonical form, unless it has a `flaw`; `as_sent`: whether they say just what was
    sent; `content`: as it is logged. `original`: what came, where `mutation` and `content` are a
    normalised copy of it; `sent`: the canonical JSON of that.
    """

    mutation: Mutation
    content: bytes
    original: bytes | None = None
    sent: bytes | None = None
    kind: Kind | None = None
    fields: dict[str, Any] = {}
    flaw: HoldReason | None = None
    as_sent: bool = True

    @property
    def identity(self) -> bytes:
        """What tells whether a repeated seq has the same content (promise 10)."""
        return self.content if self.sent is None else self.sent


class PreparedMutation(msgspec.Struct):
    """A mutation on its way through the write path: what was read, whose it is, and its corrected
    `stamp`.

    `origin`: the held mutation it repeats, and `received_at` when that came. `decider`: the posts
    of the person who released it as it is. `created_by`: whose record it makes, if not the
    author's; `rights_at`: the stamp at which rights are judged, if not its own. `rebased`,
    `override`: see `Edit`. `seen`: the rev up to which its device could have seen the record when
    the mutation was held.
    """

    author: Author
    mutation: Mutation
    reading: ParsedMutation
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
    created_by: str | None = None
    rights_at: str | None = None
    seen: int | None = None

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
        )


def read(mutation: Mutation) -> ParsedMutation:
    """Reads a mutation; what is wrong with it becomes its flaw."""
    [reading] = parse_all([mutation])
    return reading


def parse_all(mutations: Sequence[Mutation]) -> list[ParsedMutation]:
    """The same for many: those of a kind are read together where that is enough, which is
    faster.
    """
    readings = []
    by_kind: dict[str, list[ParsedMutation]] = {}
    for mutation in mutations:
        content = mutation.canonical()
        reading = ParsedMutation(mutation, content)
        readings.append(reading)
        if len(content) > MAX_MUTATION_BYTES:
            text = Text(
                "It has {size} bytes, at most {max} fit; write less, or in several records.",
                size=len(content),
                max=MAX_MUTATION_BYTES,
            )
            reading.flaw = HoldReason("too-large", text)
        elif mutation.flaw is None:
            by_kind.setdefault(mutation.kind, []).append(reading)
        else:
            reading.flaw = HoldReason("unreadable", mutation.flaw)
    for name, some in by_kind.items():
        _read_fields(name, some)
    for reading in readings:
        if reading.flaw is not None:
            _make_showable(reading, reading.flaw)
    return readings


# A sentence for people; what it quotes may be longer than it.
_MAX_DETAIL = 1_000


def _make_showable(reading: ParsedMutation, flaw: HoldReason) -> None:
    """Leaves in the place of what nobody could keep or show a normalised copy of it, and what came
    beside it.
    """
    mutation = shown(reading.mutation, len(reading.content))
    if isinstance(mutation, OddMutation):
        came_odd = reading.mutation is mutation
        reading.sent = mutation.as_sent if came_odd else reading.content
        if came_odd:
            flaw = flaw._replace(reason=mutation.reason)
            if len(mutation.as_sent) > MAX_MUTATION_BYTES:
                flaw = flaw._replace(reason="too-large")
        reading.mutation, reading.content, reading.original = (
            mutation,
            mutation.canonical(),
            mutation.original,
        )
    reading.flaw = flaw._replace(detail=fitted(showable(flaw.detail), _MAX_DETAIL))


def _read_fields(kind_name: str, readings: Sequence[ParsedMutation]) -> None:
    """Reads the fields of mutations of one kind."""
    kind = KINDS.get(kind_name)
    if kind is None:
        for reading in readings:
            reading.flaw = HoldReason(
                "kind-unknown",
                Text(
                    "This server does not know records of kind ‘{kind}’ yet.", kind=kind_name[:40]
                ),
            )
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
                reading.flaw = HoldReason(error.reason, text_of(error))
                continue
        if kind.key is not None:
            _check_id(kind, kind.key, reading)


def _check_id(kind: Kind, key: str, reading: ParsedMutation) -> None:
    """A record with a natural key has the id that follows from it (promise 5)."""
    mutation = reading.mutation
    if mutation.op != "put" or key not in reading.fields:
        return
    if mutation.id != ids.natural_id(kind.name, mutation.grid, reading.fields[key]):
        text = Text(
            "The id of a {kind} follows from its grid and {key}; compute it.",
            kind=kind.word,
            key=kind.by_name[key].word,
        )
        reading.flaw = HoldReason("id-wrong", text)


def parse_again(mutation: Mutation, is_copy: bool) -> ParsedMutation:
    """Reads a held mutation for its release; what is computed from its fields is computed anew.

    `is_copy`: it is a normalised copy, of which nobody wrote what is in it, so that it is not
    applied as it stands.
    """
    mutation = corrected(mutation, mutation.fields)
    if is_copy:
        mutation.flaw = Text(
            "What is shown is a normalised copy of what was sent; release it with corrected fields."
        )
    return read(mutation)


def corrected(mutation: Mutation, fields: Mapping[str, Any]) -> Mutation:
    """A held mutation with other fields; what is computed from them is computed anew."""
    mutation = msgspec.structs.replace(mutation, fields=dict(fields), flaw=None)
    if not clock.is_stamp(mutation.stamp):
        mutation.stamp = clock.ZERO  # it is judged at the stamp under which it was held
    kind = KINDS.get(mutation.kind)
    key = kind.key if kind is not None else None
    if (
        kind is not None
        and key is not None
        and mutation.op == "put"
        and mutation.fields.get(key) is not None
    ):
        with suppress(InvalidValue):  # reading the fields says so
            mutation.id = ids.natural_id(
                kind.name, mutation.grid, kind.cleaners[key](mutation.fields[key])
            )
    mutation.flaw = flaw_of(mutation)
    return mutation


def prepare(
    author: Author, readings: Sequence[ParsedMutation], now: datetime
) -> list[PreparedMutation]:
    """A device's mutations, in the order of seq, ready to be applied at `now`."""
    now_ms = to_ms(now)
    raw = [
        reading.mutation.stamp
        if reading.mutation.flaw is None or clock.is_stamp(reading.mutation.stamp)
        else clock.make_stamp(now_ms)
        for reading in readings
    ]
    stamps = clock.correct_stamps(
        raw, author.offset_ms, now_ms, author.last_stamp, author.oldest_stamp
    )
    return [
        prepare_one(author, reading, stamp, author.offset_ms, now_ms)
        for reading, stamp in zip(readings, stamps, strict=True)
    ]


def prepare_one(
    author: Author, reading: ParsedMutation, stamp: str, offset_ms: int, now_ms: int
) -> PreparedMutation:
    """One mutation whose stamp is corrected already."""
    mutation, kind, fields = reading.mutation, reading.kind, reading.fields
    item = PreparedMutation(
        author, mutation, reading, stamp, kind, fields, reading.flaw, reading.as_sent
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
