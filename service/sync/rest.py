"""Writes over REST: mutations of a cadre's server-side device, judged now, through the one write path."""

from service.database import Connection
from service.identity.access import Caller
from service.settings import Settings
from service.sync import queries
from service.sync.apply import apply
from service.sync.intake import Author, ready_one
from sync_protocol import clock
from sync_protocol.ids import server_device_id
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import to_ms


async def write_as(connection: Connection, settings: Settings, caller: Caller, mutation: Mutation, override: bool = False) -> Verdict:
    """A cadre's write over REST: a mutation of the cadre's server-side device, judged now."""
    device = server_device_id(caller.staff_code)
    await queries.add_device(connection, device, caller.staff_code, caller.now)
    row = await queries.lock_device(connection, device)
    assert row is not None
    now_ms = to_ms(caller.now)
    stamp = max(clock.make_stamp(now_ms), f"{row['last_stamp'] + 1:016x}")
    mutation.seq = row["acked_seq"] + 1
    mutation.stamp = stamp
    server = await queries.server_state(connection)
    author = Author(device, caller.staff_code, caller.posts, epoch=str(server["epoch"]))
    item = ready_one(author, mutation, stamp, 0, now_ms, override)
    [verdict] = await apply(connection, [item], caller.now, settings)
    await queries.acknowledge(connection, device, mutation.seq, stamp, 0, 0, caller.now)
    return verdict
