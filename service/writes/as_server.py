"""Writes of the server itself: mutations of a device of its own, through the one write path."""

from collections.abc import Sequence
from datetime import datetime

from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.kit.settings import Settings
from service.writes.apply import apply
from service.writes.mutations import Author, parse_all, prepare
from service.writes.queries import Acknowledged, acknowledge, add_device, lock_device
from sync_protocol import clock
from sync_protocol.ids import server_device_id
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import to_ms


async def write_own(
    connection: Connection,
    settings: Settings,
    name: str,
    post: PostHeld,
    mutations: Sequence[Mutation],
    now: datetime,
    override: bool = False,
) -> list[Verdict]:
    """Numbers, stamps and applies mutations as `name`, who holds that post; in the caller's transaction. `override`: see `Edit`."""
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
