"""The first look of an exchange: one statement that reads, and for a push locks, all that the rest
needs to know.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec

from service.cases.models import IS_ASSIGNED
from service.identity.rights import PostHeld, any_present, covers
from service.identity.views import WHOLE_GRID, View, present_views, view_in
from service.kit.database import Connection
from service.kit.sql import array, text_array
from service.runtime.tables import KEPT, Tables
from service.writes import timelines
from service.writes.mutations import ParsedMutation, PreparedMutation
from service.writes.visit_columns import VisitColumns
from sync_protocol.clock import make_stamp
from sync_protocol.periods import from_ms, to_ms
from sync_protocol.records import KINDS, VISIT
from sync_protocol.vocabulary import CODE_LENGTH


def from_us(us: int) -> datetime:
    """The moment of Unix microseconds, UTC."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)


def mailbox_of(staff_code: str) -> str:
    """The feed that carries a cadre's own notices; it is counted like a grid's and no grid is
    called so.
    """
    return "@" + staff_code


def is_mailbox(feed: str) -> bool:
    """Whether a name is that of a mailbox: of a cadre's notices, or of the articles of a unit."""
    return feed.startswith("@") or (
        feed.startswith("#") and _may_be_code(feed[1:]) and len(feed) - 1 in CODE_LENGTH.values()
    )


class DeviceState(msgspec.Struct):
    """What the server knows of a device. `audited_on`: the last day on which its pull stands in the
    audit trail.
    """

    acked: int
    last_stamp: str
    revoked_at: datetime | None
    last_seen: datetime | None
    queued: int
    registered_at: datetime
    audited_on: date | None = None


class FeedHead(NamedTuple):
    """The head revision of a feed, and what somebody sees of it."""

    rev: int
    view: View = View.FULL


class Erased(NamedTuple):
    """That the personal data of a record was erased: the revision of its grid, and when."""

    grid: str
    rev: int
    at: datetime


class Assignment(NamedTuple):
    """An open problem that was assigned `to` a unit, or to a cadre (`@` and the staff code)."""

    problem: str
    grid: str
    to: str


class ReadSet(msgspec.Struct):
    """What mutations name: grids, and ids by the kind of record."""

    grids: set[str]
    ids: dict[str, set[str]]

    @classmethod
    def of(cls, items: Iterable[ParsedMutation | PreparedMutation]) -> "ReadSet":
        """The names in mutations that have no flaw of their own; what cannot be a grid's code is
        left out, for nothing is called so.
        """
        by_kind: dict[str, list[ParsedMutation | PreparedMutation]] = {}
        for item in items:
            if item.flaw is None:
                by_kind.setdefault(item.mutation.kind, []).append(item)
        grids: set[str] = set()
        ids: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for kind_name, some in by_kind.items():
            grids.update([item.mutation.grid for item in some])
            ids[kind_name].update([item.mutation.id for item in some])
            for name, refers in KINDS[kind_name].references:
                ids[refers].update([value for item in some if (value := item.fields.get(name))])
        return cls({grid for grid in grids if _may_be_code(grid)}, ids)

    @classmethod
    def of_visit_columns(cls, visits: VisitColumns) -> "ReadSet":
        """The names in new visits."""
        ids: dict[str, set[str]] = {kind: set() for kind in KINDS}
        ids[VISIT.name].update(visits.ids)
        for name, refers in VISIT.references:
            ids[refers].update([value for value in visits.fields[name] if value is not None])
        return cls({grid for grid in {*visits.grids} if _may_be_code(grid)}, ids)

    @classmethod
    def joined(cls, several: Sequence["ReadSet"]) -> "ReadSet":
        """The names of several together."""
        grids = set().union(*[names.grids for names in several])
        return cls(
            grids, {kind: set().union(*[names.ids[kind] for names in several]) for kind in KINDS}
        )


def _may_be_code(grid: str) -> bool:
    return grid.isascii() and grid.isdigit()


class Snapshot(msgspec.Struct):
    """What was seen of some devices and their cadres, and of what their mutations name.

    `posts`: all that each cadre has or had; `counters`: the heads of every feed that one of them
    may read, and more; `locked`: those of the named grids that exist; `existing`: `(kind, id) ->
    grid` of the named records that exist, tombstones included; `has_waiters`: whether a held
    mutation waits for one of the named ids; `assignments`: problems assigned to one of the cadres,
    or to their units from elsewhere; `own_work_from`: the stamp from which nobody verifies the own
    resolution; `encryption`: see `service.kit.encryption.State`; `erased`: those     of the named
    records whose personal data was erased; `timeline`: under which the database was last written,
    `timeline_changed`: whether the database server has begun another one; `tables`: which tables
    the database has; `ordered`: the feeds of `counters` in order, once somebody has asked for them.
    """

    epoch: str = ""
    key: bytes = b""
    encryption: str = ""
    devices: dict[str, DeviceState] = {}
    posts: dict[str, list[PostHeld]] = {}
    counters: dict[str, int] = {}
    locked: dict[str, int] = {}
    existing: dict[tuple[str, str], str] = {}
    has_waiters: bool = False
    assignments: list[Assignment] = []
    own_work_from: str = ""
    timeline: str = ""
    timeline_changed: bool = False
    tables: Tables = Tables(None)
    erased: dict[tuple[str, str], Erased] = {}
    ordered: list[str] = []

    def feeds(self, staff_code: str, now: datetime) -> dict[str, FeedHead]:
        """The feeds that a cadre's devices read: grids in scope, grids with problems assigned to
        the cadre, the mailbox, and the articles of units above and below. A cadre without any post
        at present gets nothing at all.
        """
        posts = self.posts.get(staff_code, ())
        present = present_views(posts, now)
        mailbox = mailbox_of(staff_code) if any_present(posts, now) else ""
        assigned = self.assigned_to(staff_code, now) if self.assignments else {}
        found: dict[str, View] = {}
        for unit, view in present:  # the widest view first
            for feed in self._below(unit):
                found.setdefault(feed, view)
            above = ("#" + unit[:length] for length in CODE_LENGTH.values() if length < len(unit))
            for feed in (*self._below("#" + unit), *filter(self.counters.__contains__, above)):
                found[feed] = View.FULL
        for feed in assigned:
            if feed in self.counters:
                found.setdefault(feed, View.ASSIGNED)
        if mailbox in self.counters:
            found[mailbox] = View.FULL
        return {feed: FeedHead(self.counters[feed], found[feed]) for feed in sorted(found)}

    def _below(self, prefix: str) -> list[str]:
        """The feeds whose codes begin so: all that lie below a unit, for ‘:’ follows on ‘9’."""
        if len(self.ordered) != len(self.counters):
            self.ordered = sorted(self.counters)
        return self.ordered[
            bisect_left(self.ordered, prefix) : bisect_left(self.ordered, prefix + ":")
        ]

    def assigned_to(self, staff_code: str, now: datetime) -> dict[str, list[str]]:
        """The problems assigned to a cadre, or to a unit of one of the cadre's posts, by grid; only
        of grids that are not shown whole.
        """
        present = present_views(self.posts.get(staff_code, ()), now)
        found: dict[str, set[str]] = {}
        for problem, grid, to in self.assignments:
            mine = to == "@" + staff_code or any(
                covers(unit, to) and not covers(unit, grid) for unit, _ in present
            )
            if mine and present and view_in(present, grid) not in WHOLE_GRID:
                found.setdefault(grid, set()).add(problem)
        return {grid: sorted(problems) for grid, problems in found.items()}


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


_DEVICE = """
    SELECT id, acked_seq, last_stamp, revoked_at, last_seen, queued, created_at, audited_on
        FROM device
    WHERE id = ANY((SELECT $1::text::uuid[])::uuid[]) ORDER BY id
"""
_DEVICE_ROW = {
    "code": "id::text",
    "name": "queued::text",
    "place": "concat_ws(' ', (extract(epoch FROM created_at) * 1000)::bigint, audited_on)",
    "n": "acked_seq",
    "m": "last_stamp",
    "since": "revoked_at",
    "until": "last_seen",
}
_POSTS = f"""
    every_post AS MATERIALIZED (
        SELECT staff_code, role, unit, valid_from, valid_to, end_recorded_at FROM post
        WHERE staff_code = ANY((SELECT $2::text::text[])::text[])
    ),
    current AS MATERIALIZED (SELECT DISTINCT unit FROM every_post WHERE valid_to IS NULL
        OR valid_to > $4::timestamptz),
    assigned AS MATERIALIZED (
        SELECT c.problem, c.grid, '@' || c.handler_cadre AS recipient FROM case_file c
        WHERE {IS_ASSIGNED} AND c.handler_cadre = ANY((SELECT $2::text::text[])::text[])
        UNION ALL
        SELECT c.problem, c.grid, c.handler_unit FROM current p
        JOIN case_file c ON {IS_ASSIGNED} AND c.handler_unit >= p.unit
            AND c.handler_unit < p.unit || ':'
             AND NOT (c.grid >= p.unit AND c.grid < p.unit || ':')
    )
"""
# All grids under a unit: their codes begin with the unit's, and ‘:’ follows on ‘9’.
_UNDER = "counter c ON c.grid >= {0}p.unit AND c.grid < {0}p.unit || ':'"
_LENGTHS = (
    "(VALUES " + ", ".join(f"({length})" for length in sorted(CODE_LENGTH.values())) + ") AS l(n)"
)
_SERVER = _row(
    "server",
    "server",
    code="epoch::text",
    name="encode(cursor_key, 'hex')",
    place="encryption",
    since="own_work_from",
)
_STANDING = (
    _SERVER,
    _row(
        "timeline",
        "server",
        code="timeline",
        name=f"split_part(timeline, '/', 1) || '/' || {timelines.NUMBER}",
        place=KEPT,
    ),
    _row(
        "post",
        "every_post",
        place="staff_code",
        code="unit",
        name="role",
        n="(extract(epoch FROM end_recorded_at) * 1000000)::bigint",
        since="valid_from",
        until="valid_to",
    ),
    _row("assigned", "assigned", code="problem::text", name="grid", place="recipient"),
    _row("counter", "assigned a JOIN counter c USING (grid)", code="c.grid", n="c.rev"),
    _row("counter", "current p JOIN " + _UNDER.format(""), code="c.grid", n="c.rev"),
    _row(
        "counter",
        "counter c WHERE c.grid = ANY((SELECT $3::text::text[])::text[])",
        code="c.grid",
        n="c.rev",
    ),
    _row(
        "counter",
        f"current p CROSS JOIN {_LENGTHS} JOIN counter c ON c.grid = '#' || left(p.unit, l.n)",
        code="c.grid",
        n="c.rev",
    ),
    _row("counter", "current p JOIN " + _UNDER.format("'#' || "), code="c.grid", n="c.rev"),
)
# $1 devices, $2 staff codes, $3 their mailboxes, $4 now
_STAND = f"WITH {_POSTS} " + " UNION ALL ".join(
    (_row("device", f"({_DEVICE}) AS d", **_DEVICE_ROW), *_STANDING)
)


def _lock(place: int) -> str:
    """Locks the counters of the grids, in one order for everybody."""
    return (
        "mine AS MATERIALIZED (SELECT grid, rev FROM counter"
        f" WHERE grid = ANY((SELECT ${place}::text::text[])::text[])"
        " ORDER BY grid FOR NO KEY UPDATE)"
    )


def _ids(place: int, kinds: Sequence[str]) -> str:
    """The ids of each kind that are named, as arrays that are made once; parameters from `place`
    on.
    """
    return (
        "named AS MATERIALIZED (SELECT "
        + ", ".join(f"${at}::text::uuid[] AS {kind}_ids" for at, kind in enumerate(kinds, place))
        + ")"
    )


def _named(kinds: Sequence[str]) -> list[str]:
    """What there is of the named grids and records.

    An array is taken in a SELECT of its own; in the condition it would be taken for every row that
    the condition looks at.
    """
    every = " || ".join(f"{kind}_ids" for kind in kinds)
    return [
        # The rev that is read without a lock is as old as everything else that the statement sees.
        _row("locked", "mine JOIN counter c USING (grid)", code="grid", n="mine.rev", m="c.rev"),
        *(
            _row(
                "there",
                f"{kind} WHERE id = ANY((SELECT {kind}_ids FROM named)::uuid[])",
                code="id::text",
                name=f"'{kind}'",
                place="grid",
            )
            for kind in kinds
        ),
        _row(
            "awaited",
            f"(SELECT FROM held WHERE state = 'open' AND waits_for = ANY((SELECT {every}"
            " FROM named)::uuid[]) LIMIT 1) AS w",
        ),
        _row(
            "erased",
            f"erased_record WHERE id = ANY((SELECT {every} FROM named)::uuid[])",
            code="id::text",
            name="kind",
            place="grid",
            n="rev",
            since="at",
        ),
    ]


@cache
def _find_sql(kinds: tuple[str, ...]) -> str:
    return f"WITH {_lock(1)}, {_ids(2, kinds)} " + " UNION ALL ".join((_SERVER, *_named(kinds)))


@cache
def _push_sql(kinds: tuple[str, ...]) -> str:
    parts = (_row("device", "owner", **_DEVICE_ROW), *_STANDING, *_named(kinds))
    # The devices come first of all that is locked. Set here, the limit costs no journey of its own.
    limited = (
        "limited AS MATERIALIZED (SELECT set_config('lock_timeout',"
        f" coalesce(${6 + len(kinds)}::text,"
        " current_setting('lock_timeout')), true) AS limit)"
    )
    device = _DEVICE.replace(
        "ORDER BY", "AND (SELECT limited.limit FROM limited) IS NOT NULL ORDER BY"
    )
    ctes = (
        limited,
        f"owner AS MATERIALIZED ({device} FOR NO KEY UPDATE)",
        _lock(5),
        _ids(6, kinds),
        _POSTS,
    )
    return f"WITH {', '.join(ctes)} " + " UNION ALL ".join(parts)


async def read(
    connection: Connection, callers: Collection[tuple[str, str]], now: datetime
) -> Snapshot:
    """Where devices stand, each given with its cadre, without any lock: for exchanges that hand in
    nothing.
    """
    return _look(await connection.fetch(_STAND, *_callers(callers), now))[0]


async def lock_and_read(
    connection: Connection,
    callers: Collection[tuple[str, str]],
    names: ReadSet,
    now: datetime,
    lock_ms: int | None = None,
) -> Snapshot:
    """Locks devices (promise 1) and the grids that their mutations name, and looks at all that they
    name.

    `lock_ms`: how long this transaction waits for a lock, where that is less than the connection's
    limit.
    """
    limit = None if lock_ms is None else str(lock_ms)
    return await _fresh(
        connection, _push_sql(tuple(KINDS)), *_callers(callers), now, *_values(names), limit
    )


async def lock_grids_and_read(connection: Connection, names: ReadSet) -> Snapshot:
    """The same for mutations whose devices are locked already, or are the server's own."""
    return await _fresh(connection, _find_sql(tuple(KINDS)), *_values(names))


def _callers(callers: Collection[tuple[str, str]]) -> tuple[str, str, str]:
    staff_codes = {staff_code for _, staff_code in callers}
    return (
        array(device for device, _ in callers),
        text_array(staff_codes),
        text_array(map(mailbox_of, staff_codes)),
    )


def _values(names: ReadSet) -> tuple[str, ...]:
    return (array(sorted(names.grids)), *(array(names.ids.get(kind, ())) for kind in KINDS))


async def _fresh(connection: Connection, sql: str, *values: Any) -> Snapshot:
    """Looks again where another transaction held a lock: what it wrote is newer than the first
    look.
    """
    while True:
        look, stale = _look(await connection.fetch(sql, *values))
        if not stale:
            return look


def _look(rows: Sequence[Any]) -> tuple[Snapshot, bool]:
    look = Snapshot()
    stale = False
    for what, code, name, place, n, m, since, until in rows:
        match what:
            case "there":
                look.existing[name, code] = place
            case "counter":
                look.counters[code] = n
            case "locked":
                look.locked[code] = n
                stale = stale or n != m
            case "post":
                recorded = None if n is None else from_us(n)
                look.posts.setdefault(place, []).append(
                    PostHeld(name, code, since, until, recorded)
                )
            case "assigned":
                look.assignments.append(Assignment(code, name, place))
            case "server":
                look.epoch, look.key, look.encryption = code, bytes.fromhex(name), place
                look.own_work_from = make_stamp(max(0, to_ms(since)))
            case "device":
                registered, _, audited = place.partition(" ")
                day = date.fromisoformat(audited) if audited else None
                look.devices[code] = DeviceState(
                    n, f"{m:016x}", since, until, int(name), from_ms(int(registered)), day
                )
            case "timeline":
                look.timeline, look.timeline_changed = code, name is not None and code != name
                look.tables = Tables.read(place)
            case "awaited":
                look.has_waiters = True
            case "erased":
                look.erased[name, code] = Erased(place, n, since)
    return look, stale
