"""The prefetch: one statement that reads, and for a push locks, all that an exchange needs to
know; here it is sent, and its rows are read. `prefetch_sql` has the statements.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from typing import Any

from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.kit.sql import array, text_array
from service.organisation.trees import tree_of
from service.runtime.tables import Tables
from service.vocabulary.keeping import reference_data
from service.writes.prefetch_sql import MOVED_SQL, READ_SQL, grids_sql, push_sql
from service.writes.read_set import ReadSet, mailbox_of
from service.writes.snapshot import Assignment, DeviceState, Erased, Snapshot
from sync_protocol.clock import make_stamp
from sync_protocol.periods import from_ms, local_day, to_ms
from sync_protocol.records import KINDS
from sync_protocol.vocabulary import CODE_LENGTH


def _from_us(us: int) -> datetime:
    """The moment of Unix microseconds, UTC."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)


async def read(
    connection: Connection, callers: Collection[tuple[str, str]], now: datetime
) -> Snapshot:
    """Where devices stand, each given with its cadre, without any lock: for exchanges that hand in
    nothing.
    """
    snapshot, _ = _snapshot_of(await connection.fetch(READ_SQL, *_callers(callers), now))
    return await _with_tree(connection, snapshot, now)


async def lock_and_read(
    connection: Connection,
    callers: Collection[tuple[str, str]],
    read_set: ReadSet,
    now: datetime,
    lock_ms: int | None = None,
) -> Snapshot:
    """Locks devices (promise 1) and the grids that their mutations name, and reads what there is of
    all that they name.

    `lock_ms`: how long this transaction waits for a lock, where that is less than the connection's
    limit.
    """
    limit = None if lock_ms is None else str(lock_ms)
    snapshot = await _until_newest(
        connection, push_sql(tuple(KINDS)), *_callers(callers), now, *_values(read_set), limit
    )
    snapshot.reference = await reference_data(connection, snapshot.vocabulary_version)
    return await _with_tree(connection, snapshot, now)


async def lock_grids_and_read(connection: Connection, read_set: ReadSet) -> Snapshot:
    """The same for mutations whose devices are locked already, or are the server's own."""
    snapshot = await _until_newest(connection, grids_sql(tuple(KINDS)), *_values(read_set))
    snapshot.tree = await tree_of(connection, snapshot.tree_version)
    snapshot.reference = await reference_data(connection, snapshot.vocabulary_version)
    return snapshot


async def _with_tree(connection: Connection, snapshot: Snapshot, now: datetime) -> Snapshot:
    """Adds the tree of the version that was read. The statement reads feeds by the codes of units;
    where a unit has other ranges today, what these bring besides is read, too.
    """
    tree = snapshot.tree = await tree_of(connection, snapshot.tree_version)
    units: set[str] = set()
    for staff_code, posts in snapshot.posts.items():
        snapshot.posts[staff_code] = [post._replace(tree=tree) for post in posts]
        units.update(post.unit for post in posts if post.valid_to is None or post.valid_to > now)
    today = local_day(now)
    above = {code for unit in units for code in tree.above(unit, today)} if units else set()
    by_length = {unit[:length] for unit in units for length in CODE_LENGTH.values()}
    moved = [unit for unit in sorted(units) if tree.is_unlike_its_code(unit, today)]
    if not moved and above <= by_length:
        return snapshot
    ranges = [
        (number, one) for number, unit in enumerate(moved) for one in tree.ranges(unit, today)
    ]
    rows = await connection.fetch(
        MOVED_SQL,
        [number for number, _ in ranges],
        [one.low for _, one in ranges],
        [one.high for _, one in ranges],
        ["#" + code for code in sorted(above)],
    )
    known = set(snapshot.assignments)
    for what, code, name, place, n, *_ in rows:
        if what == "counter":
            snapshot.counters.setdefault(code, n)
        elif (assignment := Assignment(code, name, place)) not in known:
            snapshot.assignments.append(assignment)
    return snapshot


def _callers(callers: Collection[tuple[str, str]]) -> tuple[str, str, str]:
    staff_codes = {staff_code for _, staff_code in callers}
    return (
        array(device for device, _ in callers),
        text_array(staff_codes),
        text_array(map(mailbox_of, staff_codes)),
    )


def _values(read_set: ReadSet) -> tuple[str, ...]:
    return (array(sorted(read_set.grids)), *(array(read_set.ids.get(kind, ())) for kind in KINDS))


async def _until_newest(connection: Connection, sql: str, *values: Any) -> Snapshot:
    """Reads again where another transaction held a lock: what it wrote is newer than what was read
    first.
    """
    while True:
        snapshot, stale = _snapshot_of(await connection.fetch(sql, *values))
        if not stale:
            return snapshot


def _snapshot_of(rows: Sequence[Any]) -> tuple[Snapshot, bool]:
    """What the rows of a statement say, and whether a counter was read before its lock was had."""
    found = Snapshot()
    stale = False
    for what, code, name, place, n, m, since, until in rows:
        match what:
            case "there":
                found.existing[name, code] = place
            case "counter":
                found.counters[code] = n
            case "locked":
                found.locked[code] = n
                stale = stale or n != m
            case "post":
                recorded = None if n is None else _from_us(n)
                found.posts.setdefault(place, []).append(
                    PostHeld(name, code, since, until, recorded)
                )
            case "assigned":
                found.assignments.append(Assignment(code, name, place))
            case "server":
                key, found.tree_version, found.vocabulary_version = name.split(" ")
                found.epoch, found.key, found.encryption = code, bytes.fromhex(key), place
                found.own_work_from = make_stamp(max(0, to_ms(since)))
            case "device":
                registered, _, audited = place.partition(" ")
                day = date.fromisoformat(audited) if audited else None
                found.devices[code] = DeviceState(
                    n, f"{m:016x}", since, until, int(name), from_ms(int(registered)), day
                )
            case "timeline":
                found.timeline, found.timeline_changed = code, name is not None and code != name
                found.tables = Tables.read(place)
            case "awaited":
                found.has_waiters = True
            case "erased":
                found.erased[name, code] = Erased(place, n, since)
    return found, stale
