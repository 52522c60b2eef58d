"""Writes over REST: mutations of a cadre's server-side device, judged now, through the one write path."""

from service.database import Connection
from service.identity.access import Caller
from service.settings import Settings
from service.sync import look as looking
from service.sync import queries
from service.sync.apply import apply
from service.sync.intake import Author, read, ready_one
from service.sync.look import Names
from sync_protocol import clock
from sync_protocol.ids import server_device_id
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import to_ms


async def write_as(connection: Connection, settings: Settings, caller: Caller, mutation: Mutation, override: bool = False) -> Verdict:
    """A cadre's write over REST: a mutation of the cadre's server-side device, judged now."""
    device = server_device_id(caller.staff_code)
    await queries.add_device(connection, device, caller.staff_code, caller.now)
    look = await looking.lock(connection, [(device, caller.staff_code)], Names.of([read(mutation)]), caller.now)
    state = look.devices[device]
    now_ms = to_ms(caller.now)
    stamp = max(clock.make_stamp(now_ms), clock.successor(state.last_stamp))
    mutation.seq = state.acked + 1
    mutation.stamp = stamp
    author = Author(device, caller.staff_code, caller.posts, epoch=look.epoch)
    item = ready_one(author, read(mutation), stamp, 0, now_ms)  # anew, for the stamp is part of what is kept
    item.override = override
    done = queries.acknowledging([queries.Acknowledged(device, mutation.seq, stamp, 0, 0)], caller.now)
    [verdict] = (await apply(connection, [item], caller.now, settings, look, [done])).verdicts
    return verdict
