"""Random histories of honest phones over the pure merge: what one wrote stands, was replaced by who
knew of it, or is a loss.
"""

import copy
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from sync_protocol.merge import create, merge
from sync_protocol.moves import destination
from sync_protocol.record_state import GRID, LIFE, Edit, Loss, Record
from sync_protocol.records import HOUSEHOLD
from sync_protocol.sets import SetChange

GRIDS = ["150202100200001", "150202100200002", "150202100200003"]
HISTORIES = 400
STEPS = 14


class Made(NamedTuple):
    """An edit with what its phone knew of when it was made. `epoch`: that of the phone's copy."""

    number: int
    edit: Edit
    epoch: int
    knew: frozenset[int]
    moves: bool


class Server:
    """One record, what was handed in for it, and what lost."""

    def __init__(self) -> None:
        # Heads far apart, so that a rev of one grid is none of another.
        self.heads = {grid: 1000 * place for place, grid in enumerate(GRIDS)}
        self.record: Record
        self.slot: list[Made] = []
        self.losses: list[Loss] = []
        self.epoch = 0

    def take(self, made: Made) -> None:
        """Takes an edit in."""
        edit = copy.deepcopy(made.edit)
        edit.rebased = made.epoch != self.epoch
        if not self.slot:
            self.heads[edit.grid] += 1
            self.record = create(HOUSEHOLD, edit, self.heads[edit.grid])
        else:
            before, grid = self.record.grid, destination(self.record, edit)
            self.heads[grid] += 1
            self.losses += merge(HOUSEHOLD, self.record, edit, self.heads[grid]).losses
            assert self.record.grid == grid
            self.heads[before] += grid != before
        self.slot.append(made)


class Phone:
    """A phone that says just what it saw."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.made: list[Made] = []
        self.grid, self.rev, self.is_deleted, self.epoch = GRIDS[0], 0, False, 0
        self.knew: frozenset[int] = frozenset()

    def shown(self, server: Server) -> tuple[str, bool]:
        """Where the record is shown, with the own edits over the copy, and whether it is."""
        grid, is_deleted = self.grid, self.is_deleted
        for made in self.made:
            if made.number not in self.knew:
                grid, is_deleted = (
                    (grid, True) if made.edit.op == "delete" else (made.edit.grid, False)
                )
        return grid, is_deleted

    def sync(self, server: Server) -> None:
        """Hands in what the server lacks, and pulls."""
        there = {made.number for made in server.slot}
        for made in self.made:
            if made.number not in there:
                server.take(made)
        record = server.record
        self.grid, self.rev, self.is_deleted, self.epoch = (
            record.grid,
            record.last.rev,
            record.deleted,
            server.epoch,
        )
        self.knew = frozenset(made.number for made in server.slot)


def history(seed: int) -> tuple[Server, list[Phone]]:
    """What became of a record that three phones edited, with a server that was perhaps restored."""
    rng, server, phones, numbers = (
        random.Random(seed),
        Server(),
        [Phone(letter * 4) for letter in "abc"],
        iter(range(1, 1000)),
    )
    backup: Server | None = None

    def write(
        phone: Phone, op: str, grid: str, fields: dict[str, Any], moves: bool = False
    ) -> None:
        number = next(numbers)
        last = int(phone.made[-1].edit.stamp, 16) if phone.made else 0
        stamp = max(last + 1, number - rng.choice((0, 0, 0, rng.randint(1, 6))))
        base_grid = phone.grid if phone.grid != grid else None
        edit = Edit(
            "id",
            grid,
            op,
            phone.rev,
            f"{stamp:016x}",
            phone.device,
            phone.device,
            fields,
            base_grid=base_grid,
        )
        phone.made.append(
            Made(
                number, edit, phone.epoch, phone.knew | {made.number for made in phone.made}, moves
            )
        )

    write(phones[0], "put", GRIDS[0], {"head_name": "苏和", "tags": SetChange(("veteran",), ())})
    for phone in phones:
        phone.sync(server)
    for _ in range(STEPS):
        phone, chance = rng.choice(phones), rng.random()
        grid, is_deleted = phone.shown(server)
        if chance < 0.3:
            phone.sync(server)
        elif chance < 0.34:
            backup = copy.deepcopy(server)
        elif chance < 0.38 and backup is not None:
            epoch, server = server.epoch + 1, copy.deepcopy(backup)
            server.epoch = epoch
        elif chance < 0.5 and not is_deleted:
            write(phone, "delete", grid, {})
        elif not is_deleted or chance > 0.8:
            target = rng.choice(GRIDS) if rng.random() < 0.3 else grid
            fields: dict[str, Any] = {}
            if rng.random() < 0.7:
                fields[rng.choice(("phone", "note"))] = rng.choice(
                    (f"v{len(server.slot)}{phone.device}", "same", None)
                )
            if rng.random() < 0.5:
                one = (rng.choice(("veteran", "disabled")),)
                fields["tags"] = rng.choice((SetChange(one, ()), SetChange((), one)))
            if fields or target != grid:
                write(phone, "put", target, fields, target != grid)
    for phone in phones * 2:
        phone.sync(server)
    return server, phones


def things(made: Made) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What an edit changed, and to what."""
    if made.edit.op == "delete":
        yield (LIFE,), True
        return
    # A move back before the copy has moved says nothing of where the base was seen: only the own
    # move is taken back by it.
    if made.moves and made.edit.base_grid is not None:
        yield (GRID,), made.edit.grid
    for name, value in made.edit.fields.items():
        if isinstance(value, SetChange):
            yield from (((name, element), True) for element in value.add)
            yield from (((name, element), False) for element in value.remove)
        else:
            yield (name,), value


def replaces(made: Made, thing: tuple[str, ...]) -> bool:
    """Whether an edit changed the same: every edit brings a deleted record back, and a move back is
    a move.
    """
    if thing == (LIFE,):
        return made.edit.op == "put"
    return (thing == (GRID,) and made.moves) or any(other == thing for other, _ in things(made))


def is_told(server: Server, made: Made, thing: tuple[str, ...], value: Any) -> bool:
    """Whether a loss tells of what an edit did."""
    lost: Any = value if len(thing) == 1 else {"add" if value else "remove": [thing[1]]}
    return any(
        (loss.lost_clock.device, loss.field, loss.lost) == (made.edit.device, thing[0], lost)
        for loss in server.losses
    )


def standing(record: Record, thing: tuple[str, ...]) -> Any:
    """What stands now."""
    if thing == (LIFE,):
        return record.deleted
    if thing == (GRID,):
        return record.grid
    return (
        thing[1] in record.fields.get(thing[0], ())
        if len(thing) > 1
        else record.fields.get(thing[0])
    )


@pytest.mark.parametrize("first", range(0, HISTORIES, HISTORIES // 4))
def test_no_value_goes_without_a_word(first: int) -> None:
    for seed in range(first, first + HISTORIES // 4):
        server, _ = history(seed)
        for made in server.slot:
            for thing, value in things(made):
                stands = standing(server.record, thing) == value
                knew = [
                    other
                    for other in server.slot
                    if made.number in other.knew and replaces(other, thing)
                ]
                assert stands or knew or is_told(server, made, thing, value), (seed, made, thing)
