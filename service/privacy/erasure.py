"""A person's erasure: `gridloop erase` and the routes of erasure; what goes and what stays is told
in `docs/erasure.md`.

Every step is a few transactions of its own and does nothing twice: an erasure that was interrupted
is run again, and goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple

import msgspec

from service.audit.audit_log import Act, record_operator
from service.identity.queries import cadre as cadre_row
from service.kit.database import Connection, Database, retry_on_conflict
from service.kit.encryption_queries import cipher_of
from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, Problem
from service.kit.settings import Settings
from service.privacy import erasure_queries as sql
from service.privacy import erasure_steps as steps
from service.privacy.erasure_remains import Remains, remains_of_cadre, remains_of_household
from sync_protocol.records import HOUSEHOLD
from sync_protocol.texts import Text, Word

Counts = Mapping[str, int]
WORDS = {"household": HOUSEHOLD.word, "cadre": Word("cadre", "干部")}


# What an erasure removes, as people are told.
LABELS = {
    str(text): text
    for text in (
        *(
            Text("households"),
            Text("visits"),
            Text("problems"),
            Text("steps"),
            Text("conflicts"),
            Text("held mutations"),
        ),
        *(Text("mutations in the log"), Text("kept answers"), Text("sealed summaries")),
        *(
            Text("accounts"),
            Text("sessions of browsers"),
            Text("posts ended"),
            Text("sign-ins"),
            Text("second factors"),
            Text("recovery codes"),
        ),
        *(Text("counted attempts"), Text("devices")),
        *(Text("values of imports"), Text("results of jobs")),
    )
}


class Asked(NamedTuple):
    """What is to be erased (`kind`: household or cadre; `subject`: its id or staff code), by whom
    and why."""

    kind: str
    subject: str
    reason: str
    asked_by: str


def operators_act(asked: Asked, now: datetime) -> Act:
    """The line in the trail of an erasure by the command line."""
    return partial(record_operator, at=now, action=f"{asked.kind}-erased", subject=asked.subject)


class Done(msgspec.Struct):
    """What came of it: `removed`: what went -> how many; `repeated`: it had been erased before, and
    nothing had come since."""

    kind: str
    subject: str
    begun_at: datetime
    completed_at: datetime | None
    removed: dict[str, int]
    remains: list[Remains]
    repeated: bool = False


class _NotForGood(Exception):
    """Ends the transaction of a dry run, in which nothing happens."""


class Erasing(NamedTuple):
    """An erasure at work: over which database, at what moment, for good or to see what would go."""

    database: Database
    settings: Settings
    now: datetime
    dry_run: bool = False

    async def transact(self, work: steps.Work) -> Counts:
        """Does some work in a transaction, anew when it met another; a dry run leaves nothing
        behind."""
        found: Counts = {}

        async def once() -> None:
            nonlocal found
            async with self.database.transaction() as connection:
                found = await work(connection)
                if self.dry_run:
                    raise _NotForGood

        with suppress(_NotForGood):
            await retry_on_conflict(once)
        return found


async def erase(at: Erasing, asked: Asked, act: Act | None = None) -> Done:
    """Erases a person's data, or goes on with it; once it is done, what has come since. `act`: how
    it is noted in the trail.

    Raises `Problem` when there is no such person, when somebody is at it just now, or when the
    reason names what is to be erased.
    """
    async with at.database.reading() as connection:
        await _refuse(connection, at, asked)
        known = await sql.erasure(connection, asked.kind, asked.subject)
    async with at.database.alone_with(f"gridloop erasure {asked.kind} {asked.subject}") as free:
        if not free:
            raise Problem(
                NOT_NOW,
                Text(
                    "The {kind} {id} is being erased just now; ask again in a minute.",
                    kind=WORDS[asked.kind],
                    id=asked.subject,
                ),
            )
        if at.dry_run:
            return await _answer(
                at,
                asked,
                await _all_steps(at, asked, []),
                known is not None and known["completed_at"] is not None,
            )
        if known is not None and known["completed_at"] is not None:
            trial = at._replace(dry_run=True)
            found = await _all_steps(trial, asked, [])
            if not any(count for what, count in found.items() if what != steps.MADE_ANEW):
                return await _answer(at, asked, None, repeated=True)

        async def begin(connection: Connection) -> Counts:
            await sql.begin(
                connection, asked.kind, asked.subject, asked.reason, asked.asked_by, at.now
            )
            return await _note(act, connection)

        await at.transact(begin)
        async with at.database.reading() as connection:
            row = await sql.erasure(connection, asked.kind, asked.subject)
        assert row is not None
        await _all_steps(at, asked, msgspec.json.decode(row["done"]))
        async with at.database.transaction() as connection:
            await sql.complete(connection, asked.kind, asked.subject, at.now)
    return await _answer(at, asked, None)


async def resume_unfinished(at: Erasing) -> int:
    """Finishes erasures that were interrupted; how many. One that somebody is at is left to
    them.
    """
    async with at.database.reading() as connection:
        rows = await sql.unfinished(connection)
    done = 0
    for row in rows:
        try:
            await erase(at, Asked(row["kind"], row["subject"], row["reason"], row["asked_by"]))
            done += 1
        except Problem as problem:
            if problem.type is not NOT_NOW:
                raise
    return done


async def _note(act: Act | None, connection: Connection) -> Counts:
    if act is not None:
        await act(connection)
    return {}


async def _refuse(connection: Connection, at: Erasing, asked: Asked) -> None:
    if asked.kind == "household":
        known = await sql.grid_of_household(connection, asked.subject) is not None
    else:
        known = await cadre_row(connection, asked.subject) is not None
    if not known:
        raise Problem(
            NOT_FOUND, Text("There is no {kind} ‘{id}’.", kind=WORDS[asked.kind], id=asked.subject)
        )
    if asked.kind == "cadre" and await sql.is_last_administrator(connection, asked.subject, at.now):
        raise Problem(
            NOT_NOW,
            Text(
                "‘{id}’ is the last administrator of a unit, and without one nobody gives"
                " passwords there. Give somebody else a post"
                " as administrator first.",
                id=asked.subject,
            ),
        )
    cipher = await cipher_of(connection, at.settings)
    if any(
        text in asked.reason
        for text in await steps.told_by(connection, cipher, asked.kind, asked.subject)
    ):
        raise Problem(
            INVALID,
            Text(
                "reason names what is to be erased of the {kind}, and is kept; say it without name"
                " and number.",
                kind=WORDS[asked.kind],
            ),
        )


async def _all_steps(at: Erasing, asked: Asked, done: Sequence[str]) -> dict[str, int]:
    """Goes through the steps that are not done; what they removed."""
    removed: dict[str, int] = {}
    make = steps.of_household if asked.kind == "household" else steps.of_cadre
    for step, works in make(at.settings, asked.subject, asked.asked_by, at.now).items():
        if step in done:
            continue
        async for work in works(at.database):
            for what, count in (await at.transact(partial(_kept, at, asked, work))).items():
                removed[what] = removed.get(what, 0) + count
        if not at.dry_run:
            async with at.database.transaction() as connection:
                await sql.keep_step(connection, asked.kind, asked.subject, step)
    return removed


async def _kept(at: Erasing, asked: Asked, work: steps.Work, connection: Connection) -> Counts:
    """Does a part of a step, and keeps in the same transaction how much it removed."""
    removed = await work(connection)
    if not at.dry_run and any(removed.values()):
        await sql.add_removed(connection, asked.kind, asked.subject, removed)
    return removed


async def _answer(at: Erasing, asked: Asked, would: Counts | None, repeated: bool = False) -> Done:
    async with at.database.reading() as connection:
        row = await sql.erasure(connection, asked.kind, asked.subject)
        if asked.kind == "household":
            remains = await remains_of_household(connection, at.settings, asked.subject, at.now)
        else:
            remains = remains_of_cadre(at.settings)
    kept: dict[str, int] = {} if row is None else msgspec.json.decode(row["removed"])
    removed = kept if would is None else would
    completed = None if row is None or would is not None else row["completed_at"]
    begun = at.now if row is None else row["begun_at"]
    return Done(asked.kind, asked.subject, begun, completed, {**removed}, remains, repeated)
