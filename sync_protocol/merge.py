"""The merge: what one edit does to one record. Pure; the same rules on every path (promises 3 and
4).

A record carries, for each field, the clock of the mutation that last set it: rev, stamp, device and
author. An edit whose `base` is below that rev, made on another device, is concurrent with it: the
field's policy decides, and the value that loses is returned as a `Loss`, to be kept for ever. Base
at or above that rev, or the same device: the edit knew what it replaced, and there is no conflict;
what a device wrote after an edit that was held meanwhile stays, too.
Several who did the same without knowing of each other keep a claim each: who undoes it must know of
all of them.

A base that the device cannot have seen of this record (`moves.known`) knows nothing of what others
did. A base of another epoch means nothing either, but what its device saw there, it saw: an edit
replaces, deletes and removes what others did before its stamp (promise 9).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from sync_protocol.kinds import Kind, Policy
from sync_protocol.moves import known, settle_grid
from sync_protocol.record_state import (
    GRID,
    LIFE,
    RESOLUTION,
    Clock,
    Edit,
    Loss,
    Merge,
    Record,
    is_concurrent,
    is_own_later,
    seniority,
)
from sync_protocol.sets import SetChange


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
    edit = _without_replaced(record, known(record, edit))
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
            moved = clock if edit.mover is None else clock._replace(device=edit.mover)
            settle_grid(record, edit, moved, losses)
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
                *(held for held in record.holders(LIFE) if is_concurrent(held, edit)),
                clock,
            )
    only_moved = edit.op == "put" and not edit.fields
    # A step that only moves keeps its place in the order in which phones fold it.
    record.last = (
        clock._replace(stamp=record.last.stamp) if kind.append_only and only_moved else clock
    )
    return Merge(record, merged or bool(losses), losses)


def _without_replaced(record: Record, edit: Edit) -> Edit:
    """The edit without what its own device has replaced since, while it was held: of one device the
    order of its numbers counts, and not that in which they are applied.
    """
    if not edit.was_held or not any(is_own_later(clock, edit) for clock in record.standing()):
        return edit
    if edit.op == "delete":
        return edit if record.deleted else msgspec.structs.replace(edit, op="put", fields={})
    if record.deleted and any(is_own_later(clock, edit) for clock in record.holders(LIFE)):
        return msgspec.structs.replace(edit, op="delete", fields={})
    fields: dict[str, Any] = {}
    for name, value in edit.fields.items():
        if isinstance(value, SetChange):
            add, remove = (
                tuple(
                    element
                    for element in elements
                    if not any(is_own_later(held, edit) for held in record.claims(name, element))
                )
                for elements in (value.add, value.remove)
            )
            fields[name] = SetChange(add, remove)
        elif not any(is_own_later(held, edit) for held in record.holders(name)):
            fields[name] = value
    return msgspec.structs.replace(edit, fields=fields)


def _settle(
    kind: Kind, record: Record, edit: Edit, clock: Clock, name: str, value: Any, losses: list[Loss]
) -> None:
    current = record.fields.get(name)
    holders = record.holders(name)
    rivals = [held for held in holders if is_concurrent(held, edit)]
    policy = kind.policy_of(name)
    if _same(current, value):
        # Both wrote the same: no conflict, but each keeps its claim against a third.
        record.clocks[name] = (*rivals, clock)
        return
    if edit.override:
        wins, rule = True, RESOLUTION
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
        wins = seniority(clock) > max(map(seniority, rivals))
        rule = f"{policy.value}: the later stamp stays, ties by device"
    if wins:
        losses.extend(Loss(name, value, current, rule, clock, rival) for rival in rivals)
        if value is None:
            record.fields.pop(name, None)
        else:
            record.fields[name] = value
        record.clocks[name] = (clock,)
    else:
        losses.append(Loss(name, current, value, rule, max(rivals, key=seniority), clock))


def _same(one: Any, other: Any) -> bool:
    """Whether two canonical values are the same JSON; Python takes true for 1."""
    if one != other or not any(isinstance(value, (bool, dict, list)) for value in (one, other)):
        return bool(one == other)
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def _settle_set(
    record: Record, edit: Edit, clock: Clock, name: str, change: SetChange, losses: list[Loss]
) -> None:
    """Adds win over concurrent removes, element by element."""
    present = set(record.fields.get(name, ()))
    rule = (
        RESOLUTION
        if edit.override
        else "set: an addition wins over a removal made without knowing of it"
    )
    for element in change.add:
        rivals = [held for held in record.claims(name, element) if is_concurrent(held, edit)]
        if element not in present:
            if edit.rebased and rivals and not edit.override and not _is_later(clock, rivals, edit):
                losses.append(
                    Loss(
                        name,
                        {"remove": [element]},
                        {"add": [element]},
                        _BY_STAMPS,
                        max(rivals, key=seniority),
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
        rivals = [held for held in record.claims(name, element) if is_concurrent(held, edit)]
        if element in present:
            if rivals and not edit.override and not _is_later(clock, rivals, edit):
                losses.append(
                    Loss(
                        name,
                        {"add": [element]},
                        {"remove": [element]},
                        rule,
                        max(rivals, key=seniority),
                        clock,
                    )
                )
                continue
            why = RESOLUTION if edit.override else _BY_STAMPS
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
    unknown = [held for held in record.standing() if is_concurrent(held, edit)]
    if unknown and not edit.override and not _is_later(clock, unknown, edit):
        losses.append(Loss(LIFE, False, True, _EDIT_WINS, max(unknown), clock))
        return
    if unknown:
        rule = RESOLUTION if edit.override else _BY_STAMPS
        losses.append(Loss(LIFE, True, False, rule, clock, max(unknown, key=seniority)))
    record.deleted = True
    record.clocks[LIFE] = (clock,)


def _revive(record: Record, edit: Edit, clock: Clock, losses: list[Loss]) -> None:
    """Brings a record back, unless it was deleted after an edit of another epoch."""
    unknown = [held for held in record.holders(LIFE) if is_concurrent(held, edit)]
    if edit.rebased and unknown and not edit.override and not _is_later(clock, unknown, edit):
        losses.append(Loss(LIFE, True, False, _BY_STAMPS, max(unknown, key=seniority), clock))
        return
    rule = RESOLUTION if edit.override else _EDIT_WINS
    losses.extend(Loss(LIFE, False, True, rule, clock, held) for held in unknown)
    record.deleted = False
    record.clocks[LIFE] = (clock,)


_EDIT_WINS = "delete: an edit made without knowing of the deletion wins"
_BY_STAMPS = "epoch: what was done later stays, for the base is of another history"


def _is_later(clock: Clock, others: Iterable[Clock], edit: Edit) -> bool:
    """Whether an edit of another epoch was made after all that it would undo: what its device had
    seen there, it had seen.
    """
    return edit.rebased and seniority(clock) > max(map(seniority, others))


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
