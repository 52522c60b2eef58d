"""Where a record stands: which move between grids stays, and what a device knew of a record that
has moved.
"""

import msgspec

from sync_protocol.kinds import Policy
from sync_protocol.record_state import (
    GRID,
    RESOLUTION,
    Clock,
    Edit,
    Loss,
    Record,
    is_concurrent,
    is_own_later,
    seniority,
)


def known(record: Record, edit: Edit) -> Edit:
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


def destination(record: Record, edit: Edit) -> str:
    """The grid in which the record will stand after the edit; its counter gives the edit's rev."""
    return _destination(record, known(record, edit))


def _destination(record: Record, edit: Edit) -> str:
    if edit.grid == record.grid or edit.op == "delete":
        return record.grid
    if any(is_own_later(held, edit) for held in record.clocks.get(GRID, ())):
        return record.grid  # its own device moved it on since
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
    if rivals and not edit.override and (edit.stamp, edit.device) < max(map(seniority, rivals)):
        return record.grid  # another device moved it later
    return edit.grid


def _rival_moves(record: Record, edit: Edit) -> list[Clock]:
    return [held for held in record.clocks.get(GRID, ()) if is_concurrent(held, edit)]


def _moves_back(record: Record, edit: Edit) -> bool:
    """Whether the device takes back its own move, which its copy did not show yet: from where it
    saw the record it is moved there again.
    """
    return any(
        moved.device == edit.device and moved.stamp < edit.stamp for moved in record.clocks[GRID]
    )


def settle_grid(record: Record, edit: Edit, clock: Clock, losses: list[Loss]) -> None:
    """Moves a record to the edit's grid, or keeps it where another device's later move put it."""
    former = record.elements.get(GRID, {})
    rivals = _rival_moves(record, edit)
    rule = (
        RESOLUTION
        if edit.override
        else f"{Policy.LATEST.value}: the later stamp stays, ties by device"
    )
    if _destination(record, edit) == record.grid:
        if rivals and (
            edit.base_grid is not None or edit.grid not in former or _moves_back(record, edit)
        ):
            losses.append(
                Loss(GRID, record.grid, edit.grid, rule, max(rivals, key=seniority), clock)
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
