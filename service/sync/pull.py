"""The pull: what a device has not seen of the grids in its scope, in order, a page at a time.

For every grid the records above the cursor's rev are read in the order of rev, in one statement,
hence in one snapshot: because each grid's revisions become visible in order, nothing at or below
the last rev of a page can appear later. While a grid is sent for the first time the windows of
promise 13 apply, up to the head at which that first pull began.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from service.identity.views import WHOLE_GRID
from service.kit.database import Connection
from service.kit.encrypted_values import held_body, held_detail, whole_record
from service.kit.field_cipher import FieldCipher
from service.kit.localization import localized
from service.sync.feed_sql import copies_sql, count_sql, feed_sql, window_values
from service.sync.pull_plan import Feed, Page, PullPlan, Reader
from sync_protocol.cursor import Position
from sync_protocol.messages import PAGE_BYTES, showable_json
from sync_protocol.periods import local_day
from sync_protocol.records import KINDS
from sync_protocol.windows import windows_on


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


async def _count_parts(
    connection: Connection, plan: PullPlan, reader: Reader, now: datetime
) -> int:
    grids = plan.stale_parts
    views = [plan.feeds[grid].view for grid in grids]
    count: int = await connection.fetchval(
        count_sql(frozenset(views)),
        grids,
        [view.value for view in views],
        [plan.positions[grid].rev for grid in grids],
        *window_values(windows_on(local_day(now))),
        reader.staff_code,
        list(reader.problems),
        local_day(now).isoformat(),
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
    parts = () if WHOLE_GRID.issuperset(views) else _reader(reader, now)
    return await connection.fetch(
        feed_sql(frozenset(views)),
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


def _reader(reader: Reader, now: datetime) -> tuple[str, list[str], str]:
    """By what a part of a grid is shown: the cadre, the problems in their hands, and the day."""
    return reader.staff_code, list(reader.problems), local_day(now).isoformat()


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


async def digests(
    connection: Connection, feeds: Mapping[str, Feed], reader: Reader, now: datetime
) -> dict[str, tuple[int, str]]:
    """`grid -> (count, digest)` of what a first pull would give now."""
    windows = windows_on(local_day(now))
    views = [feed.view for feed in feeds.values()]
    parts = () if WHOLE_GRID.issuperset(views) else _reader(reader, now)
    rows = await connection.fetch(
        copies_sql(frozenset(views)),
        list(feeds),
        [view.value for view in views],
        datetime.fromisoformat(windows.articles),
        *window_values(windows),
        *parts,
    )
    return {
        row["grid"]: (row["count"], f"{row['digest'].to_int(signed=False):016x}") for row in rows
    }
