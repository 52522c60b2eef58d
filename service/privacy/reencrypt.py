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
from typing import Any

from service.kit import encrypted_values as values
from service.kit.database import Connection, Database, Row, retry_on_conflict
from service.kit.encryption import Place, State
from service.kit.encryption_queries import cipher_of, set_state, transactions_under_way
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.kit.sql import write
from service.privacy import queries
from service.privacy import reencrypt_queries as sql
from service.privacy.reencrypted_tables import TABLES, Table
from service.privacy.reencrypted_values import Outcome, Work
from service.writes.erased_queries import LineKey
from service.writes.log_blocks import blocks_of, may_be_located, rewritten
from service.writes.log_queries import insert_blocks, read_bodies, rewrite_blocks
from service.writes.phone_index import index_some
from sync_protocol.texts import Text

AT_ONCE = 500
BLOCKS_AT_ONCE = 100
_ASKED_EVERY_S = 0.2
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
Progress = Callable[[str, int], None]


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
    work = Work(settings.keyring.cipher(state), outcome)
    for table in TABLES:
        await _go_through(
            database,
            work,
            partial(_table_rows, table),
            AT_ONCE,
            partial(progress, table.name),
            None,
        )
    # Last of what belongs to households: what is indexed now is of the newest key.
    await _go_through(
        database,
        work,
        _phones,
        AT_ONCE,
        partial(progress, Text("phones found by")),
        _FIRST_ID,
    )
    await _go_through(
        database, work, _log_rows, AT_ONCE, partial(progress, "mutation"), queries.FIRST_LINE
    )
    await _go_through(
        database,
        work,
        _block_rows,
        BLOCKS_AT_ONCE,
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
            progress(Text("transactions that began before"), len(older))
            await asyncio.sleep(_ASKED_EVERY_S)
            older &= await transactions_under_way(connection)


# One pass: the rows after a place, how many of them were changed, and the place of the last.
_Pass = Callable[[Work, Connection, Any], Awaitable[tuple[Sequence[Any], int, Any]]]


async def _go_through(
    database: Database,
    work: Work,
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

        async def one(after: Any = after) -> tuple[Sequence[Any], int, Any]:
            async with database.transaction() as connection:
                return await some(work, connection, after)

        rows, changed, after = await retry_on_conflict(one)
        work.outcome.changed += changed
        done += len(rows)
        progress(done)
        if len(rows) < limit:
            return


async def _phones(work: Work, connection: Connection, after: str) -> tuple[Any, int, str]:
    """Households of which the index of phones has nothing, though they may have one."""
    some = await index_some(connection, work.cipher, after, AT_ONCE)
    return some, 0, some[-1] if some else after


async def _table_rows(
    table: Table, work: Work, connection: Connection, after: Row | None
) -> tuple[Sequence[Row], int, Row | None]:
    rows = await sql.lock_encrypted(
        connection,
        table.name,
        table.key,
        (*table.columns, *table.read),
        table.where,
        after,
        AT_ONCE,
    )
    changed = []
    for row in rows:
        anew = table.anew(work, row)
        if [*anew] != [row[name] for name in table.columns]:
            changed.append((*(row[name] for name in table.key), *anew))
    if changed:
        await sql.write_encrypted(connection, table.name, table.key, table.columns, changed)
    return rows, len(changed), rows[-1] if rows else after


# --------------------------------------------------------------------------------- the mutation log


async def _log_rows(
    work: Work, connection: Connection, after: LineKey
) -> tuple[Sequence[Row], int, LineKey]:
    """Lines whose body, verdict or digest is not in the present form by the newest key."""
    cipher = work.cipher
    rows = await sql.lock_log(connection, cipher.keyring.kid, after, AT_ONCE)
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


def _verdict(work: Work, row: Row) -> str | None:
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


def _lose_v1_body(work: Work, stored: str) -> None:
    """Notes the personal values in a body of the previous release that cannot be decrypted."""
    fields = json.loads(stored).get("fields") or {}
    for value in fields.values():
        if isinstance(value, str) and work.cipher.missing_key(value) is not None:
            work.lose(value)


async def _block_rows(
    work: Work, connection: Connection, after: queries.BlockKey
) -> tuple[Sequence[Row], int, queries.BlockKey]:
    """Blocks that an older key encrypted."""
    rows = await sql.lock_blocks(connection, work.cipher.keyring.kid, after, BLOCKS_AT_ONCE)
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
