"""Clears what was kept for its time; `gridloop purge` runs it, daily."""

import json
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

import asyncpg

from service.audit import queries as audit
from service.audit.sign_ins import note_counted
from service.identity.rights import PostHeld
from service.kit.database import Database, retry_on_conflict
from service.kit.database_limits import UNLIMITED
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.privacy import queries
from service.privacy.erasure import Erasing, resume_unfinished
from service.privacy.erasure_queries import unfinished
from service.writes.log_blocks import may_be_located, rewritten
from service.writes.log_queries import rewrite_blocks
from service.writes.server_writes import write_as_server
from sync_protocol.messages import Mutation, canonical_json
from sync_protocol.texts import Text

AT_ONCE = 500
BLOCKS_AT_ONCE = 100
# Half of what the city visits in a day; looking for them reads all visits that are older.
AT_A_LOOK = 20_000
_SYSTEM = "purge"
# After so many days an import cannot be taken back any more.
_DAYS = {queries.REFRESH_TOKENS: 30, queries.IMPORT_EFFECTS: 90}
# What was cleared, older than what, how many.
Purged: TypeAlias = tuple[Text, Text, int]
PLACES = Text("locations of visits")
TRAIL = Text("lines of the trail")
TRAIL_KEPT = Text(
    "lines of the trail: kept, for this role may not delete them; set GRIDLOOP_OWNER_DATABASE_URL"
)


async def purge(
    database: Database, settings: Settings, now: datetime, dry_run: bool = False
) -> list[Purged]:
    """What was cleared, or would be: a name, the age in words, how many."""
    places = now - timedelta(days=settings.location_days)
    age = _days(settings.location_days)
    report: list[Purged] = []
    if dry_run:
        async with database.reading() as connection:
            report.append((PLACES, age, await queries.count_located(connection, places)))
    else:
        report.append((PLACES, age, await _clear_places(database, settings, places, now)))
    report.append(
        (
            Text("locations in the mutation log"),
            age,
            await _clear_logged_places(database, settings, places, dry_run),
        )
    )
    report.append(await _purge_trail(settings, now, dry_run))
    if not dry_run:
        await note_counted(database, now)  # before the windows go that hold the counts
    for what in queries.OLD:
        days = _DAYS.get(what, 1)
        before = now - timedelta(days=days)
        async with database.transaction() as connection:
            count = await (queries.count_old if dry_run else queries.delete_old)(
                connection, what, before
            )
        report.append((what, _days(days), count))
    report.append(
        (
            Text("interrupted erasures, finished"),
            Text("any age"),
            await _resume_erasures(database, settings, now, dry_run),
        )
    )
    return report


async def _resume_erasures(
    database: Database, settings: Settings, now: datetime, dry_run: bool
) -> int:
    if dry_run:
        async with database.reading() as connection:
            return len(await unfinished(connection))
    return await resume_unfinished(Erasing(database, settings, now))


def _days(days: int) -> Text:
    return Text("1 day") if days == 1 else Text("{days} days", days=days)


async def _purge_trail(settings: Settings, now: datetime, dry_run: bool) -> Purged:
    """Deletes old lines of the trail as the owner of the tables, or counts them: the service's own
    role can only add to it.
    """
    before, age = now - timedelta(days=settings.audit_days), _days(settings.audit_days)
    connection = await asyncpg.connect(
        settings.owner_url, server_settings=UNLIMITED.server_settings()
    )
    try:
        if dry_run:
            return TRAIL, age, await audit.count_older(connection, before)
        return TRAIL, age, await audit.delete_older(connection, before)
    except asyncpg.InsufficientPrivilegeError:
        return TRAIL_KEPT, age, 0
    finally:
        await connection.close()


async def _clear_logged_places(
    database: Database, settings: Settings, before: datetime, dry_run: bool
) -> int:
    """Takes the locations out of old lines of the mutation log, or counts them."""
    return await _clear_in_blocks(database, settings, before, dry_run) + await _clear_in_lines(
        database, before, dry_run
    )


def _without_place(content: bytes | str) -> str | None:
    """The body of a mutation of a visit without its location; None for one that has none."""
    body = json.loads(content)
    fields = body["fields"]
    places = [fields]
    if isinstance(
        fields.get("unreadable"), dict
    ):  # a mutation that could not be read is kept within its own
        places.append(fields["unreadable"].get("fields"))
    found = [
        some.pop("location", None)
        for some in places
        if body["kind"] == "visit" and isinstance(some, dict)
    ]
    return canonical_json(body) if any(isinstance(place, dict) for place in found) else None


async def _clear_in_blocks(
    database: Database, settings: Settings, before: datetime, dry_run: bool
) -> int:
    def change(_: int, content: bytes) -> bytes | None:
        body = _without_place(content) if may_be_located(content) else None
        return None if body is None else body.encode()

    done = 0
    after = queries.FIRST_BLOCK
    while True:
        async with database.transaction() as connection:
            cipher = await cipher_of(connection, settings)
            rows = await queries.lock_located_blocks(connection, before, after, BLOCKS_AT_ONCE)
            blocks = []
            for row in rows:
                after = (row["device"], row["received_at"], row["first_seq"])
                cleared = rewritten(row, change, cipher)
                if cleared is not None:
                    blocks.append(cleared[0]._replace(located=False))
                    done += len(cleared[1])
            if blocks and not dry_run:
                await rewrite_blocks(connection, blocks)
        if len(rows) < BLOCKS_AT_ONCE:
            return done


async def _clear_in_lines(database: Database, before: datetime, dry_run: bool) -> int:
    """The same in lines that hold their bodies themselves, as the previous release wrote them."""
    done = 0
    after = queries.FIRST_LINE
    while True:
        async with database.transaction() as connection:
            rows = await queries.logged_places(connection, before, after, AT_ONCE)
            found = []
            for *key, text in rows:
                after = (key[0], key[1], key[2])
                body = _without_place(text)
                if body is not None:
                    found.append((after, body))
            if found and not dry_run:
                await queries.write_logged(connection, found)
        done += len(found)
        if len(rows) < AT_ONCE:
            return done


async def _clear_places(
    database: Database, settings: Settings, before: datetime, now: datetime
) -> int:
    """Clears the locations of old visits, through the one write path: copies that still hold them
    hear of it.
    """
    done = 0
    while True:
        async with database.reading() as connection:
            found = await queries.located_visits(connection, before, AT_A_LOOK)
        for begin in range(0, len(found), AT_ONCE):
            done += await retry_on_conflict(
                partial(
                    _clear_some, database, settings, found[begin : begin + AT_ONCE], before, now
                )
            )
        if len(found) < AT_A_LOOK:
            return done


async def _clear_some(
    database: Database, settings: Settings, ids: list[str], before: datetime, now: datetime
) -> int:
    async with database.transaction() as connection:
        rows = await queries.still_located(connection, ids)
        mutations = [
            Mutation(0, "visit", row["id"], row["grid"], base=row["rev"], fields={"location": None})
            for row in rows
        ]
        await write_as_server(
            connection, settings, _SYSTEM, PostHeld("admin", "", before, None), mutations, now
        )
        return len(mutations)
