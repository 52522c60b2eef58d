"""The merge: what one edit does to one record. Pure; the same rules on every path (promises 3 and
4).

A record carries, for each field, the clock of the mutation that last set it: rev, stamp, device and
author. An edit whose `base` is below that rev, made on another device, is concurrent with it: the
field's policy decides, and the value that loses is returned as a `Loss`, to be kept for ever. Base
at or above that rev, or the same device: the edit knew what it replaced, and there is no conflict.
Several who did the same without knowing of each other keep a claim each: who undoes it must know of
all of them.

A base that the device cannot have seen of this record (`_known`) knows nothing of what others did.
A base of another epoch means nothing either, but what its device saw there, it saw: an edit
replaces, deletes and removes what others did before its stamp (promise 9).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from sync_protocol.fields import SetChange
from sync_protocol.records import Kind, Policy

# The pseudo-field under which life and deletion are kept.
LIFE = "deleted"

# The pseudo-field under which a record's grid is kept. Its elements are the grids that the record
# has left, each with the clock of the move, but for its rev: that is the record's last one in the
# grid it left.
GRID = "grid"


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
    stands, does not know, though the fields that the move set have the rev of the base.
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
        return any(_concurrent(clock, edit) for clock in (self.last, *self.standing()))


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


def _concurrent(clock: Clock, edit: Edit) -> bool:
    return clock.device != edit.device and (
        clock.rev > edit.base or edit.rebased or (clock.stamp, clock.device) == edit.unseen
    )


def create(kind: Kind, edit: Edit, rev: int) -> Record:
    """The record that a first edit makes."""
    clock = Clock(rev, edit.stamp, edit.device, edit.by)
    creator = edit.created_by or edit.by
    return Record(
        edit.id, edit.grid, clock, clock, creator, edit.op == "delete", first_values(edit.fields)
    )


def first_values(changes: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that canonical changes make."""
    return {
        name: value
        for name, change in changes.items()
        if (value := first_value(change)) is not None
    }


def first_value(change: Any) -> Any:
    """The value of a field that a canonical change makes where there was none; None if it makes
    none.
    """
    return ([*change.add] or None) if type(change) is SetChange else change


def merge(kind: Kind, record: Record, edit: Edit, rev: int) -> Merge:
    """What becomes of `record` when `edit` arrives as revision `rev` of its grid. Changes and
    returns `record`.
    """
    clock = Clock(rev, edit.stamp, edit.device, edit.by)
    edit = _known(record, edit)
    merged = record.changed_by_others(edit)
    losses: list[Loss] = []
    if edit.op == "delete":
        _delete(record, edit, clock, losses)
    else:
        if record.deleted:
            _revive(record, edit, clock, losses)
        # Fields first: their clocks still count as the base does, and a move gives all of them new
        # revs.
        for name, value in edit.fields.items():
            if isinstance(value, SetChange):
                _settle_set(record, edit, clock, name, value, losses)
            else:
                _settle(kind, record, edit, clock, name, value, losses)
        if edit.grid != record.grid:
            _settle_grid(record, edit, clock, losses)
        elif edit.base_grid not in (None, edit.grid):
            # It asks for a move to where the record stands already: like an equal value, it keeps
            # its claim against a third.
            moves = record.clocks.get(GRID, ())
            record.clocks[GRID] = (
                *moves[:1],
                *(held for held in moves[1:] if held.device != edit.device),
                clock,
            )
        if not record.deleted and clock not in record.standing():
            # Nothing that it brought stands, but it was an edit: a deletion that does not know of
            # it must not delete.
            record.clocks[LIFE] = (
                *(held for held in record.holders(LIFE) if _concurrent(held, edit)),
                clock,
            )
    moved = edit.op == "put" and not edit.fields
    # A step that only moves keeps its place in the order in which phones fold it.
    record.last = clock._replace(stamp=record.last.stamp) if kind.append_only and moved else clock
    return Merge(record, merged or bool(losses), losses)


def _known(record: Record, edit: Edit) -> Edit:
    """The edit with what its device knew of the record, in the count of the grid where that stands
    now; base 0 where nothing is known.

    Nothing is known of a base that the device cannot have seen: it had not pulled so far, or the
    record was not in that grid at that rev. If it saw all there was before the record came straight
    here from that grid, it knows all but the move and what that brought.
    """
    home = edit.base_grid or edit.grid
    if edit.base == 0 or edit.rebased:
        return edit
    left = record.elements.get(GRID, {}).get(home)
    if (home != record.grid and left is None) or (edit.seen is not None and edit.base > edit.seen):
        return msgspec.structs.replace(edit, base=0)
    if left is None:
        return edit
    arrived = record.clocks[GRID][0]
    move = arrived.stamp, arrived.device
    if (left.stamp, left.device) != move or edit.base != left.rev:
        return msgspec.structs.replace(edit, base=0)
    return msgspec.structs.replace(edit, base=arrived.rev, unseen=move)


def _settle(
    kind: Kind, record: Record, edit: Edit, clock: Clock, name: str, value: Any, losses: list[Loss]
) -> None:
    current = record.fields.get(name)
    holders = record.holders(name)
    rivals = [held for held in holders if _concurrent(held, edit)]
    policy = kind.policy_of(name)
    if _same(current, value):
        # Both wrote the same: no conflict, but each keeps its claim against a third.
        record.clocks[name] = (*rivals, clock)
        return
    if edit.override:
        wins, rule = True, _RESOLUTION
    elif policy is Policy.FIXED and current is not None:
        wins, rule = False, "fixed: the first value stays"
        rivals = rivals or list(holders)
    elif not rivals:
        wins, rule = True, ""
    elif policy is Policy.MOST_SEVERE:
        order = kind.severity_order(name)
        wins = _rank(order, value) > _rank(order, current) or _is_later(clock, rivals, edit)
        rule = "most_severe: the more severe value stays"
    else:
        wins = _seniority(clock) > max(map(_seniority, rivals))
        rule = f"{policy.value}: the later stamp stays, ties by device"
    if wins:
        losses.extend(Loss(name, value, current, rule, clock, rival) for rival in rivals)
        if value is None:
            record.fields.pop(name, None)
        else:
            record.fields[name] = value
        record.clocks[name] = (clock,)
    else:
        losses.append(Loss(name, current, value, rule, max(rivals, key=_seniority), clock))


def _same(one: Any, other: Any) -> bool:
    """Whether two canonical values are the same JSON; Python takes true for 1."""
    if one != other or not any(isinstance(value, (bool, dict, list)) for value in (one, other)):
        return bool(one == other)
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def destination(record: Record, edit: Edit) -> str:
    """The grid in which the record will stand after the edit; its counter gives the edit's rev."""
    return _destination(record, _known(record, edit))


def _destination(record: Record, edit: Edit) -> str:
    if edit.grid == record.grid or edit.op == "delete":
        return record.grid
    if (
        edit.base_grid is None
        and edit.grid in record.elements.get(GRID, ())
        and not edit.override
        and not _moves_back(record, edit)
    ):
        return (
            record.grid
        )  # the device had not heard that the record left; it did not ask for a move
    rivals = _rival_moves(record, edit)
    if rivals and not edit.override and (edit.stamp, edit.device) < max(map(_seniority, rivals)):
        return record.grid  # another device moved it later
    return edit.grid


def _rival_moves(record: Record, edit: Edit) -> list[Clock]:
    return [held for held in record.clocks.get(GRID, ()) if _concurrent(held, edit)]


def _moves_back(record: Record, edit: Edit) -> bool:
    """Whether the device takes back its own move, which its copy did not show yet: from where it
    saw the record it is moved there again.
    """
    return any(
        moved.device == edit.device and moved.stamp < edit.stamp for moved in record.clocks[GRID]
    )


def _settle_grid(record: Record, edit: Edit, clock: Clock, losses: list[Loss]) -> None:
    """Moves a record to the edit's grid, or keeps it where another device's later move put it."""
    former = record.elements.get(GRID, {})
    rivals = _rival_moves(record, edit)
    rule = (
        _RESOLUTION
        if edit.override
        else f"{Policy.LATEST.value}: the later stamp stays, ties by device"
    )
    if _destination(record, edit) == record.grid:
        if edit.base_grid is not None or edit.grid not in former or _moves_back(record, edit):
            losses.append(
                Loss(GRID, record.grid, edit.grid, rule, max(rivals, key=_seniority), clock)
            )
        return
    losses.extend(Loss(GRID, edit.grid, record.grid, rule, clock, rival) for rival in rivals)
    record.elements[GRID] = {**former, record.grid: clock._replace(rev=record.last.rev)}
    _rebase(record, clock.rev)
    record.elements[GRID].pop(edit.grid, None)
    record.grid = edit.grid
    record.clocks[GRID] = (clock,)


def _rebase(record: Record, rev: int) -> None:
    """Each grid counts its own revs: when a record moves, all its clocks move into the new grid's
    count.
    """
    record.first = record.first._replace(rev=rev)
    record.clocks = {
        name: tuple(held._replace(rev=rev) for held in clocks)
        for name, clocks in record.clocks.items()
    }
    record.elements = {
        name: clocks
        if name == GRID
        else {element: held._replace(rev=rev) for element, held in clocks.items()}
        for name, clocks in record.elements.items()
    }


def _settle_set(
    record: Record, edit: Edit, clock: Clock, name: str, change: SetChange, losses: list[Loss]
) -> None:
    """Adds win over concurrent removes, element by element."""
    present = set(record.fields.get(name, ()))
    rule = (
        _RESOLUTION
        if edit.override
        else "set: an addition wins over a removal made without knowing of it"
    )
    for element in change.add:
        rivals = [held for held in record.claims(name, element) if _concurrent(held, edit)]
        if element not in present:
            if edit.rebased and rivals and not edit.override and not _is_later(clock, rivals, edit):
                losses.append(
                    Loss(
                        name,
                        {"remove": [element]},
                        {"add": [element]},
                        _BY_STAMPS,
                        max(rivals, key=_seniority),
                        clock,
                    )
                )
                continue
            losses.extend(
                Loss(name, {"add": [element]}, {"remove": [element]}, rule, clock, rival)
                for rival in rivals
            )
            present.add(element)
            rivals = []
        record.claim(name, element, (*rivals, clock))
    for element in change.remove:
        rivals = [held for held in record.claims(name, element) if _concurrent(held, edit)]
        if element in present:
            if rivals and not edit.override and not _is_later(clock, rivals, edit):
                losses.append(
                    Loss(
                        name,
                        {"add": [element]},
                        {"remove": [element]},
                        rule,
                        max(rivals, key=_seniority),
                        clock,
                    )
                )
                continue
            why = _RESOLUTION if edit.override else _BY_STAMPS
            losses.extend(
                Loss(name, {"remove": [element]}, {"add": [element]}, why, clock, rival)
                for rival in rivals
            )
            present.discard(element)
            rivals = []
        # Where it is not there, another removed it, or has not handed in yet what added it.
        record.claim(name, element, (*rivals, clock))
    if present:
        record.fields[name] = sorted(present)
    else:
        record.fields.pop(name, None)


def _delete(record: Record, edit: Edit, clock: Clock, losses: list[Loss]) -> None:
    """Deletes, unless somebody edited the record, or moved it, without the deletion's knowledge."""
    if record.deleted:
        record.clocks[LIFE] = (
            *(held for held in record.holders(LIFE) if held.device != edit.device),
            clock,
        )
        return
    unknown = [held for held in record.standing() if _concurrent(held, edit)]
    if unknown and not edit.override and not _is_later(clock, unknown, edit):
        losses.append(Loss(LIFE, False, True, _EDIT_WINS, max(unknown), clock))
        return
    if unknown:
        rule = _RESOLUTION if edit.override else _BY_STAMPS
        losses.append(Loss(LIFE, True, False, rule, clock, max(unknown, key=_seniority)))
    record.deleted = True
    record.clocks[LIFE] = (clock,)


def _revive(record: Record, edit: Edit, clock: Clock, losses: list[Loss]) -> None:
    """Brings a record back, unless it was deleted after an edit of another epoch."""
    unknown = [held for held in record.holders(LIFE) if _concurrent(held, edit)]
    if edit.rebased and unknown and not edit.override and not _is_later(clock, unknown, edit):
        losses.append(Loss(LIFE, True, False, _BY_STAMPS, max(unknown, key=_seniority), clock))
        return
    rule = _RESOLUTION if edit.override else _EDIT_WINS
    losses.extend(Loss(LIFE, False, True, rule, clock, held) for held in unknown)
    record.deleted = False
    record.clocks[LIFE] = (clock,)


_RESOLUTION = "resolution"
_EDIT_WINS = "delete: an edit made without knowing of the deletion wins"
_BY_STAMPS = "epoch: what was done later stays, for the base is of another history"


def _is_later(clock: Clock, others: Iterable[Clock], edit: Edit) -> bool:
    """Whether an edit of another epoch was made after all that it would undo: what its device had
    seen there, it had seen.
    """
    return edit.rebased and _seniority(clock) > max(map(_seniority, others))


def _seniority(clock: Clock) -> tuple[str, str]:
    return clock.stamp, clock.device


def _rank(order: tuple[str, ...], value: Any) -> int:
    return order.index(value) if value in order else -1


def overlay(
    fields: dict[str, Any], changes: dict[str, Any], sets: frozenset[str]
) -> dict[str, Any]:
    """A record's fields with a device's own pending wire changes laid over them; makes a new
    dict.
    """
    result = dict(fields)
    for name, value in changes.items():
        if name in sets and isinstance(value, dict):
            elements = (set(result.get(name, ())) | set(value.get("add", ()))) - set(
                value.get("remove", ())
            )
            value = sorted(elements) or None
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result
