"""The pull: what a device has not seen of the grids in its scope, in order, a page at a time.

For every grid the records above the cursor's rev are read in the order of rev, in one statement, hence in one snapshot: because each grid's
revisions become visible in order, nothing at or below the last rev of a page can appear later. While a grid is sent for the first time
the windows of promise 13 apply, up to the head at which that first pull began.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec

from service.database import Connection
from service.localization import shown
from service.records.columns import MOMENT_JSON, fields_json
from service.vault import Vault
from sync_protocol.cursor import Cursor, Position
from sync_protocol.messages import PAGE_BYTES, showable_json
from sync_protocol.periods import local_day
from sync_protocol.records import ARTICLE_DAYS, KINDS, VISIT, Kind
from sync_protocol.vocabulary import CODE_LENGTH
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
    "step": "NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.problem_id AND c.ended_at < $7)",
    "weekly_analysis": "r.week >= $8",
    "monthly_summary": "r.month >= $9",
}


def within_window(kind: Kind) -> str:
    """SQL that says whether a living record `r` belongs to a first pull."""
    return _WINDOWS.get(kind.name, "true")


def _kind_sql(kind: Kind) -> str:
    within = f"NOT r.deleted AND {within_window(kind)}"
    if kind is not VISIT:
        return _part_sql(kind, f"r.rev > p.rev AND (r.rev > p.snapshot OR ({within}))")
    # Two ranges, of which each is one of the index: of all that a grid ever saw, most lies before the window.
    return (
        _part_sql(kind, f"r.rev > p.rev AND r.rev <= p.snapshot AND {within}")
        + " UNION ALL "
        + _part_sql(kind, "r.rev > greatest(p.rev, p.snapshot)")
    )


def _part_sql(kind: Kind, condition: str) -> str:
    return f"""
        (SELECT '{kind.name}' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by, r.created_by,
               CASE WHEN r.deleted THEN '{{}}'::json ELSE {fields_json(kind, "r")} END AS fields, r.extra
        FROM {kind.name} r
        WHERE r.grid = p.grid AND {condition}
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10 AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    """


@cache
def _feed_sql() -> str:
    parts = " UNION ALL ".join(map(_kind_sql, KINDS.values()))
    return f"""
        SELECT p.grid, f.* FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
             WITH ORDINALITY AS p(grid, rev, snapshot, own_since, place)
        CROSS JOIN LATERAL (
            SELECT * FROM (
                {parts}
                UNION ALL
                (SELECT d.kind, d.id, d.rev, false, true, 0, '', '', '{{}}'::json, NULL
                 FROM departure d WHERE d.grid = p.grid AND d.rev > p.rev AND d.rev > p.snapshot ORDER BY d.rev LIMIT $11)
                UNION ALL
                (SELECT 'held', h.id, h.rev, false, false, h.stamp, h.staff_code, h.staff_code,
                        json_build_object('seq', h.seq, 'kind', h.kind, 'record', h.record, 'grid', h.grid, 'reason', h.reason,
                            'detail', h.detail, 'state', h.state, 'decision', h.decision, 'device', h.device,
                            'mutation', h.body), NULL
                 FROM held h WHERE h.mailbox = p.grid AND h.rev > p.rev AND (h.rev > p.snapshot OR h.state = 'open')
                 ORDER BY h.rev LIMIT $11)
                UNION ALL
                (SELECT 'article', a.id, a.rev, a.state <> 'published', false, 0, a.author, a.author,
                        CASE WHEN a.state = 'published' THEN json_build_object('unit', a.unit, 'kind', a.kind, 'title', a.title,
                            'body', a.body, 'published_at', {MOMENT_JSON.format("a.published_at")}) ELSE '{{}}'::json END, NULL
                 FROM article a WHERE a.mailbox = p.grid AND a.rev > p.rev
                   AND (a.rev > p.snapshot OR (a.state = 'published' AND a.published_at >= $13)) ORDER BY a.rev LIMIT $11)
            ) AS every ORDER BY rev LIMIT $11
        ) AS f
        ORDER BY p.place, f.rev LIMIT $11
    """


async def heads_in_scope(connection: Connection, units: Sequence[str], mailbox: str) -> dict[str, int]:
    """The head revision of every grid under the units, of the mailbox, and of the articles of units above and below."""
    above = {"#" + unit[:length] for unit in units for length in CODE_LENGTH.values() if length < len(unit)}
    rows = await connection.fetch(
        """
        SELECT c.grid, c.rev FROM unnest($1::text[]) AS u(code)
        JOIN counter c ON c.grid >= u.code AND c.grid < u.code || ':'
        UNION ALL SELECT grid, rev FROM counter WHERE grid = ANY($2::text[])
        UNION ALL SELECT c.grid, c.rev FROM unnest($1::text[]) AS u(code)
        JOIN counter c ON c.grid >= '#' || u.code AND c.grid < '#' || u.code || ':'
        ORDER BY grid
        """,
        list(units),
        [mailbox, *sorted(above)],
    )
    return {row["grid"]: row["rev"] for row in rows}


class Road:
    """What lies between a device's cursor and the heads of its scope.

    `own`: the first seq that is new with this request, and the last that the device is known to hold. Own mutations that were applied as
    sent are left out where the device holds the record that they changed: in grids that it had pulled whole before it sent them, and
    records that it has just made. `taken`: how many of the last revisions of a grid are mutations of this request, all applied as sent.
    """

    def __init__(
        self,
        heads: Mapping[str, int],
        cursor: Cursor | None,
        device: str,
        own: tuple[int, int],
        again: Sequence[str] = (),
        taken: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        known = dict(cursor.grids) if cursor else {}
        self.heads = heads
        self.device = device
        self.own = own
        self.dropped = sorted(known.keys() - heads.keys())
        for grid in again:
            known.pop(grid, None)
        self.positions = {grid: known.get(grid) or Position(0, head, 0) for grid, head in heads.items()}
        for grid, position in self.positions.items():
            if position.snapshot or grid not in known:
                self.positions[grid] = position._replace(own_since=own[1] + 1)
        for grid, count in taken.items():
            held = known.get(grid)
            if held and grid in heads and held.rev == heads[grid] - count and not held.snapshot and held.own_since <= own[0]:
                self.positions[grid] = held._replace(rev=heads[grid])
        self.behind = [grid for grid, head in heads.items() if self.positions[grid].rev < head]

    def end(self, changes: Sequence[str] = (), more: bool = False) -> Page:
        """The page that leads to the positions as they stand now."""
        pending = sum(max(0, head - self.positions[grid].rev) for grid, head in self.heads.items())
        return Page(list(changes), self.positions, self.dropped, more, pending)


async def page(connection: Connection, road: Road, limit: int, now: datetime, vault: Vault) -> Page:
    """The next page of a road on which something lies."""
    rows = await _rows(connection, road.behind, road.positions, road.device, road.own, limit, now)
    changes: list[str] = []
    size = 0
    last: tuple[str, int] | None = None
    for row in rows[:limit]:
        text = _change(row, vault)
        size += len(text)
        if changes and size > PAGE_BYTES:
            break
        changes.append(text)
        last = (row["grid"], row["rev"])
    full = len(changes) < len(rows)
    _advance(road.positions, road.heads, road.behind, last if full else None, rows)
    return road.end(changes, full)


async def _rows(
    connection: Connection,
    behind: Sequence[str],
    positions: Mapping[str, Position],
    device: str,
    own: tuple[int, int],
    limit: int,
    now: datetime,
) -> list[Any]:
    windows = windows_on(local_day(now))
    return await connection.fetch(
        _feed_sql(),
        list(behind),
        [positions[grid].rev for grid in behind],
        [positions[grid].snapshot for grid in behind],
        [positions[grid].own_since for grid in behind],
        device,
        *window_values(windows),
        own[1],
        limit + 1,
        own[0],
        now - timedelta(days=ARTICLE_DAYS),
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
    heads: Mapping[str, int],
    behind: Sequence[str],
    stopped: tuple[str, int] | None,
    rows: Sequence[Any],
) -> None:
    """Moves the positions of the grids that a page covered: to their heads, or, where it was full, to its last rev."""
    highest: dict[str, int] = {}
    for row in rows:
        highest[row["grid"]] = row["rev"]
    for grid in behind:
        if stopped and grid == stopped[0]:
            positions[grid] = positions[grid]._replace(rev=stopped[1])
            return
        # Rows above the head that was read before them belong to the same snapshot, and were sent.
        done = max(heads[grid], highest.get(grid, 0))
        positions[grid] = positions[grid]._replace(rev=done, snapshot=0)


def _change(row: Any, vault: Vault) -> str:
    fields = vault.open_json(row["fields"])
    if row["extra"] is not None and not row["deleted"]:
        joint = "," if fields != "{}" else ""
        fields = fields[:-1] + joint + row["extra"][1:]
    if row["kind"] == "held":
        held = json.loads(showable_json(fields))
        fields = json.dumps({**held, "detail": shown(held["detail"])}, ensure_ascii=False)
    text = f'{{"kind":"{row["kind"]}","id":"{row["id"]}","grid":"{row["grid"]}","rev":{row["rev"]}'
    if row["gone"]:
        return text + ',"deleted":false,"gone":true,"fields":{}}'
    return (
        f'{text},"deleted":{"true" if row["deleted"] else "false"},"fields":{fields},'
        f'"stamp":"{row["stamp"]:016x}","by":"{row["by"]}","created_by":"{row["created_by"]}"}}'
    )


@cache
def _copies_sql() -> str:
    parts = " UNION ALL ".join(
        f"SELECT r.grid, r.id, r.rev FROM {kind.name} r WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND {within_window(kind)}"
        for kind in KINDS.values()
    )
    # The windows' conditions count their parameters from $6, as in the feed.
    for index in range(6, 10):
        parts = parts.replace(f"${index}", f"${index - 4}")
    parts += " UNION ALL SELECT a.mailbox, a.id, a.rev FROM article a WHERE a.mailbox = ANY($1::text[])"
    parts += " AND a.state = 'published' AND a.published_at >= $6"
    return f"""
        SELECT grid, count(*) AS count,
               bit_xor(('x' || encode(substr(sha256(uuid_send(id) || int8send(rev)), 1, 8), 'hex'))::bit(64)) AS digest
        FROM ({parts}) AS live GROUP BY grid
    """


async def digests(connection: Connection, grids: Sequence[str], now: datetime) -> dict[str, tuple[int, str]]:
    """`grid -> (count, digest)` of what a first pull would give now."""
    windows = windows_on(local_day(now))
    rows = await connection.fetch(_copies_sql(), list(grids), *window_values(windows), now - timedelta(days=ARTICLE_DAYS))
    return {row["grid"]: (row["count"], f"{row['digest'].to_int(signed=False):016x}") for row in rows}
