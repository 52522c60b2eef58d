"""What the author of a mutation knew when it was made, by what its phone had truly pulled, and what
must follow from that.

The wire's `base` and `base_grid` are what a phone says of this. The simulation keeps the truth
beside them, so that it notices when the server takes an edit for one that knew more, or less, than
it did.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.writes.log_queries import read_bodies
from simulator.history import canonical, check, content_of, content_of_body, same
from sync_protocol.kinds import Policy
from sync_protocol.messages import Mutation
from sync_protocol.records import KINDS

if TYPE_CHECKING:
    from simulator.devices import SimDevice

Key = tuple[str, str]
# What a mutation changes of a record: its life, its place, a field, or an element of a set.
Thing = tuple[str, ...]
LIFE: Thing = ("deleted",)
PLACE: Thing = ("grid",)


class Written(NamedTuple):
    """A mutation that a device made: its content, when that truly was, on which phone, and the
    contents of the record's mutations of which that phone knew. `moves`: whether it was meant to
    move the record.
    """

    mutation: Mutation
    content: str
    true_ms: int
    honest_clock: bool
    phone: str
    knew: frozenset[str]
    moves: bool

    @property
    def key(self) -> Key:
        """The record."""
        return self.mutation.kind, self.mutation.id


class Knowledge:
    """Which mutations of which records a phone has seen the effects of."""

    def __init__(self) -> None:
        self._known: dict[Key, frozenset[str]] = {}
        self._at: dict[Key, tuple[str, str, int]] = {}

    def of(self, key: Key) -> frozenset[str]:
        """The contents of the mutations of a record that the phone has seen."""
        return self._known.get(key, frozenset())

    def copy(self) -> "Knowledge":
        """That of a copy of the phone."""
        other = Knowledge()
        other._known, other._at = dict(self._known), dict(self._at)
        return other

    async def update(self, device: "SimDevice", url: str, settings: Settings) -> None:
        """Takes in what the phone has pulled since, from a service over the database of a URL."""
        store = device.device.store
        copies = {
            (change.kind, change.id): (store.epoch, change.grid, change.rev)
            for change in store.pulled()
            if change.grid.isdigit()
        }
        changed = [key for key, at in copies.items() if self._at.get(key) != at]
        if changed:
            # Beside the service, whose connections may be lost.
            connection = await asyncpg.connect(url)
            try:
                rows = await connection.fetch(
                    "SELECT received_at, device::text AS device, seq, kind, id, grid, body, rev"
                    " FROM mutation"
                    " WHERE rev IS NOT NULL AND id = ANY($1::text[])",
                    [id for _, id in changed],
                )
                bodies = await read_bodies(connection, await cipher_of(connection, settings), rows)
            finally:
                await connection.close()
            seen: dict[Key, set[str]] = defaultdict(set)
            for row, body in zip(rows, bodies, strict=True):
                key = row["kind"], str(row["id"])
                at = copies.get(key)
                # Before it came to this grid it had been elsewhere, under other numbers.
                if at is not None and (row["grid"] != at[1] or row["rev"] <= at[2]):
                    seen[key].add(content_of_body(body.text))
            for key in changed:
                # Of another history, only what has come again is known to be in the copy.
                before = (
                    self.of(key) if self._at.get(key, ("",))[0] == copies[key][0] else frozenset()
                )
                self._known[key] = before | seen[key]
        self._at = copies


def things_of(written: Written) -> list[tuple[Thing, Any]]:
    """What a mutation changes of its record, and into what."""
    mutation = written.mutation
    if mutation.op == "delete":
        return [(LIFE, True)]
    found: list[tuple[Thing, Any]] = [(PLACE, mutation.grid)] if written.moves else []
    kind = KINDS.get(mutation.kind)
    if kind is None:
        return []
    for name, value in mutation.fields.items():
        if name in kind.sets and isinstance(value, Mapping):
            found += [((name, element), True) for element in value.get("add", ())]
            found += [((name, element), False) for element in value.get("remove", ())]
        elif name not in kind.events and kind.policy_of(name) is not Policy.FIXED:
            found.append(((name,), value))
    return found


def touches(written: Written, thing: Thing) -> bool:
    """Whether a mutation could overrule a change of this: every edit brings a record back, and a
    deletion ends all.
    """
    if thing == LIFE:
        return written.mutation.op == "put"
    return (thing != PLACE and written.mutation.op == "delete") or any(
        other == thing for other, _ in things_of(written)
    )


def check_what_knew_all_stands(
    written: Sequence[Written],
    log: Iterable[Mapping[str, Any]],
    records: Mapping[Key, Mapping[str, Any]],
) -> None:
    """The last that a phone did to a thing stands, if it knew of all that any other did to it:
    nobody's edit was in the dark about it.
    """
    stamps: dict[str, str] = {}
    settled: set[Key] = set()
    for row in log:
        key = row["kind"], str(row["id"])
        if row["server_side"] or row["origin"] is not None:
            settled.add(key)  # by a person's decision, or later than it was written
        if row["rev"] is not None:
            content = content_of_body(row["body"])
            if content in stamps:
                settled.add(
                    key
                )  # a copy of the phone handed it in again, later than it was written
            stamps[content] = max(stamps.get(content, ""), f"{row['stamp']:016x}")
    by_record: dict[Key, list[Written]] = defaultdict(list)
    for item in written:
        if item.content in stamps and item.key not in settled and item.key in records:
            by_record[item.key].append(item)
    for key, line in by_record.items():
        for place, item in enumerate(line):
            for thing, value in things_of(item):
                own_later = [other for other in line[place + 1 :] if other.phone == item.phone]
                others = [
                    other
                    for other in line
                    if other.phone != item.phone
                    and other.content != item.content
                    and touches(other, thing)
                ]
                if any(touches(other, thing) for other in own_later) or any(
                    other.content not in item.knew for other in others
                ):
                    continue
                if any(stamps[other.content] >= stamps[item.content] for other in others):
                    # A clock was changed in between, and in another history only stamps tell.
                    continue
                found = _state(key, records[key], thing)
                check(
                    same(found, value if value != "" else None),
                    f"{key} {thing}: {item.phone} knew all and made it {value!r}; it is {found!r}",
                )


def _state(key: Key, record: Mapping[str, Any], thing: Thing) -> Any:
    """What became of a thing."""
    if thing in (LIFE, PLACE):
        return record[thing[0]]
    value = record["fields"].get(thing[0])
    return thing[1] in (value or ()) if len(thing) > 1 else canonical(key[0], thing[0], value)


def written_by(device: "SimDevice", mutation: Mutation, true_ms: int, moves: bool) -> Written:
    """A mutation that a phone has just made."""
    knew = device.knowledge.of((mutation.kind, mutation.id))
    return Written(
        mutation, content_of(mutation), true_ms, not device.jumped, device.name, knew, moves
    )
