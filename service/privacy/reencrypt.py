"""Brings everything encrypted into the present form, by the newest key: `gridloop keys reencrypt`.
May be run again at any time.

A database of the previous release is told first to be written in the present form; once every
transaction that began before has ended, nothing new can come in the old one. Then every place is
gone through, a few hundred rows a transaction, and at last its completion is recorded: from then on
nothing else than the present form is taken for an encrypted value.

What cannot be decrypted stays as it is stored. As long as that is for want of a key, completion is
not recorded.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

from service.identity.one_time_codes import Kept, reencrypted
from service.identity.second_factor import secret_place
from service.imports import keys as import_keys
from service.imports.places import body_place, effect_place
from service.kit import encrypted_values as values
from service.kit.database import Connection, Database, Row, retry_on_conflict
from service.kit.encryption import FieldCipher, Place, State, Undecrypted
from service.kit.encryption_queries import cipher_of, set_state, transactions_under_way
from service.kit.settings import Settings
from service.kit.sql import write
from service.privacy import queries
from service.privacy import reencrypt_queries as sql
from service.writes.erased_queries import LineKey
from service.writes.log_blocks import blocks_of, may_be_located, rewritten
from service.writes.log_queries import insert_blocks, read_bodies, rewrite_blocks
from service.writes.originals import is_plain, original_place
from sync_protocol.records import KINDS, Kind

_AT_ONCE = 500
_BLOCKS_AT_ONCE = 100
_ASKED_EVERY_S = 0.2
Progress = Callable[[str, int], None]


class Outcome(msgspec.Struct):
    """What came of it: how many rows were `changed`; how many values could not be decrypted
    (`lost`), and for want of which keys.
    """

    changed: int = 0
    lost: int = 0
    missing: set[str] = msgspec.field(default_factory=set)
    complete: bool = False


async def reencrypt(
    database: Database,
    settings: Settings,
    progress: Progress = lambda what, done: None,
    give_up: bool = False,
) -> Outcome:
    """Goes through every place. `give_up`: records completion even though keys are missing, whose
    values are shown as the marker then.
    """
    state = await _begin(database, settings)
    if state is not State.COMPLETE:
        await _wait_for_older(database, progress)
    outcome = Outcome(complete=state is State.COMPLETE)
    work = _Work(settings.keyring.cipher(state), outcome)
    for table in TABLES:
        await _go_through(
            database,
            work,
            partial(_table_rows, table),
            _AT_ONCE,
            partial(progress, table.name),
            None,
        )
    await _go_through(
        database, work, _log_rows, _AT_ONCE, partial(progress, "mutation"), queries.FIRST_LINE
    )
    await _go_through(
        database,
        work,
        _block_rows,
        _BLOCKS_AT_ONCE,
        partial(progress, "mutation_body"),
        queries.FIRST_BLOCK,
    )
    if not outcome.complete and (give_up or not outcome.missing):
        async with database.transaction() as connection:
            await set_state(connection, State.COMPLETE)
        outcome.complete = True
    return outcome


async def _begin(database: Database, settings: Settings) -> State:
    async with database.transaction() as connection:
        state = (await cipher_of(connection, settings)).state
        if state is State.COMPATIBLE:
            state = State.WRITING
            await set_state(connection, state)
    return state


async def _wait_for_older(database: Database, progress: Progress) -> None:
    """Waits for transactions that may have read, before it was changed, in which form to write."""
    async with database.reading() as connection:
        older = await transactions_under_way(connection)
        while older:
            progress("transactions that began before", len(older))
            await asyncio.sleep(_ASKED_EVERY_S)
            older &= await transactions_under_way(connection)


class _Work(NamedTuple):
    cipher: FieldCipher
    outcome: Outcome

    def text(self, place: Place, stored: str) -> str:
        """A value of a text column in the present form; as it is if it cannot be decrypted."""
        if self.cipher.is_current(stored):
            return stored
        plain = self.cipher.decrypt(place, stored)
        if isinstance(plain, Undecrypted):
            self.lose(stored)
            return stored
        return self.cipher.encrypt(place, plain)

    def is_current(self, stored: str) -> bool:
        """Whether a value of a JSON column is in the present form, by the newest key."""
        return stored.startswith('"') and self.cipher.is_current(stored[1:])

    def lose(self, stored: str) -> None:
        """Notes a value that cannot be decrypted."""
        self.outcome.lost += 1
        missing = self.cipher.missing_key(stored.strip('"'))
        if missing is not None:
            self.outcome.missing.add(missing)

    def lose_bytes(self, stored: bytes) -> None:
        """The same for bytes, which begin with the name of their key."""
        self.outcome.lost += 1
        kid = stored[:4].hex()
        if self.cipher.keyring.get(kid) is None:
            self.outcome.missing.add(kid)


# One pass: the rows after a place, how many of them were changed, and the place of the last.
_Pass = Callable[[_Work, Connection, Any], Awaitable[tuple[Sequence[Row], int, Any]]]


async def _go_through(
    database: Database,
    work: _Work,
    some: _Pass,
    limit: int,
    progress: Callable[[int], None],
    after: Any,
) -> None:
    """Pass by pass, each a transaction; somebody may edit the rows meanwhile, and does so before or
    after.
    """
    done = 0
    while True:

        async def one(after: Any = after) -> tuple[Sequence[Row], int, Any]:
            async with database.transaction() as connection:
                return await some(work, connection, after)

        rows, changed, after = await retry_on_conflict(one)
        work.outcome.changed += changed
        done += len(rows)
        progress(done)
        if len(rows) < limit:
            return


# -------------------------------------------------------------------- tables with encrypted columns


class Table(NamedTuple):
    """A table with encrypted columns: its key and those columns, with their types; what else is
    `read`; and how a row is made anew.
    """

    name: str
    key: sql.Columns
    columns: sql.Columns
    where: str
    anew: Callable[[_Work, Row], Sequence[str | None]]
    read: Sequence[str] = ()


async def _table_rows(
    table: Table, work: _Work, connection: Connection, after: Row | None
) -> tuple[Sequence[Row], int, Row | None]:
    rows = await sql.lock_encrypted(
        connection,
        table.name,
        table.key,
        (*table.columns, *table.read),
        table.where,
        after,
        _AT_ONCE,
    )
    changed = []
    for row in rows:
        anew = table.anew(work, row)
        if [*anew] != [row[name] for name in table.columns]:
            changed.append((*(row[name] for name in table.key), *anew))
    if changed:
        await sql.write_encrypted(connection, table.name, table.key, table.columns, changed)
    return rows, len(changed), rows[-1] if rows else after


def _records(kind: Kind) -> Table:
    names = kind.personal_names

    def anew(work: _Work, row: Row) -> list[str | None]:
        personal = [
            row[name] and work.text(Place(kind.name, name, row["id"]), row[name]) for name in names
        ]
        return [*personal, _extra(work, kind, row["id"], row["extra"])]

    where = " OR ".join(f"{name} IS NOT NULL" for name in (*names, "extra"))
    return Table(
        kind.name, {"id": "uuid"}, {**dict.fromkeys(names, "text"), "extra": "json"}, where, anew
    )


def _extra(work: _Work, kind: Kind, id: str, stored: str | None) -> str | None:
    if stored is None or work.is_current(stored):
        return stored
    fields, lost = values.unknown_fields(work.cipher, kind, id, stored)
    for part in lost:
        work.lose(part if isinstance(part, str) else "")
    if lost:
        return stored
    return values.encrypted_unknown(work.cipher, kind, id, fields)


def _phone(work: _Work, row: Row) -> list[str | None]:
    return [work.text(values.cadre_place(row["staff_code"]), row["phone"])]


def _signing_key(work: _Work, row: Row) -> list[str | None]:
    return [work.text(Place("signing_key", "private_pem", row["kid"]), row["private_pem"])]


def _second_factor(work: _Work, row: Row) -> list[str | None]:
    return [work.text(secret_place(row["staff_code"]), row["secret"])]


def _code(work: _Work, row: Row) -> list[str | None]:
    stored: str = row["hash"]
    if work.cipher.is_current(stored):
        return [stored]
    anew = reencrypted(work.cipher, Kept(row["staff_code"], row["purpose"]), stored)
    if anew is None:
        work.lose(stored)
    return [anew or stored]


def _answer(work: _Work, row: Row) -> list[str | None]:
    return [work.text(values.answer_place(row["caller"], row["key"]), row["body"])]


def _held(work: _Work, row: Row) -> list[str | None]:
    id, body, detail, waits_for_kind = row["id"], row["body"], row["detail"], row["waits_for_kind"]
    if not work.is_current(body):
        found = values.held_body(work.cipher, id, body, row["kind"], row["record"], row["grid"])
        if found.is_whole:
            body = values.encrypted_json(work.cipher, values.held_place(id), found.text)
            if row["waits_for"] is not None and waits_for_kind is None:
                waits_for_kind = _kind_waited_for(row, json.loads(found.text))
        else:
            work.lose(body)
    place = values.held_place(id, "detail")
    if not work.cipher.is_current(detail):
        plain = work.cipher.try_decrypt(place, detail)
        if plain is None and work.cipher.missing_key(detail) is None and work.cipher.reads_v1:
            plain = detail  # the previous release kept it in plain text
        if plain is None:
            work.lose(detail)
        else:
            detail = work.cipher.encrypt(place, plain)
    return [body, detail, waits_for_kind, _original(work, id, row["original"])]


def _original(work: _Work, id: str, stored: str | None) -> str | None:
    """The original of a held mutation, in hex as PostgreSQL gives it."""
    if stored is None:
        return None
    kept = bytes.fromhex(stored[2:])
    if work.cipher.reads_v1 and is_plain(kept):
        plain: bytes | None = kept
    elif work.cipher.are_bytes_current(kept):
        return stored
    else:
        plain = work.cipher.decrypt_bytes(original_place(id), kept)
    if plain is None:
        work.lose_bytes(kept)
        return stored
    return "\\x" + work.cipher.encrypt_bytes(original_place(id), plain).hex()


def _kind_waited_for(row: Row, body: dict[str, Any]) -> str | None:
    """Of which kind the record is that a mutation waits for."""
    kind = KINDS.get(row["kind"])
    if kind is None:
        return None
    if row["waits_for"] == row["record"]:
        return kind.name
    return next(
        (
            refers
            for name, refers in kind.references
            if body["fields"].get(name) == row["waits_for"]
        ),
        None,
    )


def _conflict(work: _Work, row: Row) -> list[str | None]:
    return [_conflict_value(work, row, column) for column in ("kept", "lost", "value")]


def _conflict_value(work: _Work, row: Row, column: str) -> str | None:
    stored: str | None = row[column]
    kind, field = row["kind"], row["field"]
    if stored is None or not values.is_private(kind, field) or work.is_current(stored):
        return stored
    value = values.conflict_value(
        work.cipher, kind, field, row["record"], row["id"], column, stored
    )
    if isinstance(value, Undecrypted):
        work.lose(stored)
        return stored
    return values.encrypted_conflict_value(work.cipher, kind, field, row["id"], column, value)


def _import_key(work: _Work, row: Row) -> list[str | None]:
    """By what an import knows a household again: the index, too, is made anew."""
    cipher = work.cipher
    content, blind = bytes.fromhex(row["content"][2:]), bytes.fromhex(row["blind"][2:])
    if cipher.are_bytes_current(content) and cipher.keyring.is_index_current(blind):
        return [row["content"], row["blind"]]
    stored = import_keys.StoredKey(row["scope"], blind, row["household"], content)
    key = import_keys.opened(cipher, stored)
    if key is None:
        work.lose_bytes(content)
        return [row["content"], row["blind"]]
    anew = import_keys.stored(cipher, key, row["household"])
    return ["\\x" + anew.content.hex(), "\\x" + anew.blind.hex()]


def _import_body(place: Callable[[Row], Place]) -> Callable[[_Work, Row], list[str | None]]:
    def anew(work: _Work, row: Row) -> list[str | None]:
        body = bytes.fromhex(row["body"][2:])
        if work.cipher.are_bytes_current(body):
            return [row["body"]]
        plain = work.cipher.decrypt_bytes(place(row), body)
        if plain is None:
            work.lose_bytes(body)
            return [row["body"]]
        return ["\\x" + work.cipher.encrypt_bytes(place(row), plain).hex()]

    return anew


TABLES = (
    *map(_records, KINDS.values()),
    Table("cadre", {"staff_code": "text"}, {"phone": "text"}, "phone <> ''", _phone),
    Table("signing_key", {"kid": "text"}, {"private_pem": "text"}, "true", _signing_key),
    Table("second_factor", {"staff_code": "text"}, {"secret": "text"}, "true", _second_factor),
    Table(
        "one_time_code",
        {"staff_code": "text", "purpose": "text", "hash": "text"},
        {"hash": "text"},
        "true",
        _code,
    ),
    Table(
        "idempotency",
        {"caller": "text", "key": "text"},
        {"body": "text"},
        "body IS NOT NULL",
        _answer,
    ),
    Table(
        "held",
        {"id": "uuid"},
        {"body": "json", "detail": "text", "waits_for_kind": "text", "original": "bytea"},
        "true",
        _held,
        read=("kind", "record", "grid", "waits_for"),
    ),
    Table(
        "conflict",
        {"id": "uuid"},
        {"kept": "json", "lost": "json", "value": "jsonb"},
        "true",
        _conflict,
        read=("kind", "field", "record"),
    ),
    Table(
        "import_key",
        {"id": "uuid"},
        {"content": "bytea", "blind": "bytea"},
        "true",
        _import_key,
        read=("scope", "household"),
    ),
    Table(
        "import_effect",
        {"import": "uuid", "kind": "text", "key": "text"},
        {"body": "bytea"},
        "body IS NOT NULL",
        _import_body(lambda row: effect_place(row["import"], row["kind"], row["key"])),
    ),
    Table(
        "roster_import_file",
        {"import": "uuid", "number": "integer", "part": "integer"},
        {"body": "bytea"},
        "true",
        _import_body(lambda row: body_place(row["import"], row["number"], row["part"])),
    ),
)


# --------------------------------------------------------------------------------- the mutation log


async def _log_rows(
    work: _Work, connection: Connection, after: LineKey
) -> tuple[Sequence[Row], int, LineKey]:
    """Lines whose body, verdict or digest is not in the present form by the newest key."""
    cipher = work.cipher
    rows = await sql.lock_log(connection, cipher.keyring.kid, after, _AT_ONCE)
    bodies = await read_bodies(connection, cipher, rows)
    moved: dict[tuple[str, datetime], list[tuple[int, bytes]]] = defaultdict(list)
    changed = []
    for row, body in zip(rows, bodies, strict=True):
        content = body.text.encode() if body.is_whole else None
        if row["body"] is not None and content is not None:
            moved[row["device"], row["received_at"]].append((row["seq"], content))
        elif row["body"] is not None:
            _lose_v1_body(work, row["body"])
        kept = None if content is not None else row["body"]
        anew = (_digest(cipher, row["digest"], content), _verdict(work, row), kept)
        if anew != (row["digest"], row["verdict"], row["body"]):
            changed.append((row["device"], row["seq"], row["received_at"], *anew))
    blocks = [
        block
        for (device, received_at), some in moved.items()
        for block in blocks_of(
            device, received_at, some, any(may_be_located(content) for _, content in some), cipher
        )
    ]
    if blocks:
        await write(connection, [insert_blocks(blocks)])
    if changed:
        await sql.write_log(connection, changed)
    last = rows[-1] if rows else None
    return (
        rows,
        len(changed),
        after if last is None else (last["device"], last["seq"], last["received_at"]),
    )


def _digest(cipher: FieldCipher, stored: bytes, content: bytes | None) -> bytes:
    """A digest by the newest key; one by an older key as it is, unless the content is there that it
    was made of.
    """
    if cipher.is_unkeyed(stored):
        return cipher.keyed(stored)
    if (
        not cipher.is_digest_current(stored)
        and content is not None
        and cipher.has_digest(stored, content)
    ):
        return cipher.digests([content])[0]
    return stored


def _verdict(work: _Work, row: Row) -> str | None:
    stored: str | None = row["verdict"]
    if stored is None or work.is_current(stored):
        return stored
    key = values.log_row(row["device"], row["seq"], row["received_at"])
    place = Place("mutation", "verdict", key)
    text = values.verdict_text(work.cipher, row["kind"], key, stored)
    if text is None:
        work.lose(stored)
        return stored
    return values.encrypted_json(work.cipher, place, text)


def _lose_v1_body(work: _Work, stored: str) -> None:
    """Notes the personal values in a body of the previous release that cannot be decrypted."""
    fields = json.loads(stored).get("fields") or {}
    for value in fields.values():
        if isinstance(value, str) and work.cipher.missing_key(value) is not None:
            work.lose(value)


async def _block_rows(
    work: _Work, connection: Connection, after: queries.BlockKey
) -> tuple[Sequence[Row], int, queries.BlockKey]:
    """Blocks that an older key encrypted."""
    rows = await sql.lock_blocks(connection, work.cipher.keyring.kid, after, _BLOCKS_AT_ONCE)
    blocks = []
    for row in rows:
        anew = rewritten(row, lambda seq, content: None, work.cipher)
        if anew is None:
            work.lose_bytes(row["body"])
        else:
            blocks.append(anew[0]._replace(located=row["located"] and anew[0].located))
    if blocks:
        await rewrite_blocks(connection, blocks)
    last = rows[-1] if rows else None
    return (
        rows,
        len(blocks),
        after if last is None else (last["device"], last["received_at"], last["first_seq"]),
    )
