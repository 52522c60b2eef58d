"""What the merge works on: a record with the clocks of its fields, an edit, and what came of it."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

# The pseudo-field under which life and deletion are kept.
LIFE = "deleted"
# The pseudo-field under which a record's grid is kept. Its elements are the grids that the record
# has left, each with the clock of the move, but for its rev: that is the record's last one in the
# grid it left.
GRID = "grid"
# The rule by which what a person decided stays.
RESOLUTION = "resolution"


class Clock(NamedTuple):
    """When and by whom a field was set: the grid's rev, the corrected stamp, the device, the
    author's staff code.
    """

    rev: int
    stamp: str
    device: str
    by: str


class Edit(msgspec.Struct):
    """A mutation that was found readable and allowed: corrected stamp, canonical fields.

    `rebased`: its base belongs to another epoch and means nothing, so stamps decide. `override`: a
    person's decision on a conflict, which no policy overrules. `base_grid`: the grid in which the
    base was seen, when that is not `grid`. `created_by`: whose the record is that the edit makes,
    when it is not the author's: somebody corrected what another wrote. `seen`: the highest rev of
    the base's grid that the device can have seen of the record; None if that is not known.
    `unseen`: stamp and device of a move that the base, in the count of the grid where the record
    stands, does not know, though the fields that the move set have the rev of the base. `mover`:
    the device that has moved the record, when it is not the author's: somebody accepted the move,
    of which the author's device does not know until it has pulled it. `was_held`: its device may
    have written since what comes before it here.
    """

    id: str
    grid: str
    op: str
    base: int
    stamp: str
    device: str
    by: str
    fields: dict[str, Any]
    rebased: bool = False
    override: bool = False
    base_grid: str | None = None
    created_by: str | None = None
    seen: int | None = None
    unseen: tuple[str, str] | None = None
    mover: str | None = None
    was_held: bool = False


class Record(msgspec.Struct):
    """A record with the clocks of its fields. A field without an entry in `clocks` has the clock
    `first`.

    `clocks` holds more than one clock for a field when several devices set the same value without
    knowing of each other; of `GRID`, the first is that of the move by which the record came where
    it stands, if it ever moved. `elements` holds the clocks of set elements that changed since the
    record was made; if several devices added or removed one without knowing of each other, the
    clocks of all but the last stand in `clocks`, under the field's and the element's name.
    """

    id: str
    grid: str
    first: Clock
    last: Clock
    created_by: str
    deleted: bool = False
    fields: dict[str, Any] = {}
    clocks: dict[str, tuple[Clock, ...]] = {}
    elements: dict[str, dict[str, Clock]] = {}

    def holders(self, name: str) -> tuple[Clock, ...]:
        """The clocks of those who claim a field's value; nobody claims a field that was never
        set.
        """
        return self.clocks.get(name) or (
            (self.first,) if name in self.fields or name == LIFE else ()
        )

    def claims(self, name: str, element: str) -> tuple[Clock, ...]:
        """The clocks of those who added a set's element that is in it, or removed one that is
        not.
        """
        last = self.elements.get(name, {}).get(element)
        if last is None:
            return (self.first,) if element in self.fields.get(name, ()) else ()
        return (*self.clocks.get(_claims_on(name, element), ()), last)

    def claim(self, name: str, element: str, clocks: Sequence[Clock]) -> None:
        """Notes who added or removed a set's element."""
        *others, last = clocks
        self.elements.setdefault(name, {})[element] = last
        self.clocks.pop(_claims_on(name, element), None)
        if others:
            self.clocks[_claims_on(name, element)] = tuple(others)

    def standing(self) -> Iterator[Clock]:
        """The clocks of all that was done to it and stands, but for the moves out of other
        grids.
        """
        yield self.first
        yield from chain.from_iterable(self.clocks.values())
        yield from chain.from_iterable(
            clocks.values() for name, clocks in self.elements.items() if name != GRID
        )

    def changed_by_others(self, edit: Edit) -> bool:
        """Whether another device changed anything since the edit's base."""
        return any(is_concurrent(clock, edit) for clock in (self.last, *self.standing()))


class Loss(NamedTuple):
    """A value that did not stay, with the one that did, and the rule that chose."""

    field: str
    kept: Any
    lost: Any
    rule: str
    kept_clock: Clock
    lost_clock: Clock


class Merge(NamedTuple):
    """The record after an edit; `merged` when another device had changed it since the edit's
    base.
    """

    record: Record
    merged: bool
    losses: list[Loss]


def _claims_on(name: str, element: str) -> str:
    return f"{name}={element}"  # no field's name holds this sign


def is_concurrent(clock: Clock, edit: Edit) -> bool:
    """Whether what a clock stands for was done by another device, without the edit's knowledge."""
    return clock.device != edit.device and (
        clock.rev > edit.base or edit.rebased or (clock.stamp, clock.device) == edit.unseen
    )


def is_own_later(clock: Clock, edit: Edit) -> bool:
    """Whether what a clock stands for was done by the edit's own device while that was held.
    A person's decision is no older than what it decides.
    """
    return (
        edit.was_held
        and clock.device == edit.device
        and clock.stamp > edit.stamp
        and not edit.override
    )


def seniority(clock: Clock) -> tuple[str, str]:
    """What orders clocks by time: the stamp, ties by device."""
    return clock.stamp, clock.device
