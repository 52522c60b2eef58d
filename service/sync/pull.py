"""The pull: what a device has not seen of the grids in its scope, in order, a page at a time.

For every grid the records above the cursor's rev are read in the order of rev, in one statement,
hence in one snapshot: because each grid's revisions become visible in order, nothing at or below
the last rev of a page can appear later. While a grid is sent for the first time the windows of
promise 13 apply, up to the head at which that first pull began.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from service.identity.views import (
    WHOLE_GRID,
    FieldClass,
    View,
    absent_on_devices,
    goes_to_devices,
    shows_unknown,
)
from service.kit.conditions import own_or_tied
from service.kit.database import Connection
from service.kit.encrypted_values import held_body, held_detail, whole_record
from service.kit.encryption import FieldCipher
from service.kit.localization import localized
from service.kit.sql import renumbered
from service.records.columns import MOMENT_JSON, fields_json, personal_array
from sync_protocol.cursor import Cursor, Position
from sync_protocol.kinds import Kind
from sync_protocol.messages import PAGE_BYTES, showable_json
from sync_protocol.periods import local_day
from sync_protocol.records import KINDS, VISIT
from sync_protocol.windows import Windows, windows_on


class Page(msgspec.Struct):
    """A page: the changes as JSON texts, the positions after it, and what is still to come."""

    changes: list[str]
    grids: dict[str, Position]
    dropped: list[str]
    more: bool
    pending: int


# Conditions of the windows on a living record `r`, with the parameters that `_windows` gives.
_WINDOWS: Mapping[str, str] = {
    "visit": "r.visited_at >= $6",
    "problem": "NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.id AND c.ended_at < $7)",
    "step": "NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.problem_id"
    " AND c.ended_at < $7)",
    "weekly_analysis": "r.week >= $8",
    "monthly_summary": "r.month >= $9",
}

# The same of what lies in mailboxes: held mutations `h` and articles `a`, with the parameter that
# `_windows` gives as the fifth.
_OPEN_HELD = "h.state = 'open'"
_SHOWN_ARTICLE = "a.state = 'published' AND a.published_at >= $13"


def within_window(kind: Kind) -> str:
    """SQL that says whether a living record `r` belongs to a first pull."""
    return _WINDOWS.get(kind.name, "true")


Views = frozenset[View]
# Parts of a grid are shown by these conditions on a record `r`; $15 is the cadre, $16 are the
# problems assigned to the cadre or a unit.
_TIED: Mapping[str, str] = {
    "household": "r.contact_member = $15",
    "visit": own_or_tied("r", "$15"),
    "problem": own_or_tied("r", "$15"),
    "step": "(r.created_by = $15 OR EXISTS (SELECT FROM problem o WHERE o.id = r.problem_id"
    f" AND {own_or_tied('o', '$15')}))",
}
_ASSIGNED: Mapping[str, str] = {
    "problem": "r.id = ANY($16::uuid[])",
    "step": "r.problem_id = ANY($16::uuid[])",
}


def _letters(views: Iterable[View]) -> str:
    return ", ".join(f"'{view.value}'" for view in sorted(views))


def shown_in(kind: Kind, views: Views) -> str:
    """SQL that says whether a view `p.view`, one of `views`, shows a record `r`: the same for feed,
    count and digest.
    """
    if views <= WHOLE_GRID:
        return "true"
    tied = f"p.view = 't' AND {_TIED.get(kind.name, 'r.created_by = $15')}"
    ways = [f"p.view IN ({_letters(WHOLE_GRID)})", tied, _ASSIGNED.get(kind.name, "false")]
    return f"coalesce({' OR '.join(f'({way})' for way in ways)}, false)"


def _fields_sql(kind: Kind, views: Views) -> str:
    """The fields of a record `r` that a device with the view `p.view` gets."""
    by_absent: dict[frozenset[str], list[View]] = {}
    for view in views:
        by_absent.setdefault(absent_on_devices(kind, view), []).append(view)
    shown = {absent: fields_json(kind, "r", absent) for absent in by_absent}
    if len(shown) == 1:
        return next(iter(shown.values()))
    return (
        "CASE "
        + " ".join(
            f"WHEN p.view IN ({_letters(by_absent[absent])}) THEN {sql}"
            for absent, sql in shown.items()
        )
        + " END"
    )


def _extra_sql(views: Views) -> str:
    """The fields of newer apps, where the view shows them."""
    showing = [view for view in views if shows_unknown(view)]
    if len(showing) == len(views):
        return "r.extra"
    return (
        f"CASE WHEN p.view IN ({_letters(showing)}) THEN r.extra END" if showing else "NULL::json"
    )


def _personal_sql(kind: Kind, views: Views) -> str:
    """The personal fields, encrypted as they are, where the view shows them."""
    showing = [view for view in views if goes_to_devices(FieldClass.CONTACT, view)]
    if not kind.personal or not showing:
        return "NULL::text[]"
    array = personal_array(kind, "r")
    return (
        array
        if len(showing) == len(views)
        else f"CASE WHEN p.view IN ({_letters(showing)}) THEN {array} END"
    )


def _kind_sql(kind: Kind, views: Views) -> str:
    within = f"NOT r.deleted AND {within_window(kind)}"
    if kind is not VISIT:
        return _part_sql(kind, views, f"r.rev > p.rev AND (r.rev > p.snapshot OR ({within}))")
    # Two ranges, of which each is one of the index: of all that a grid ever saw, most lies before
    # the window.
    return (
        _part_sql(kind, views, f"r.rev > p.rev AND r.rev <= p.snapshot AND {within}")
        + " UNION ALL "
        + _part_sql(kind, views, "r.rev > greatest(p.rev, p.snapshot)")
    )


def _part_sql(kind: Kind, views: Views, condition: str) -> str:
    return f"""
        (SELECT '{kind.name}' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{{}}'::json
                   ELSE {_fields_sql(kind, views)} END AS fields, {_extra_sql(views)} AS extra,
               {_personal_sql(kind, views)} AS personal
        FROM {kind.name} r
        WHERE r.grid = p.grid AND {condition} AND {shown_in(kind, views)}
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    """


def _left_sql(kind: Kind, views: Views) -> str:
    """Records that were changed and that a view of a part of the grid does not show: perhaps it did
    before.
    """
    return f"""
        (SELECT '{kind.name}', r.id, r.rev, false, true, 0, '', '', '{{}}'::json, NULL::json,
            NULL::text[]
         FROM {kind.name} r WHERE r.grid = p.grid AND r.rev > p.rev AND r.rev > p.snapshot
             AND r.clocks IS NOT NULL
           AND NOT {shown_in(kind, views)} ORDER BY r.rev LIMIT $11)
    """


@cache
def _feed_sql(views: Views) -> str:
    parts = [_kind_sql(kind, views) for kind in KINDS.values()]
    if not views <= WHOLE_GRID:
        parts += [_left_sql(kind, views) for kind in KINDS.values()]
    every = " UNION ALL ".join(parts)
    return f"""
        WITH page AS MATERIALIZED (
        SELECT p.grid, p.place, f.* FROM unnest($1::text[], $2::bigint[], $3::bigint[],
               $4::bigint[], $14::text[])
             WITH ORDINALITY AS p(grid, rev, snapshot, own_since, view, place)
        CROSS JOIN LATERAL (
            SELECT * FROM (
                {every}
                UNION ALL
                (SELECT d.kind, d.id, d.rev, false, true, 0, '', '', '{{}}'::json, NULL, NULL
                 FROM departure d WHERE d.grid = p.grid AND d.rev > p.rev AND d.rev > p.snapshot
                   AND NOT EXISTS (SELECT FROM household h WHERE h.id = d.id AND h.grid = d.grid)
                   ORDER BY d.rev LIMIT $11)
                UNION ALL
                (SELECT 'held', h.id, h.rev, false, false, h.stamp, h.staff_code, h.staff_code,
                        json_build_object('seq', h.seq, 'kind', h.kind, 'record', h.record, 'grid',
                        h.grid, 'reason', h.reason,
                            'state', h.state, 'decision', h.decision, 'device', h.device), h.body,
                            ARRAY[h.detail]
                 FROM held h WHERE h.mailbox = p.grid AND h.rev > p.rev
                     AND (h.rev > p.snapshot OR {_OPEN_HELD})
                 ORDER BY h.rev LIMIT $11)
                UNION ALL
                (SELECT 'article', a.id, a.rev, a.state <> 'published', false, 0, a.author,
                    a.author,
                        CASE WHEN a.state = 'published'
                            THEN json_build_object('unit', a.unit, 'kind', a.kind, 'title', a.title,
                            'body', a.body, 'published_at', {MOMENT_JSON.format("a.published_at")})
                            ELSE '{{}}'::json END, NULL, NULL
                 FROM article a WHERE a.mailbox = p.grid AND a.rev > p.rev
                   AND (a.rev > p.snapshot OR ({_SHOWN_ARTICLE})) ORDER BY a.rev LIMIT $11)
            ) AS every ORDER BY rev LIMIT $11
        ) AS f
        ORDER BY p.place, f.rev LIMIT $11
        )
        SELECT * FROM (
            SELECT sized.*, count(*) OVER () AS total, sum(size)
                OVER (ORDER BY place, rev ROWS UNBOUNDED PRECEDING) AS bytes
            FROM (SELECT page.*, octet_length(fields::text) + coalesce(octet_length(extra::text), 0)
                AS size FROM page) AS sized
        ) AS bounded WHERE bytes - size <= {PAGE_BYTES} ORDER BY place, rev
    """


class Feed(NamedTuple):
    """A feed to be pulled: its head, what the device is shown of it, and the view with the version
    of its ties, as the cursor keeps it.
    """

    rev: int
    view: View = View.FULL
    version: str = View.FULL.value


class Reader(NamedTuple):
    """Who reads, where only a part of a grid is shown: the cadre, and the problems that were
    assigned to the cadre or a unit.
    """

    staff_code: str
    problems: Sequence[str] = ()


class PullPlan:
    """What lies between a device's cursor and the heads of its scope.

    `own`: the first seq that is new with this request, and the last that the device is known to
    hold. Own mutations that were applied as sent are left out where the device holds the record
    that they changed: in grids that it had pulled whole before it sent them, and records that it
    has just made. `taken`: how many of the last revisions of a grid are mutations of this request,
    all applied as sent.

    A grid of which the device is shown something else than its cursor says is dropped, and sent
    from the start with the next exchange: a client may drop grids before or after it takes the
    changes of an answer.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        cursor: Cursor | None,
        device: str,
        own: tuple[int, int],
        again: Sequence[str] = (),
        taken: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        known = dict(cursor.grids) if cursor else {}
        changed = {
            grid
            for grid, position in known.items()
            if grid in feeds and feeds[grid].version != position.view
        }
        self.device = device
        self.own = own
        self.waiting = sum(feeds[grid].rev for grid in changed)
        self.feeds = (
            {grid: feed for grid, feed in feeds.items() if grid not in changed}
            if changed
            else feeds
        )
        self.dropped = sorted((known.keys() - feeds.keys()) | changed)
        for grid in (*again, *changed):
            known.pop(grid, None)
        self.positions = {
            grid: known.get(grid) or Position(0, feed.rev, 0, feed.version)
            for grid, feed in self.feeds.items()
        }
        for grid, position in self.positions.items():
            if position.snapshot or grid not in known:
                self.positions[grid] = position._replace(own_since=own[1] + 1)
        for grid, count in taken.items():
            held = known.get(grid)
            if (
                held
                and grid in self.feeds
                and held.rev == feeds[grid].rev - count
                and not held.snapshot
                and held.own_since <= own[0]
            ):
                self.positions[grid] = held._replace(rev=feeds[grid].rev)
        self.stale_grids = [
            grid for grid, feed in self.feeds.items() if self.positions[grid].rev < feed.rev
        ]

    @property
    def stale_parts(self) -> list[str]:
        """The grids of which only a part is shown, and in which something may still come."""
        return [
            grid
            for grid, feed in self.feeds.items()
            if feed.view not in WHOLE_GRID and self.positions[grid].rev < feed.rev
        ]

    def to_page(
        self, changes: Sequence[str] = (), more: bool = False, of_parts: int | None = None
    ) -> Page:
        """The page that leads to the positions as they stand now; `of_parts`: what is still to come
        of grids that are shown in part.
        """
        counted = self.feeds.items()
        if of_parts is not None:
            counted = {grid: feed for grid, feed in counted if feed.view in WHOLE_GRID}.items()
        pending = (
            self.waiting
            + (of_parts or 0)
            + sum(max(0, feed.rev - self.positions[grid].rev) for grid, feed in counted)
        )
        return Page(list(changes), self.positions, self.dropped, more or self.waiting > 0, pending)


async def page(
    connection: Connection,
    plan: PullPlan,
    reader: Reader,
    limit: int,
    now: datetime,
    cipher: FieldCipher,
) -> Page:
    """The next page of a plan in which something is still to come."""
    rows = await _rows(connection, plan, reader, limit, now)
    changes: list[str] = []
    size = 0
    last: tuple[str, int] | None = None
    for row in rows[:limit]:
        text = _change(row, cipher)
        size += len(text)
        if changes and size > PAGE_BYTES:
            break
        changes.append(text)
        last = (row["grid"], row["rev"])
    full = bool(rows) and len(changes) < rows[0]["total"]
    _advance(plan.positions, plan.feeds, plan.stale_grids, last if full else None, rows)
    of_parts = await _count_parts(connection, plan, reader, now) if plan.stale_parts else None
    return plan.to_page(changes, full, of_parts)


@cache
def _count_sql(views: Views) -> str:
    """How many records of grids that are shown in part are still to come; $3 and $10 are revs and
    snapshots of the positions.
    """
    parts = (
        f"SELECT FROM {kind.name} r JOIN p USING (grid) WHERE r.grid = ANY($1::text[])"
        " AND r.rev > p.rev"
        f" AND (r.rev > p.snapshot OR (NOT r.deleted AND {within_window(kind)}))"
        f" AND {shown_in(kind, views)}"
        for kind in KINDS.values()
    )
    return (
        "WITH p AS MATERIALIZED (SELECT *"
        " FROM unnest($1::text[], $2::text[], $3::bigint[], $10::bigint[]) AS p(grid, view, rev,"
        " snapshot))"
        f" SELECT count(*) FROM ({renumbered(' UNION ALL '.join(parts), _digest_place)}) AS coming"
    )


async def _count_parts(
    connection: Connection, plan: PullPlan, reader: Reader, now: datetime
) -> int:
    grids = plan.stale_parts
    views = [plan.feeds[grid].view for grid in grids]
    count: int = await connection.fetchval(
        _count_sql(frozenset(views)),
        grids,
        [view.value for view in views],
        [plan.positions[grid].rev for grid in grids],
        *window_values(windows_on(local_day(now))),
        reader.staff_code,
        list(reader.problems),
        [plan.positions[grid].snapshot for grid in grids],
    )
    return count


async def _rows(
    connection: Connection, plan: PullPlan, reader: Reader, limit: int, now: datetime
) -> list[Any]:
    """One page of rows, and one more: at most about PAGE_BYTES of fields, and at least one row."""
    windows = windows_on(local_day(now))
    positions = [plan.positions[grid] for grid in plan.stale_grids]
    views = [plan.feeds[grid].view for grid in plan.stale_grids]
    parts = () if WHOLE_GRID.issuperset(views) else (reader.staff_code, list(reader.problems))
    return await connection.fetch(
        _feed_sql(frozenset(views)),
        list(plan.stale_grids),
        [position.rev for position in positions],
        [position.snapshot for position in positions],
        [position.own_since for position in positions],
        plan.device,
        *window_values(windows),
        plan.own[1],
        limit + 1,
        plan.own[0],
        datetime.fromisoformat(windows.articles),
        [view.value for view in views],
        *parts,
    )


def window_values(windows: Windows) -> tuple[datetime, datetime, str, str]:
    """The parameters $6 to $9 of the windows' conditions."""
    return (
        datetime.fromisoformat(windows.visits),
        datetime.fromisoformat(windows.closed_problems),
        windows.week,
        windows.month,
    )


def _advance(
    positions: dict[str, Position],
    feeds: Mapping[str, Feed],
    stale_grids: Sequence[str],
    stopped: tuple[str, int] | None,
    rows: Sequence[Any],
) -> None:
    """Moves the positions of the grids that a page covered: to their heads, or, where it was full,
    to its last rev.
    """
    highest: dict[str, int] = {}
    for row in rows:
        highest[row["grid"]] = row["rev"]
    for grid in stale_grids:
        if stopped and grid == stopped[0]:
            positions[grid] = positions[grid]._replace(rev=stopped[1])
            return
        # Rows above the head that was read before them belong to the same snapshot, and were sent.
        done = max(feeds[grid].rev, highest.get(grid, 0))
        positions[grid] = positions[grid]._replace(rev=done, snapshot=0)


def _change(row: Any, cipher: FieldCipher) -> str:
    fields = row["fields"]
    if row["kind"] == "held":
        fields = _held_fields(row, cipher)
    elif (row["extra"] is not None or row["personal"]) and not row["deleted"]:
        fields = whole_record(
            cipher, KINDS[row["kind"]], str(row["id"]), fields, row["personal"], row["extra"]
        )
    text = f'{{"kind":"{row["kind"]}","id":"{row["id"]}","grid":"{row["grid"]}","rev":{row["rev"]}'
    if row["gone"]:
        return text + ',"deleted":false,"gone":true,"fields":{}}'
    return (
        f'{text},"deleted":{"true" if row["deleted"] else "false"},"fields":{fields},'
        f'"stamp":"{row["stamp"]:016x}","by":"{row["by"]}","created_by":"{row["created_by"]}"}}'
    )


def _held_fields(row: Any, cipher: FieldCipher) -> str:
    """A notice of a held mutation: why, and the whole mutation."""
    id = str(row["id"])
    notice = json.loads(row["fields"])
    notice["detail"] = localized(held_detail(cipher, id, row["personal"][0]))
    body = held_body(cipher, id, row["extra"], notice["kind"], notice["record"], notice["grid"])
    return showable_json(f'{json.dumps(notice, ensure_ascii=False)[:-1]},"mutation":{body.text}}}')


@cache
def _copies_sql(views: Views) -> str:
    """Count and digest of copies, grids and mailboxes; the conditions are those of the feed."""
    parts = [
        f"SELECT p.grid, r.id, r.rev FROM {kind.name} r JOIN p USING (grid)"
        f" WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND {within_window(kind)}"
        f" AND {shown_in(kind, views)}"
        for kind in KINDS.values()
    ]
    parts += [
        "SELECT h.mailbox, h.id, h.rev FROM held h WHERE h.mailbox = ANY($1::text[])"
        f" AND {_OPEN_HELD}",
        "SELECT a.mailbox, a.id, a.rev FROM article a WHERE a.mailbox = ANY($1::text[])"
        f" AND {_SHOWN_ARTICLE}",
    ]
    every = " UNION ALL ".join(parts)
    every = renumbered(every, _digest_place)
    return f"""
        WITH p AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[]) AS p(grid, view))
        SELECT grid, count(*) AS count,
               bit_xor(('x' || encode(substr(sha256(uuid_send(id) || int8send(rev)), 1, 8),
               'hex'))::bit(64)) AS digest
        FROM ({every}) AS live GROUP BY grid
    """


# The conditions count their parameters as in the feed; here they stand closer together.
_DIGEST_PLACES = {13: 3, 15: 8, 16: 9, 6: 4, 7: 5, 8: 6, 9: 7}


def _digest_place(number: int) -> int:
    return _DIGEST_PLACES.get(number, number)


async def digests(
    connection: Connection, feeds: Mapping[str, Feed], reader: Reader, now: datetime
) -> dict[str, tuple[int, str]]:
    """`grid -> (count, digest)` of what a first pull would give now."""
    windows = windows_on(local_day(now))
    views = [feed.view for feed in feeds.values()]
    parts = () if WHOLE_GRID.issuperset(views) else (reader.staff_code, list(reader.problems))
    rows = await connection.fetch(
        _copies_sql(frozenset(views)),
        list(feeds),
        [view.value for view in views],
        datetime.fromisoformat(windows.articles),
        *window_values(windows),
        *parts,
    )
    return {
        row["grid"]: (row["count"], f"{row['digest'].to_int(signed=False):016x}") for row in rows
    }
