"""Writes that come from no phone, through the one write path: of the server itself, and of a cadre
over REST.

Each is a mutation of a device that the server keeps for the writer, and is judged now.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.identity import staff_codes
from service.identity.access import Caller
from service.identity.rights import PostHeld
from service.kit import sql
from service.kit.database import Connection, Row
from service.kit.errors import HELD, Problem
from service.kit.settings import Settings
from service.writes import prefetch, queries
from service.writes.apply import apply
from service.writes.held_queries import HeldRow
from service.writes.interface import PreparedMutations
from service.writes.mutations import ParsedMutation, parse_all, read
from service.writes.prepared import Author, prepare, prepare_one
from service.writes.queries import Acknowledged, acknowledge, add_device, lock_device
from service.writes.read_set import ReadSet
from sync_protocol import clock
from sync_protocol.ids import server_device_id
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import to_ms
from sync_protocol.records import KINDS


class Numbers(NamedTuple):
    """Numbers and stamps of a device of the server's that are nobody else's: those right behind
    these.
    """

    seq: int
    stamp: int

    def behind(self, count: int) -> "Numbers":
        """Those that are left behind the first `count`."""
        return Numbers(self.seq + count, self.stamp + count)


async def reserve(connection: Connection, name: str, count: int, now: datetime) -> Numbers:
    """Takes numbers for mutations of `name`; they are this caller's once the transaction commits.

    So several transactions can write for one name at the same time, for none of them holds the
    device's row. Numbers that are not used in the end are missing in the log, and nobody asks for
    them: a device of the server's sends nothing again.
    """
    device = server_device_id(name)
    state = await _locked(connection, device, name, now)
    first = int(clock.make_stamp(to_ms(now)), 16)
    numbers = Numbers(state["acked_seq"], max(first - 1, state["last_stamp"]))
    last = numbers.behind(count)
    taken = Acknowledged(device, last.seq, f"{last.stamp:016x}", 0, 0)
    await sql.write(connection, [acknowledge([taken], now)])
    return numbers


async def _locked(connection: Connection, device: str, name: str, now: datetime) -> Row:
    """The device that the server keeps for somebody, locked."""
    await add_device(connection, device, name, now)
    state = await lock_device(connection, device)
    assert state is not None
    return state


async def write_as_server(
    connection: Connection,
    settings: Settings,
    name: str,
    post: PostHeld,
    mutations: Sequence[Mutation],
    now: datetime,
    override: bool = False,
    also: Sequence[PostHeld] = (),
    numbers: Numbers | None = None,
) -> list[Verdict]:
    """Numbers, stamps and applies mutations as `name`, who holds that post, and `also` others; in
    the caller's transaction. `override`: see `Edit`; `numbers`: those that an earlier transaction
    has reserved for them, else they are taken in this one.
    """
    if not mutations:
        return []
    if numbers is None:
        numbers = await reserve(connection, name, len(mutations), now)
    for place, mutation in enumerate(mutations, 1):
        mutation.seq, mutation.stamp = numbers.seq + place, f"{numbers.stamp + place:016x}"
    last_stamp = f"{numbers.stamp:016x}"
    author = Author(server_device_id(name), name, [post, *also], last_stamp=last_stamp)
    items = prepare(author, parse_all(mutations), now)
    for item in items:
        item.override = override
    applied = await apply(connection, [PreparedMutations(items)], now, settings)
    return applied.verdicts[0]


async def wait_for_own_writes(connection: Connection, caller: Caller) -> None:
    """Until nobody else writes as this cadre. Who reads a record first, to write what belongs to
    it, has seen all that came from the cadre's server-side device then: of an edit the server takes
    that for granted, and would take a move back that the edit had not seen.
    """
    name = caller.staff_code
    await _locked(connection, server_device_id(name), name, caller.now)


async def write_as_cadre(
    connection: Connection,
    settings: Settings,
    caller: Caller,
    mutation: Mutation,
    override: bool = False,
    origin: HeldRow | None = None,
) -> Verdict:
    """A cadre's write over REST: a mutation of the cadre's server-side device, judged now.

    `origin`: the held mutation that the cadre has corrected; it keeps its stamp, and what it makes
    is its author's.
    """
    await _name_by_keys(connection, [mutation])
    device = server_device_id(caller.staff_code)
    await queries.add_device(connection, device, caller.staff_code, caller.now)
    snapshot = await prefetch.lock_and_read(
        connection, [(device, caller.staff_code)], ReadSet.of([read(mutation)]), caller.now
    )
    state = snapshot.devices[device]
    now_ms = to_ms(caller.now)
    stamp = max(clock.make_stamp(now_ms), clock.successor(state.last_stamp))
    mutation.seq = state.acked + 1
    mutation.stamp = stamp
    author = Author(device, caller.staff_code, caller.posts, epoch=snapshot.epoch)
    parsed = read(mutation)  # anew, for the stamp is part of what is kept
    if origin is None:
        item = prepare_one(author, parsed, stamp, 0, now_ms)
    else:
        item = prepare_one(author, parsed, origin.stamp, _offset_of(origin, parsed), now_ms)
        item.origin, item.created_by, item.rights_at, item.seen = (
            origin.id,
            origin.staff_code,
            stamp,
            origin.seen,
        )
    item.override = override
    done = queries.acknowledge(
        [queries.Acknowledged(device, mutation.seq, stamp, 0, 0)], caller.now
    )
    applied = await apply(
        connection, [PreparedMutations([item])], caller.now, settings, snapshot, [done]
    )
    return applied.verdicts[0][0]


def refuse_held(verdict: Verdict, **about: Any) -> None:
    """Raises `Problem` for a write over REST that would be held: nobody waits for it there.
    `about`: members that the answer has beside the reason.
    """
    if verdict.outcome == "held":
        raise Problem(HELD, verdict.detail or "", reason=verdict.reason, **about)


async def write_all_as_cadre(
    connection: Connection,
    settings: Settings,
    caller: Caller,
    mutations: Sequence[Mutation],
    overriding: Collection[str] = (),
) -> list[Verdict]:
    """Many writes of a cadre over REST, one after the other; see `write_as_cadre`. `overriding`:
    the ids of records of which they are decisions, see `Edit`.
    """
    if not mutations:
        return []
    await _name_by_keys(connection, mutations)
    device = server_device_id(caller.staff_code)
    await queries.add_device(connection, device, caller.staff_code, caller.now)
    read_set = ReadSet.of([read(mutation) for mutation in mutations])
    snapshot = await prefetch.lock_and_read(
        connection, [(device, caller.staff_code)], read_set, caller.now
    )
    state = snapshot.devices[device]
    now_ms = to_ms(caller.now)
    author = Author(device, caller.staff_code, caller.posts, epoch=snapshot.epoch)
    stamp, items = state.last_stamp, []
    for seq, mutation in enumerate(mutations, state.acked + 1):
        stamp = max(clock.make_stamp(now_ms), clock.successor(stamp))
        mutation.seq, mutation.stamp = seq, stamp
        item = prepare_one(author, read(mutation), stamp, 0, now_ms)
        item.override = mutation.id in overriding
        items.append(item)
    done = queries.acknowledge(
        [queries.Acknowledged(device, mutations[-1].seq, stamp, 0, 0)], caller.now
    )
    applied = await apply(
        connection, [PreparedMutations(items)], caller.now, settings, snapshot, [done]
    )
    return applied.verdicts[0]


async def _name_by_keys(connection: Connection, mutations: Sequence[Mutation]) -> None:
    """Puts for each staff code that a field names the one by which records name the person."""
    places = [
        (mutation.fields, name, value)
        for mutation in mutations
        if mutation.kind in KINDS
        for name in KINDS[mutation.kind].cadre_fields
        if isinstance(value := mutation.fields.get(name), str)
    ]
    if not places:
        return
    keys = await staff_codes.keys_of(connection, [value for _, _, value in places])
    for fields, name, value in places:
        fields[name] = keys[value]


def _offset_of(origin: HeldRow, parsed: ParsedMutation) -> int:
    """The phone's clock offset for the times of events, if they still are as the phone sent
    them.
    """
    kind = parsed.kind
    as_sent = kind is not None and all(
        parsed.mutation.fields.get(name) == origin.mutation.fields.get(name) for name in kind.events
    )
    return origin.offset_ms if as_sent else 0
