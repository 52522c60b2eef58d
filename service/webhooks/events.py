"""What there is to tell, and to whom: without personal data, by ids, units, states and times.

It is found behind the writes, never within them: changes of problems by the revisions of each grid
(promise: whoever sees a head sees all below it), what is overdue, closed or published by what the
tables say and was not told. Each event has a key of its own, and is kept with its deliveries and
the cursor in one transaction: so none is lost or kept twice, wherever a process dies.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

from service.kit.database import Connection, Database, Row
from service.organisation.tree import Tree
from service.organisation.trees import current_tree
from service.webhooks import event_queries, queries
from service.webhooks.bodies import body_of
from sync_protocol.ids import NAMESPACE
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import local_day

PROBLEM, REQUEST, ESCALATED, OVERDUE, CLOSED, PUBLISHED, TEST = (
    "problem.changed",
    "request.changed",
    "problem.escalated",
    "problem.overdue",
    "period.closed",
    "article.published",
    "webhook.test",
)
# What can be asked for; a test is sent by hand.
EventType = Literal[
    "problem.changed",
    "request.changed",
    "problem.escalated",
    "problem.overdue",
    "period.closed",
    "article.published",
]
TYPES: tuple[str, ...] = get_args(EventType)
_FOUND_BY_KEY = (OVERDUE, CLOSED, PUBLISHED)
GRIDS_AT_ONCE = 200
EVENTS_AT_ONCE = 500
# What happened longer ago is not told any more; events are kept for longer than that.
TOLD_FOR = timedelta(days=30)
KEPT_FOR = timedelta(days=60)


class Event(NamedTuple):
    """Something that has happened in or to a unit. `client`, `receipt`: the app whose request it is
    about.
    """

    key: str
    type: str
    unit: str
    at: datetime
    data: Mapping[str, Any]
    client: str | None = None
    receipt: str | None = None

    @property
    def id(self) -> str:
        """The same for the same event, whenever and wherever it is found."""
        return str(uuid.uuid5(NAMESPACE, f"webhook {self.key}"))


async def collect(database: Database, now: datetime) -> int:
    """Keeps all events that nobody was told of yet, with their deliveries; how many."""
    count = 0
    while True:
        async with database.transaction(bookkeeping=True) as connection:
            if not await event_queries.alone(connection):
                return count
            webhooks = await queries.active(connection)
            if not webhooks:
                return count
            tree = await current_tree(connection)
            found, more = await _find(connection, webhooks, now)
            count += await _keep(connection, found, webhooks, tree, now)
        if not more:
            return count


async def clear(database: Database, now: datetime) -> None:
    """Deletes events, and what became of them, when they are old."""
    while True:
        async with database.transaction(bookkeeping=True) as connection:
            before = now - KEPT_FOR
            if await event_queries.delete_old_events(connection, before, EVENTS_AT_ONCE) == 0:
                return


async def _find(
    connection: Connection, webhooks: Sequence[Row], now: datetime
) -> tuple[list[Event], bool]:
    """Some of what was not told yet, and whether there may be more."""
    after = max(min(row["since"] for row in webhooks), now - TOLD_FOR)
    grids = await event_queries.grown(connection, GRIDS_AT_ONCE)
    found: list[Event] = []
    if grids:
        names, seen, heads = ([row[key] for row in grids] for key in ("grid", "seen", "head"))
        for row in await event_queries.changed_cases(connection, names, seen, heads):
            found += _of_change(row, now)
        await event_queries.advance(connection, names, heads)
    overdue = await event_queries.overdue_cases(connection, after, now, EVENTS_AT_ONCE)
    seals = await event_queries.seals(connection, after, EVENTS_AT_ONCE)
    articles = await event_queries.articles(connection, after, EVENTS_AT_ONCE)
    found += [_of_overdue(row) for row in overdue]
    found += [_of_seal(row) for row in seals]
    found += [_of_article(row) for row in articles]
    full = any(len(rows) == EVENTS_AT_ONCE for rows in (overdue, seals, articles))
    return found, full or len(grids) == GRIDS_AT_ONCE


def _of_change(row: Row, now: datetime) -> list[Event]:
    place = f"{row['problem']} {row['grid']} {row['rev']}"
    about = (row["grid"], now, _case(row), row["client"], row["receipt"])
    found = [Event(f"changed {place}", PROBLEM, *about)]
    if row["client"] is not None:
        found.append(Event(f"request {place}", REQUEST, *about))
    if row["escalates"] and row["escalated"]:
        key = f"escalated {row['problem']} {row['escalated']}"
        found.append(Event(key, ESCALATED, *about))
    return found


def _of_overdue(row: Row) -> Event:
    key = f"overdue {row['problem']} {int(row['due'].timestamp())}"
    return Event(key, OVERDUE, row["grid"], row["due"], _case(row), row["client"], row["receipt"])


def _of_seal(row: Row) -> Event:
    data = {"unit": row["unit"], "period": row["span"], "closed_at": _text(row["sealed_at"])}
    return Event(f"closed {row['id']}", CLOSED, row["unit"], row["sealed_at"], data)


def _of_article(row: Row) -> Event:
    data = {
        "article": row["id"],
        "unit": row["unit"],
        "kind": row["kind"],
        "published_at": _text(row["published_at"]),
    }
    return Event(f"article {row['id']}", PUBLISHED, row["unit"], row["published_at"], data)


def _case(row: Row) -> dict[str, Any]:
    data = {name: row[name] for name in ("problem", "grid", "state", "severity", "duty")}
    return data | {
        "category": row["category"],
        "due": _text(row["due"]),
        "raised_at": _text(row["raised_at"]),
        "resolved_at": _text(row["resolved_at"]),
        "satisfied": row["satisfied"],
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else canonical_moment(moment)


async def _keep(
    connection: Connection, found: list[Event], webhooks: Sequence[Row], tree: Tree, now: datetime
) -> int:
    """Keeps events that somebody is to be told of, and lets them wait for each; those that are
    found by not being kept are kept all the same.
    """
    wanted = [
        event
        for event in found
        if event.type in _FOUND_BY_KEY or any(_is_for(hook, event, tree) for hook in webhooks)
    ]
    if not wanted:
        return 0
    rows = [
        (event.id, *event[:4], json.dumps(event.data), event.client, event.receipt)
        for event in wanted
    ]
    new = {*await event_queries.add_events(connection, rows)}
    names = await event_queries.unit_names(connection, sorted({event.unit for event in wanted}))
    waiting = [
        (hook["id"], event.id, event.type, body_of(hook, event, names.get(event.unit, event.unit)))
        for event in wanted
        for hook in webhooks
        if event.key in new and _is_for(hook, event, tree)
    ]
    if waiting:
        await queries.add_deliveries(connection, waiting, now)
    return len(new)


def _is_for(hook: Row, event: Event, tree: Tree) -> bool:
    """Whether a webhook is to be told of an event: of its kind, in its unit and all below, of its
    app's requests only, and not of what was before it.
    """
    if event.type not in hook["events"] or event.at < hook["since"]:
        return False
    if event.type == REQUEST and hook["app"] not in (None, event.client):
        return False
    day = local_day(event.at)
    if tree.covers(hook["unit"], event.unit, day):
        return True
    # An article of a unit above is for all below it.
    return event.type == PUBLISHED and tree.covers(event.unit, hook["unit"], day)
