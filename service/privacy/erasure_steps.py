"""The steps of an erasure. Each is made of parts, every one a transaction that does nothing when it
is done again."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from service.jobs.queries import drop_results
from service.kit.database import Connection, Database
from service.kit.encrypted_values import answer_place, cadre_phone
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.privacy import erasure_queries as sql
from service.privacy.erasing_records import SYSTEM, Erasure, erase_records
from service.privacy.queries import cadre_record
from service.records.queries import load
from service.writes import erased, erased_queries
from sync_protocol.ids import server_device_id
from sync_protocol.kinds import Kind
from sync_protocol.records import ERASED, HOUSEHOLD, KINDS

_AT_ONCE = 200
# What jobs make of what is there, such as ledgers: that it goes says nothing of the person.
MADE_ANEW = "results of jobs"
Work = Callable[[Connection], Awaitable[Mapping[str, int]]]
# The parts of a step, found as it goes on.
Step = Callable[[Database], AsyncIterator[Work]]


async def told_by(
    connection: Connection, cipher: FieldCipher, kind: str, subject: str
) -> list[str]:
    """The texts by which a person is known: name, phone, address."""
    if kind == HOUSEHOLD.name:
        stored = (await load(connection, HOUSEHOLD, [subject], cipher)).get(subject)
        found = (
            [stored.record.fields.get(name) for name in ("head_name", "phone", "address")]
            if stored
            else []
        )
    else:
        row = await cadre_record(connection, subject)
        found = [row["name"], cadre_phone(cipher, row)] if row else []
    # A text of one letter is in too many others.
    return [str(text) for text in found if text and len(text) > 1 and text not in (ERASED, subject)]


def of_household(settings: Settings, subject: str, by: str, now: datetime) -> dict[str, Step]:
    """The steps for a household, by name: first the record, from which no copy is made any more
    after that."""
    erasure = Erasure(settings, subject, by, now, {})
    found = {
        f"{kind} records": partial(_records, erasure, KINDS[kind])
        for kind in ("household", "visit", "problem", "step")
    }
    return {
        **found,
        "conflicts": partial(_by_kind, erasure, _erase_conflicts),
        "held mutations": partial(_held, erasure),
        "mutation log": partial(_by_kind, erasure, _erase_lines),
        "kept answers": partial(_answers, erasure),
        "sealed summaries": partial(_seals, erasure),
        "imports": partial(_imports, erasure, HOUSEHOLD.name),
        MADE_ANEW: _results,
    }


def of_cadre(settings: Settings, subject: str, by: str, now: datetime) -> dict[str, Step]:
    """The steps for a cadre, by name."""
    erasure = Erasure(settings, subject, by, now, {})
    return {
        "account": partial(_account, erasure),
        "sign-ins": partial(_sign_ins, erasure),
        "devices": partial(_devices, erasure),
        "kept answers": partial(_answers_about_cadre, erasure),
        "imports": partial(_imports, erasure, "person"),
        MADE_ANEW: _results,
    }


# ------------------------------------------------------------------------------------------ records


async def _ids(erasure: Erasure, database: Database) -> dict[str, list[str]]:
    """The ids of the household's records; looked for once, and after the household is marked as
    erased: from then on what is not known of here is held."""
    if not erasure.ids:
        async with database.reading() as connection:
            erasure.ids.update(await sql.records_about(connection, erasure.subject))
    return erasure.ids


def _some(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[begin : begin + _AT_ONCE] for begin in range(0, len(ids), _AT_ONCE)]


async def _records(erasure: Erasure, kind: Kind, database: Database) -> AsyncIterator[Work]:
    every = [erasure.subject] if kind is HOUSEHOLD else (await _ids(erasure, database))[kind.name]
    for ids in _some(every):
        yield partial(erase_records, erasure, kind, ids)


# -------------------------------------------------------------------- the log and what goes with it


# What is done to some records of a kind.
OfKind = Callable[[Erasure, str, Sequence[str], Connection], Awaitable[Mapping[str, int]]]


async def _by_kind(erasure: Erasure, work: OfKind, database: Database) -> AsyncIterator[Work]:
    for kind, every in (await _ids(erasure, database)).items():
        for ids in _some(every):
            yield partial(work, erasure, kind, ids)


async def _erase_conflicts(
    erasure: Erasure, kind: str, ids: Sequence[str], connection: Connection
) -> Mapping[str, int]:
    cipher = await cipher_of(connection, erasure.settings)
    return {
        "conflicts": await erased.erase_conflicts(
            connection, cipher, kind, ids, erasure.by, erasure.now
        )
    }


async def _erase_lines(
    erasure: Erasure, kind: str, ids: Sequence[str], connection: Connection
) -> Mapping[str, int]:
    cipher = await cipher_of(connection, erasure.settings)
    rows = await erased_queries.lines_of(connection, kind, ids)
    # What the erasure itself has just written is none of what there was.
    own = server_device_id(SYSTEM)
    await erased.erase_lines(connection, cipher, [row for row in rows if row["device"] == own])
    others = [row for row in rows if row["device"] != own]
    return {"mutations in the log": await erased.erase_lines(connection, cipher, others)}


async def _held(erasure: Erasure, database: Database) -> AsyncIterator[Work]:
    """Looks into everything that is held: only the content says whom it is about."""
    ids = await _ids(erasure, database)
    named = {id for some in ids.values() for id in some}
    last: list[str] = [erased_queries.FIRST_ID]

    async def work(after: str, connection: Connection) -> Mapping[str, int]:
        cipher = await cipher_of(connection, erasure.settings)
        rows = await erased_queries.lock_held_after(connection, after, _AT_ONCE)
        done = 0
        for row in rows:
            if erased.names_any(cipher, row, named):
                done += await erased.erase_held(connection, cipher, row, erasure.by, erasure.now)
        last[:] = [row["id"] for row in rows[_AT_ONCE - 1 :]]
        return {"held mutations": done}

    while last:
        yield partial(work, last[0])


# -------------------------------------------------------------------------------- answers and seals


async def _imports(erasure: Erasure, kind: str, database: Database) -> AsyncIterator[Work]:
    """By what an import knows a household again, and what it was before one."""

    async def work(connection: Connection) -> Mapping[str, int]:
        gone = await sql.forget_imports(connection, kind, erasure.subject)
        return {"values of imports": gone} if gone else {}

    yield work


async def _results(database: Database) -> AsyncIterator[Work]:
    """What jobs have made, whosever it is: a ledger may name anybody, and can be made anew. It is
    the last step, so that what is made from now on is made from what the others have left.
    """

    async def work(connection: Connection) -> Mapping[str, int]:
        gone = await drop_results(connection)
        return {MADE_ANEW: gone} if gone else {}

    yield work


async def _answers(erasure: Erasure, database: Database) -> AsyncIterator[Work]:
    ids = await _ids(erasure, database)
    every = [id for some in ids.values() for id in some]
    async with database.reading() as connection:
        named = [
            *every,
            *await sql.receipts_of(connection, ids["problem"]),
            *await sql.conflict_ids(connection, every),
        ]
    names = {name.lower() for name in named}
    async for work in _answers_naming(
        erasure, lambda text: any(name in text.lower() for name in names)
    ):
        yield work


async def _answers_about_cadre(erasure: Erasure, database: Database) -> AsyncIterator[Work]:
    # A staff code may be the beginning of another one.
    code = re.compile(rf"(?<![\w.-]){re.escape(erasure.subject)}(?![\w.-])", re.IGNORECASE)
    async for work in _answers_naming(
        erasure, lambda text: code.search(text) is not None, erasure.subject
    ):
        yield work


async def _answers_naming(
    erasure: Erasure, names: Callable[[str], bool], caller: str | None = None
) -> AsyncIterator[Work]:
    last = [("", "")]

    async def work(after: tuple[str, str], connection: Connection) -> Mapping[str, int]:
        cipher = await cipher_of(connection, erasure.settings)
        rows = await sql.lock_answers_after(connection, after, _AT_ONCE)
        done = 0
        for row in rows:
            place = answer_place(row["caller"], row["key"])
            text = cipher.shown(place, row["body"])
            if text != erased.ANSWER and (row["caller"] == caller or names(text)):
                await sql.write_answer(
                    connection, row["caller"], row["key"], cipher.encrypt(place, erased.ANSWER)
                )
                done += 1
        last[:] = [(row["caller"], row["key"]) for row in rows[_AT_ONCE - 1 :]]
        return {"kept answers": done}

    while last:
        yield partial(work, last[0])


async def _seals(erasure: Erasure, database: Database) -> AsyncIterator[Work]:
    problems = (await _ids(erasure, database))["problem"]

    async def work(connection: Connection) -> Mapping[str, int]:
        done = 0
        for row in await sql.seals_naming(connection, problems):
            summary = json.loads(row["summary"])
            titles = [
                item
                for item in summary["decisions"]["escalated"]
                if item["id"] in problems and item["title"] != ERASED
            ]
            for item in titles:
                item["title"] = ERASED
            if titles:
                await sql.write_seal(connection, row["id"], json.dumps(summary))
                done += 1
        return {"sealed summaries": done}

    yield work


# ------------------------------------------------------------------------------------------ a cadre


async def _account(erasure: Erasure, database: Database) -> AsyncIterator[Work]:
    async def work(connection: Connection) -> Mapping[str, int]:
        accounts, posts = await sql.clear_cadre(connection, erasure.subject, ERASED, erasure.now)
        return {"accounts": accounts, "posts ended": posts}

    yield work


async def _sign_ins(erasure: Erasure, database: Database) -> AsyncIterator[Work]:
    async def work(connection: Connection) -> Mapping[str, int]:
        return await sql.delete_sign_ins(connection, erasure.subject)

    yield work


async def _devices(erasure: Erasure, database: Database) -> AsyncIterator[Work]:
    async def work(connection: Connection) -> Mapping[str, int]:
        own = server_device_id(erasure.subject)
        return {"devices": await sql.clear_devices(connection, erasure.subject, own, erasure.now)}

    yield work
