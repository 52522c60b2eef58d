"""Writes that come from no phone, through the one write path: of the server itself, and of a cadre
over REST.

Each is a mutation of a device that the server keeps for the writer, and is judged now.
"""

from collections.abc import Sequence
from datetime import datetime

from service.identity.access import Caller
from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.kit.settings import Settings
from service.writes import prefetch, queries
from service.writes.apply import apply
from service.writes.held_queries import HeldRow
from service.writes.mutations import Author, ParsedMutation, parse_all, prepare, prepare_one, read
from service.writes.prefetch import ReadSet
from service.writes.queries import Acknowledged, acknowledge, add_device, lock_device
from sync_protocol import clock
from sync_protocol.ids import server_device_id
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import to_ms


async def write_as_server(
    connection: Connection,
    settings: Settings,
    name: str,
    post: PostHeld,
    mutations: Sequence[Mutation],
    now: datetime,
    override: bool = False,
) -> list[Verdict]:
    """Numbers, stamps and applies mutations as `name`, who holds that post; in the caller's
    transaction. `override`: see `Edit`.
    """
    if not mutations:
        return []
    device = server_device_id(name)
    await add_device(connection, device, name, now)
    state = await lock_device(connection, device)
    assert state is not None
    for seq, mutation in enumerate(mutations, state["acked_seq"] + 1):
        mutation.seq, mutation.stamp = seq, clock.make_stamp(to_ms(now))
    author = Author(device, name, [post], last_stamp=f"{state['last_stamp']:016x}")
    items = prepare(author, parse_all(mutations), now)
    for item in items:
        item.override = override
    done = acknowledge([Acknowledged(device, mutations[-1].seq, items[-1].stamp, 0, 0)], now)
    return (await apply(connection, items, now, settings, also=[done])).verdicts


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
    device = server_device_id(caller.staff_code)
    await queries.add_device(connection, device, caller.staff_code, caller.now)
    look = await prefetch.lock_and_read(
        connection, [(device, caller.staff_code)], ReadSet.of([read(mutation)]), caller.now
    )
    state = look.devices[device]
    now_ms = to_ms(caller.now)
    stamp = max(clock.make_stamp(now_ms), clock.successor(state.last_stamp))
    mutation.seq = state.acked + 1
    mutation.stamp = stamp
    author = Author(device, caller.staff_code, caller.posts, epoch=look.epoch)
    reading = read(mutation)  # anew, for the stamp is part of what is kept
    if origin is None:
        item = prepare_one(author, reading, stamp, 0, now_ms)
    else:
        item = prepare_one(author, reading, origin.stamp, _offset_of(origin, reading), now_ms)
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
    [verdict] = (await apply(connection, [item], caller.now, settings, look, [done])).verdicts
    return verdict


def _offset_of(origin: HeldRow, reading: ParsedMutation) -> int:
    """The phone's clock offset for the times of events, if they still are as the phone sent
    them.
    """
    kind = reading.kind
    as_sent = kind is not None and all(
        reading.mutation.fields.get(name) == origin.mutation.fields.get(name)
        for name in kind.events
    )
    return origin.offset_ms if as_sent else 0
