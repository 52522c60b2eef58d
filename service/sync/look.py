"""The first look of an exchange: one statement that reads, and for a push locks, all that the rest needs to know."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from service.database import Connection
from service.identity.rights import PostHeld, covers, scope
from service.statements import array
from sync_protocol.ids import is_uuid
from sync_protocol.messages import Mutation
from sync_protocol.records import KINDS
from sync_protocol.vocabulary import CODE_LENGTH


class DeviceState(msgspec.Struct):
    """What the server knows of a device."""

    acked: int
    last_stamp: str
    revoked_at: datetime | None
    last_seen: datetime | None
    queued: int


class Names(msgspec.Struct):
    """What mutations name: grids, and ids by the kind of record."""

    grids: set[str]
    ids: dict[str, set[str]]

    @classmethod
    def of(cls, mutations: Iterable[Mutation]) -> "Names":
        """The names in mutations as they came; what cannot be a code or an id is left out, for nothing is called so."""
        grids: set[str] = set()
        ids: dict[str, set[str]] = {}
        for mutation in mutations:
            kind = KINDS.get(mutation.kind)
            if kind is None or mutation.flaw is not None or not is_uuid(mutation.id):
                continue
            if mutation.grid.isascii() and mutation.grid.isdigit():
                grids.add(mutation.grid)
            ids.setdefault(kind.name, set()).add(mutation.id)
            for name, refers in kind.references:
                value = mutation.fields.get(name)
                if type(value) is str and is_uuid(value.lower()):
                    ids.setdefault(refers, set()).add(value.lower())
        return cls(grids, ids)


class Look(msgspec.Struct):
    """What was seen. `locked`: the heads of the named grids that exist; `there`: `(kind, id) -> grid` of the named records that exist,
    tombstones included; `awaited`: whether a held mutation waits for one of the named ids.
    """

    epoch: str
    key: bytes
    device: DeviceState | None
    posts: list[PostHeld]
    counters: dict[str, int]
    locked: dict[str, int]
    there: dict[tuple[str, str], str]
    awaited: bool = False

    def heads(self, mailbox: str, now: datetime) -> dict[str, int]:
        """The head revision of every grid in the scope of the posts, of the mailbox, and of the articles of units above and below."""
        units = scope(self.posts, now)

        def wanted(feed: str) -> bool:
            if feed[0] == "#":
                return any(covers(unit, feed[1:]) or covers(feed[1:], unit) for unit in units)
            return feed == mailbox or any(covers(unit, feed) for unit in units)

        return {feed: self.counters[feed] for feed in sorted(filter(wanted, self.counters))}


# Every row has these columns behind `what`, which says what they mean.
_EMPTY = {
    "code": "NULL::text",
    "name": "NULL::text",
    "place": "NULL::text",
    "n": "NULL::bigint",
    "m": "NULL::bigint",
    "since": "NULL::timestamptz",
    "until": "NULL::timestamptz",
}


def _row(what: str, source: str, **values: str) -> str:
    columns = ", ".join(f"{values.get(name, empty)} AS {name}" for name, empty in _EMPTY.items())
    return f"SELECT '{what}' AS what, {columns} FROM {source}"


_DEVICE = "SELECT acked_seq, last_stamp, revoked_at, last_seen, queued FROM device WHERE id = $1::uuid"
_DEVICE_ROW = {"n": "acked_seq", "m": "last_stamp", "since": "revoked_at", "until": "last_seen", "name": "queued::text"}
_POSTS = """
    every_post AS MATERIALIZED (SELECT role, unit, valid_from, valid_to FROM post WHERE staff_code = $2::text),
    current AS MATERIALIZED (SELECT DISTINCT unit FROM every_post WHERE valid_to IS NULL OR valid_to > $3::timestamptz)
"""
# All grids under a unit: their codes begin with the unit's, and ‘:’ follows on ‘9’.
_UNDER = "counter c ON c.grid >= {0}p.unit AND c.grid < {0}p.unit || ':'"
_LENGTHS = "(VALUES " + ", ".join(f"({length})" for length in sorted(CODE_LENGTH.values())) + ") AS l(n)"
_STANDING = (
    _row("server", "server", code="epoch::text", name="encode(cursor_key, 'hex')"),
    _row("post", "every_post", code="unit", name="role", since="valid_from", until="valid_to"),
    _row("counter", "current p JOIN " + _UNDER.format(""), code="c.grid", n="c.rev"),
    _row("counter", "counter c WHERE c.grid = '@' || $2", code="c.grid", n="c.rev"),
    _row("counter", f"current p CROSS JOIN {_LENGTHS} JOIN counter c ON c.grid = '#' || left(p.unit, l.n)", code="c.grid", n="c.rev"),
    _row("counter", "current p JOIN " + _UNDER.format("'#' || "), code="c.grid", n="c.rev"),
)
# $1 device, $2 staff code, $3 now
_STAND = f"WITH {_POSTS} " + " UNION ALL ".join((_row("device", f"({_DEVICE}) AS d", **_DEVICE_ROW), *_STANDING))


def _lock(place: int) -> str:
    """Locks the counters of the grids, in one order for everybody."""
    return f"mine AS MATERIALIZED (SELECT grid, rev FROM counter WHERE grid = ANY((SELECT ${place}::text::text[])::text[]) ORDER BY grid FOR NO KEY UPDATE)"


def _named(place: int, kinds: Sequence[str]) -> list[str]:
    """What there is of the named grids and records; parameters from `place` on: grids, all ids, the ids of each kind.

    An array is made in a SELECT of its own, once; made in the condition it would be made for every row that the condition looks at.
    """
    return [
        # The rev that is read without a lock is as old as everything else that the statement sees.
        _row("locked", "mine JOIN counter c USING (grid)", code="grid", n="mine.rev", m="c.rev"),
        *(
            _row("there", f"{kind} WHERE id = ANY((SELECT ${at}::text::uuid[])::uuid[])", code="id::text", name=f"'{kind}'", place="grid")
            for at, kind in enumerate(kinds, place + 2)
        ),
        _row("awaited", f"(SELECT FROM held WHERE state = 'open' AND waits_for = ANY((SELECT ${place + 1}::text::uuid[])::uuid[]) LIMIT 1) AS w"),
    ]


@cache
def _find_sql(kinds: tuple[str, ...]) -> str:
    return f"WITH {_lock(1)} " + " UNION ALL ".join(_named(1, kinds))


@cache
def _push_sql(kinds: tuple[str, ...]) -> str:
    parts = (_row("device", "owner", **_DEVICE_ROW), *_STANDING, *_named(4, kinds))
    return f"WITH owner AS MATERIALIZED ({_DEVICE} FOR NO KEY UPDATE), {_lock(4)}, {_POSTS} " + " UNION ALL ".join(parts)


async def stand(connection: Connection, device: str, staff_code: str, now: datetime) -> Look:
    """Where a device stands, without any lock: for an exchange that hands in nothing."""
    return _look(await connection.fetch(_STAND, device, staff_code, now))[0]


async def lock(connection: Connection, device: str, staff_code: str, names: Names, now: datetime) -> Look:
    """Locks a device (promise 1) and the grids that its mutations name, and looks at all that they name."""
    return await _fresh(connection, _push_sql(tuple(KINDS)), device, staff_code, now, *_values(names))


async def find(connection: Connection, names: Names) -> Look:
    """The same for mutations whose devices are locked already, or are the server's own."""
    return await _fresh(connection, _find_sql(tuple(KINDS)), *_values(names))


def _values(names: Names) -> tuple[str, ...]:
    every = {id for ids in names.ids.values() for id in ids}
    return (array(sorted(names.grids)), array(every), *(array(names.ids.get(kind, ())) for kind in KINDS))


async def _fresh(connection: Connection, sql: str, *values: Any) -> Look:
    """Looks again where another transaction held a lock: what it wrote is newer than the first look."""
    while True:
        look, stale = _look(await connection.fetch(sql, *values))
        if not stale:
            return look


def _look(rows: Sequence[Any]) -> tuple[Look, bool]:
    look = Look("", b"", None, [], {}, {}, {})
    stale = False
    for what, code, name, place, n, m, since, until in rows:
        match what:
            case "there":
                look.there[name, code] = place
            case "counter":
                look.counters[code] = n
            case "locked":
                look.locked[code] = n
                stale = stale or n != m
            case "post":
                look.posts.append(PostHeld(name, code, since, until))
            case "server":
                look.epoch, look.key = code, bytes.fromhex(name)
            case "device":
                look.device = DeviceState(n, f"{m:016x}", since, until, int(name))
            case "awaited":
                look.awaited = True
    return look, stale
