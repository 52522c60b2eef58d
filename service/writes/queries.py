"""The SQL of the sync: counters, log, conflicts, the epoch, the device's row."""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from service.identity.rights import PostHeld
from service.kit.conditions import tied_to
from service.kit.database import Connection, Row
from service.kit.encrypted_values import encrypted_conflict_value
from service.kit.field_cipher import FieldCipher
from service.kit.sql import Cte, array
from service.writes import timelines
from service.writes.world import Near
from sync_protocol import clock
from sync_protocol.ids import server_device_id
from sync_protocol.periods import from_ms, to_ms
from sync_protocol.record_state import Clock, Loss


class ConflictEntry(msgspec.Struct):
    """A new conflict."""

    id: str
    grid: str
    kind: str
    record: str
    rev: int
    loss: Loss


# ----------------------------------------------------------------------------------------- counters


_ADVANCE = """
    UPDATE counter SET rev = rev + t.n FROM unnest($1::text::text[], $2::text::bigint[])
        AS t(grid, n) WHERE counter.grid = t.grid
"""


def advance_counters(allocated: Mapping[str, int]) -> Cte:
    """Moves counters on by the revisions that were allocated; their rows are locked."""
    return Cte("advance", _ADVANCE, (array(allocated), array(allocated.values())))


async def locked_by_others(connection: Connection, grids: Set[str]) -> set[str]:
    """Those of the grids whose counters another transaction has locked just now. Gives up after a
    tenth of a second where the table itself is locked.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '100ms'")
        rows = await connection.fetch(
            "WITH free AS"
            " (SELECT grid FROM counter WHERE grid = ANY ($1) ORDER BY grid FOR UPDATE SKIP LOCKED)"
            " SELECT grid FROM counter WHERE grid = ANY ($1) EXCEPT SELECT grid FROM free",
            list(grids),
        )
    return {row["grid"] for row in rows}


async def next_in_mailbox(connection: Connection, mailbox: str, count: int) -> int:
    """Takes `count` revisions of a mailbox and returns the first."""
    head: int = await connection.fetchval(
        "INSERT INTO counter AS c (grid, rev) VALUES ($1, $2) ON CONFLICT (grid) DO UPDATE"
        " SET rev = c.rev + excluded.rev RETURNING rev",
        mailbox,
        count,
    )
    return head - count + 1


# ------------------------------------------------------------------------------------------ writing


_INSERT_CONFLICT = """
    INSERT INTO conflict (id, grid, kind, record, field, rule, rev, kept, kept_by, kept_device,
        kept_at, lost, lost_by, lost_device, lost_at, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
"""


async def insert_conflicts(
    connection: Connection, entries: Sequence[ConflictEntry], now: datetime, cipher: FieldCipher
) -> None:
    """Keeps what lost, for ever."""

    def side(entry: ConflictEntry, column: str, given: Any, last: Clock) -> tuple[Any, ...]:
        """A value as it is stored, who wrote it, on which device, and when."""
        value = encrypted_conflict_value(
            cipher, entry.kind, entry.loss.field, entry.id, column, given
        )
        return value, last.by, last.device, from_ms(clock.stamp_ms(last.stamp))

    await connection.executemany(
        _INSERT_CONFLICT,
        [
            (
                *(entry.id, entry.grid, entry.kind, entry.record),
                *(entry.loss.field, entry.loss.rule, entry.rev),
                *side(entry, "kept", entry.loss.kept, entry.loss.kept_clock),
                *side(entry, "lost", entry.loss.lost, entry.loss.lost_clock),
                now,
            )
            for entry in entries
        ],
    )


# A record that left a grid: the grid, its revision that says so, and the record's kind and id.
Departed = tuple[str, int, str, str]


async def insert_moves(connection: Connection, rows: Sequence[Departed]) -> None:
    """Notes for the feeds of grids which records have left them."""
    await connection.executemany(
        "INSERT INTO departure (grid, rev, kind, id) VALUES ($1, $2, $3, $4)", rows
    )


async def departures(
    connection: Connection, grids: Iterable[str], ids: Iterable[str]
) -> dict[tuple[str, str], dict[str, int]]:
    """At which revisions records have left these grids, the last time: `(kind, id) -> grid ->
    rev`.
    """
    rows = await connection.fetch(
        "SELECT kind, id::text, grid, max(rev) AS rev FROM departure"
        " WHERE grid = ANY($1::text[]) AND id = ANY($2::uuid[]) GROUP BY 1, 2, 3",
        list(grids),
        list(ids),
    )
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        found.setdefault((row["kind"], row["id"]), {})[row["grid"]] = row["rev"]
    return found


# ----------------------------------------------------------------------------------- server, device


async def server_state(connection: Connection) -> Row:
    """The epoch and the cursor key."""
    row = await connection.fetchrow("SELECT epoch, epoch_at, cursor_key FROM server")
    assert row is not None
    return row


async def own_work_from(connection: Connection) -> str:
    """The stamp from which nobody verifies the own resolution."""
    since: datetime = await connection.fetchval("SELECT own_work_from FROM server")
    return clock.make_stamp(max(0, to_ms(since)))


async def any_ahead(connection: Connection, revs: Mapping[str, int]) -> bool:
    """Whether one of these revisions of grids is above the grid's head."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM unnest($1::text[], $2::bigint[]) AS k(grid, rev)"
        " LEFT JOIN counter c ON c.grid = k.grid WHERE k.rev > coalesce(c.rev, 0))",
        list(revs),
        list(revs.values()),
    )
    return found


async def new_epoch(connection: Connection, current: str) -> str:
    """Takes a new epoch, unless another process just did; returns the one in force."""
    await timelines.forget(connection)
    await connection.execute(
        "UPDATE server SET epoch = gen_random_uuid(), epoch_at = now() WHERE epoch = $1::uuid",
        current,
    )
    return str(await connection.fetchval("SELECT epoch::text FROM server"))


async def lock_device(connection: Connection, device: str) -> Row | None:
    """A device's count and clock, locked."""
    return await connection.fetchrow(
        "SELECT acked_seq, last_stamp FROM device WHERE id = $1 FOR NO KEY UPDATE", device
    )


# The platform of server-side devices: no sign-in is bound to one, they are neither listed nor
# revoked.
SERVER_PLATFORM = "server"


async def add_device(connection: Connection, device: str, staff_code: str, now: datetime) -> None:
    """Makes a device's row where there is none: after a restore, a genuine token proves that there
    was one.

    The server-side device of a cadre is the cadre's, whoever had signed in with its id before that
    was refused.
    """
    is_servers = device == server_device_id(staff_code)
    await connection.execute(
        """
        INSERT INTO device AS d (id, staff_code, name, platform, app_version, acked_seq, last_stamp,
            queued, clock_offset_ms, created_at)
        VALUES ($1, $2, '', $4, '', 0, 0, 0, 0, $3)
        ON CONFLICT (id) DO UPDATE SET staff_code = excluded.staff_code,
            platform = excluded.platform
        WHERE $5 AND (d.staff_code, d.platform) <> (excluded.staff_code, excluded.platform)
        """,
        device,
        staff_code,
        now,
        SERVER_PLATFORM if is_servers else "",
        is_servers,
    )


async def set_registered(connection: Connection, device: str, registered_at: datetime) -> None:
    """Moves a device's registration back to when it really was."""
    await connection.execute(
        "UPDATE device SET created_at = least(created_at, $2) WHERE id = $1", device, registered_at
    )


async def audit_on(connection: Connection, device: str, day: date) -> bool:
    """Notes that a device's pull is written into the audit trail on a day; False if it was
    already.
    """
    status = await connection.execute(
        "UPDATE device SET audited_on = $2 WHERE id = $1 AND audited_on IS DISTINCT FROM $2",
        device,
        day,
    )
    return status.endswith(" 1")


async def units_of(connection: Connection, codes: Iterable[str]) -> set[str]:
    """Those of the codes that are units."""
    rows = await connection.fetch("SELECT code FROM unit WHERE code = ANY($1::text[])", list(codes))
    return {row["code"] for row in rows}


_TIES = """
    (SELECT coalesce(json_agg(json_build_array(y.cadre, y.valid_from, y.valid_to)), '[]')
     FROM tie y WHERE y.household_id = h.id AND y.kind = 'contact' AND NOT y.deleted)::text AS ties
"""


async def written_by_or_tied(
    connection: Connection, named: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Near]:
    """Of those visits and problems that exist: who wrote each, and to whom its household is
    tied.
    """
    ids = {id for _, id in named}
    rows = await connection.fetch(
        " UNION ALL ".join(
            f"""SELECT '{kind}' AS kind, r.id::text, r.created_by, h.contact_member, {_TIES}
                FROM {kind} r LEFT JOIN household h ON h.id = r.household_id AND NOT h.deleted
                    WHERE r.id = ANY($1::uuid[])"""
            for kind in ("visit", "problem")
        ),
        list(ids),
    )
    return {
        (row["kind"], row["id"]): _near({row["created_by"], row["contact_member"]}, row["ties"])
        for row in rows
    }


async def visitors(connection: Connection, visits: Iterable[str]) -> dict[str, str]:
    """Who made these visits, by visit."""
    rows = await connection.fetch(
        "SELECT id::text, created_by FROM visit WHERE id = ANY($1::uuid[])", list(visits)
    )
    return {row["id"]: row["created_by"] for row in rows}


async def contacts_of(connection: Connection, households: Iterable[str]) -> dict[str, Near]:
    """To whom households are tied, by household."""
    rows = await connection.fetch(
        f"SELECT h.id::text, h.contact_member, {_TIES} FROM household h"
        " WHERE h.id = ANY($1::uuid[])",
        list(households),
    )
    return {row["id"]: _near({row["contact_member"]}, row["ties"]) for row in rows}


def _near(people: set[str | None], ties: str) -> Near:
    return Near(
        frozenset(one for one in people if one is not None),
        tuple((cadre, first, last) for cadre, first, last in json.loads(ties)),
    )


async def posts_of_cadres(
    connection: Connection, staff_codes: Iterable[str]
) -> dict[str, list[PostHeld]]:
    """All posts of those of the staff codes that are cadres, by staff code."""
    rows = await connection.fetch(
        "SELECT c.staff_code, p.role, p.unit, p.valid_from, p.valid_to FROM cadre c LEFT"
        " JOIN post p USING (staff_code)"
        " WHERE c.staff_code = ANY($1::text[])",
        list(staff_codes),
    )
    found: dict[str, list[PostHeld]] = {}
    for staff_code, role, unit, valid_from, valid_to in rows:
        posts = found.setdefault(staff_code, [])
        if role is not None:
            posts.append(PostHeld(role, unit, valid_from, valid_to))
    return found


async def tied_households(
    connection: Connection, staff_code: str, grids: Sequence[str], day: date
) -> dict[str, list[str]]:
    """The living households of these grids that are tied to a contact member on a day, by grid."""
    rows = await connection.fetch(
        "SELECT h.grid, array_agg(h.id::text ORDER BY h.id) AS ids FROM household h"
        f" WHERE {tied_to('h', '$1', '$3')} AND h.grid = ANY($2::text[]) AND NOT h.deleted"
        " GROUP BY h.grid",
        staff_code,
        list(grids),
        day.isoformat(),
    )
    return {row["grid"]: row["ids"] for row in rows}


class Acknowledged(NamedTuple):
    """Where a device stands after a push."""

    device: str
    acked: int
    stamp: str
    offset_ms: int
    queued: int


_ACKNOWLEDGE = """
    UPDATE device d
    SET acked_seq = a.acked, last_stamp = a.stamp, clock_offset_ms = a.offset_ms, queued = a.queued,
        last_seen = $1::timestamptz
    FROM unnest($2::text::uuid[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[],
        $6::text::int[])
      AS a(id, acked, stamp, offset_ms, queued) WHERE d.id = a.id
"""


def acknowledge(devices: Sequence[Acknowledged], now: datetime) -> Cte:
    """Moves devices on after their pushes."""
    rows = [
        (item.device, item.acked, int(item.stamp, 16), item.offset_ms, item.queued)
        for item in devices
    ]
    return Cte("acknowledge", _ACKNOWLEDGE, (now, *map(array, zip(*rows, strict=True))))


async def seen(
    connection: Connection, device: str, queued: int, offset_ms: int, now: datetime
) -> None:
    """Notes that a device asked without handing in anything."""
    await connection.execute(
        "UPDATE device SET last_seen = $2, queued = $3, clock_offset_ms = $4 WHERE id = $1",
        device,
        now,
        queued,
        offset_ms,
    )
