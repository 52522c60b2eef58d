"""The merge: what one edit does to one record. Pure; the same rules on every path (promises 3 and 4).

A record carries, for each field, the clock of the mutation that last set it: rev, stamp, device and author. An edit whose `base` is below
that rev, made on another device, is concurrent with it: the field's policy decides, and the value that loses is returned as a `Loss`,
to be kept for ever. Base at or above that rev, or the same device: the edit knew what it replaced, and there is no conflict.
"""

from typing import Any, NamedTuple

import msgspec

from sync_protocol.fields import SetChange
from sync_protocol.records import Kind, Policy

# The pseudo-field under which life and deletion are kept.
LIFE = "deleted"

# The pseudo-field under which a record's grid is kept. Its elements are the grids that the record has left, each with the clock of the
# move, but for its rev: that is the record's last one in the grid it left.
GRID = "grid"


class Clock(NamedTuple):
    """When and by whom a field was set: the grid's rev, the corrected stamp, the device, the author's staff code."""

    rev: int
    stamp: str
    device: str
    by: str


class Edit(msgspec.Struct):
    """A mutation that was found readable and allowed: corrected stamp, canonical fields.

    `rebased`: its base belongs to another epoch and means nothing, so stamps decide. `override`: a person's decision on a conflict,
    which no policy overrules. `base_grid`: the grid in which the base was seen, when that is not `grid`. `created_by`: whose the record
    is that the edit makes, when it is not the author's: somebody corrected what another wrote.
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


class Record(msgspec.Struct):
    """A record with the clocks of its fields. A field without an entry in `clocks` has the clock `first`.

    `clocks` holds more than one clock for a field when several devices set the same value without knowing of each other.
    `elements` holds the clocks of set elements that changed since the record was made.
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
        """The clocks of those who claim a field's value; nobody claims a field that was never set."""
        return self.clocks.get(name) or ((self.first,) if name in self.fields or name == LIFE else ())

    def changed_by_others(self, edit: Edit) -> bool:
        """Whether another device changed anything since the edit's base."""
        if _concurrent(self.last, edit) or _concurrent(self.first, edit):
            return True
        return any(_concurrent(clock, edit) for clocks in self.clocks.values() for clock in clocks) or any(
            _concurrent(clock, edit) for name, clocks in self.elements.items() if name != GRID for clock in clocks.values()
        )


class Loss(NamedTuple):
    """A value that did not stay, with the one that did, and the rule that chose."""

    field: str
    kept: Any
    lost: Any
    rule: str
    kept_clock: Clock
    lost_clock: Clock


class Merge(NamedTuple):
    """The record after an edit; `merged` when another device had changed it since the edit's base."""

    record: Record
    merged: bool
    losses: list[Loss]


def _concurrent(clock: Clock, edit: Edit) -> bool:
    return clock.device != edit.device and (clock.rev > edit.base or edit.rebased)


def create(kind: Kind, edit: Edit, rev: int) -> Record:
    """The record that a first edit makes."""
    clock = Clock(rev, edit.stamp, edit.device, edit.by)
    creator = edit.created_by or edit.by
    return Record(edit.id, edit.grid, clock, clock, creator, edit.op == "delete", first_values(edit.fields))


def first_values(changes: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that canonical changes make."""
    return {name: value for name, change in changes.items() if (value := first_value(change)) is not None}


def first_value(change: Any) -> Any:
    """The value of a field that a canonical change makes where there was none; None if it makes none."""
    return ([*change.add] or None) if type(change) is SetChange else change


def merge(kind: Kind, record: Record, edit: Edit, rev: int) -> Merge:
    """What becomes of `record` when `edit` arrives as revision `rev` of its grid. Changes and returns `record`."""
    clock = Clock(rev, edit.stamp, edit.device, edit.by)
    left = record.elements.get(GRID, {}).get(edit.base_grid or edit.grid)
    if left is not None:
        edit = _translate(record, edit, left)
    unseen = [held for held in record.clocks.get(GRID, ()) if left is not None and held.device != edit.device]
    merged = bool(unseen) or record.changed_by_others(edit)
    losses: list[Loss] = []
    if edit.op == "delete":
        _delete(record, edit, clock, losses, unseen)
    else:
        if record.deleted:
            _revive(record, edit, clock, losses)
        if edit.grid != record.grid:
            _settle_grid(record, edit, clock, losses)
        for name, value in edit.fields.items():
            if isinstance(value, SetChange):
                _settle_set(record, edit, clock, name, value, losses)
            else:
                _settle(kind, record, edit, clock, name, value, losses)
    record.last = clock
    return Merge(record, merged or bool(losses), losses)


def _translate(record: Record, edit: Edit, left: Clock) -> Edit:
    """An edit whose base is a rev of a grid that the record has left: what it saw there, in the count of the grid where it stands now.

    If it saw all there was before the record came straight here, it saw all up to the move; else nothing is known of what it saw.
    """
    arrived = record.clocks[GRID][0]
    straight = (left.stamp, left.device) == (arrived.stamp, arrived.device)
    if straight and edit.base >= left.rev and not edit.rebased:
        return msgspec.structs.replace(edit, base=arrived.rev)
    return msgspec.structs.replace(edit, rebased=True)


def _settle(kind: Kind, record: Record, edit: Edit, clock: Clock, name: str, value: Any, losses: list[Loss]) -> None:
    current = record.fields.get(name)
    holders = record.holders(name)
    rivals = [held for held in holders if _concurrent(held, edit)]
    policy = kind.policy_of(name)
    if current == value:
        # Both wrote the same: no conflict, but each keeps its claim against a third.
        record.clocks[name] = (*(held for held in rivals if held.device != edit.device), clock)
        return
    if edit.override:
        wins, rule = True, "resolution"
        rivals = []
    elif policy is Policy.FIXED and current is not None:
        wins, rule = False, "fixed: the first value stays"
        rivals = rivals or list(holders)
    elif not rivals:
        wins, rule = True, ""
    elif policy is Policy.MOST_SEVERE:
        order = kind.severity_order(name)
        wins = _rank(order, value) > _rank(order, current)
        rule = "most_severe: the more severe value stays"
    else:
        wins, rule = _later(clock, rivals, policy)
    if wins:
        losses.extend(Loss(name, value, current, rule, clock, rival) for rival in rivals)
        if value is None:
            record.fields.pop(name, None)
        else:
            record.fields[name] = value
        record.clocks[name] = (clock,)
    else:
        losses.append(Loss(name, current, value, rule, max(rivals, key=_seniority), clock))


def destination(record: Record, edit: Edit) -> str:
    """The grid in which the record will stand after the edit; its counter gives the edit's rev."""
    if edit.grid == record.grid or edit.op == "delete":
        return record.grid
    if edit.base_grid is None and edit.grid in record.elements.get(GRID, ()) and not edit.override:
        return record.grid  # the device had not heard that the record left; it did not ask for a move
    rivals = [held for held in record.clocks.get(GRID, ()) if held.device != edit.device and edit.base_grid != record.grid]
    if rivals and not edit.override and (edit.stamp, edit.device) < max(map(_seniority, rivals)):
        return record.grid  # another device moved it later
    return edit.grid


def _settle_grid(record: Record, edit: Edit, clock: Clock, losses: list[Loss]) -> None:
    """Moves a record to the edit's grid, or keeps it where another device's later move put it."""
    former = record.elements.get(GRID, {})
    rivals = [held for held in record.clocks.get(GRID, ()) if held.device != edit.device and edit.base_grid != record.grid]
    rule = f"{Policy.LATEST.value}: the later stamp stays, ties by device"
    if destination(record, edit) == record.grid:
        if edit.base_grid is not None or edit.grid not in former:
            losses.append(Loss(GRID, record.grid, edit.grid, rule, max(rivals, key=_seniority), clock))
        return
    if not edit.override:
        losses.extend(Loss(GRID, edit.grid, record.grid, rule, clock, rival) for rival in rivals)
    record.elements[GRID] = {**former, record.grid: clock._replace(rev=record.last.rev)}
    _rebase(record, clock.rev)
    record.elements[GRID].pop(edit.grid, None)
    record.grid = edit.grid
    record.clocks[GRID] = (clock,)


def _rebase(record: Record, rev: int) -> None:
    """Each grid counts its own revs: when a record moves, all its clocks move into the new grid's count."""
    record.first = record.first._replace(rev=rev)
    record.clocks = {name: tuple(held._replace(rev=rev) for held in clocks) for name, clocks in record.clocks.items()}
    record.elements = {
        name: clocks if name == GRID else {element: held._replace(rev=rev) for element, held in clocks.items()}
        for name, clocks in record.elements.items()
    }


def _settle_set(record: Record, edit: Edit, clock: Clock, name: str, change: SetChange, losses: list[Loss]) -> None:
    """Adds win over concurrent removes, element by element."""
    present = set(record.fields.get(name, ()))
    clocks = record.elements.setdefault(name, {})
    rule = "set: an addition wins over a removal made without knowing of it"
    for element in change.add:
        if element not in present:
            removed = clocks.get(element)
            if removed and _concurrent(removed, edit) and not edit.override:
                losses.append(Loss(name, {"add": [element]}, {"remove": [element]}, rule, clock, removed))
            present.add(element)
        clocks[element] = clock
    for element in change.remove:
        if element in present:
            added = clocks.get(element) or record.first
            if _concurrent(added, edit) and not edit.override:
                losses.append(Loss(name, {"add": [element]}, {"remove": [element]}, rule, added, clock))
                continue
            present.discard(element)
            clocks[element] = clock
    if present:
        record.fields[name] = sorted(present)
    else:
        record.fields.pop(name, None)


def _delete(record: Record, edit: Edit, clock: Clock, losses: list[Loss], unseen: list[Clock]) -> None:
    """Deletes, unless somebody edited the record, or moved it (`unseen`), without the deletion's knowledge."""
    if record.deleted:
        record.clocks[LIFE] = (*(held for held in record.holders(LIFE) if held.device != edit.device), clock)
        return
    rivals = {record.first, *(held for clocks in record.clocks.values() for held in clocks)}
    rivals |= {held for name, clocks in record.elements.items() if name != GRID for held in clocks.values()}
    known = [*unseen, *(held for held in rivals if _concurrent(held, edit))]
    if known and not edit.override:
        rule = "delete: an edit made without knowing of the deletion wins"
        losses.append(Loss(LIFE, False, True, rule, max(known), clock))
    else:
        record.deleted = True
        record.clocks[LIFE] = (clock,)


def _revive(record: Record, edit: Edit, clock: Clock, losses: list[Loss]) -> None:
    rule = "delete: an edit made without knowing of the deletion wins"
    if not edit.override:
        losses.extend(Loss(LIFE, False, True, rule, clock, held) for held in record.holders(LIFE) if _concurrent(held, edit))
    record.deleted = False
    record.clocks[LIFE] = (clock,)


def _later(clock: Clock, rivals: list[Clock], policy: Policy) -> tuple[bool, str]:
    return _seniority(clock) > max(map(_seniority, rivals)), f"{policy.value}: the later stamp stays, ties by device"


def _seniority(clock: Clock) -> tuple[str, str]:
    return clock.stamp, clock.device


def _rank(order: tuple[str, ...], value: Any) -> int:
    return order.index(value) if value in order else -1


def overlay(fields: dict[str, Any], changes: dict[str, Any], sets: frozenset[str]) -> dict[str, Any]:
    """A record's fields with a device's own pending wire changes laid over them; makes a new dict."""
    result = dict(fields)
    for name, value in changes.items():
        if name in sets and isinstance(value, dict):
            elements = (set(result.get(name, ())) | set(value.get("add", ()))) - set(value.get("remove", ()))
            value = sorted(elements) or None
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result
