"""Erases what the mutation log, held mutations and conflicts keep of records: of each there stays
what it was and what became of it. Digests stay, so that a repeated mutation is still known."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from service.kit import encrypted_values as values
from service.kit.database import Connection
from service.kit.field_cipher import FieldCipher
from service.writes import erased_queries as sql
from service.writes import queries
from service.writes.log_blocks import rewritten
from service.writes.log_queries import rewrite_blocks
from service.writes.originals import unpacked
from sync_protocol.messages import Conflict, Mutation, Verdict, canonical_json
from sync_protocol.record_state import GRID, LIFE
from sync_protocol.records import KINDS

# What stands in the place of texts about what was erased.
WHY = "个人信息已删除 · the personal data was erased"
# What stands in the place of an answer that was kept with an `Idempotency-Key`.
ANSWER = canonical_json({"erased": True, "detail": WHY})
# The reason why a mutation is held that would bring erased data back.
REASON = "erased"


def _erased_body(kind: str, id: str, grid: str, op: str = "put") -> str:
    return canonical_json(
        {"kind": kind, "id": id, "grid": grid, "op": op, "fields": {}, "erased": True}
    )


def _is_erased(text: str) -> bool:
    return '"erased":true' in text and json.loads(text).get("erased") is True


# --------------------------------------------------------------------------------- the mutation log


async def erase_lines(connection: Connection, cipher: FieldCipher, rows: Sequence[Any]) -> int:
    """Erases the bodies of lines of the log, and the values in their verdicts; how many had any, of
    those that were not held."""
    done: set[sql.LineKey] = set()
    changed = []
    for row in rows:
        key = (row["device"], row["seq"], row["received_at"])
        verdict, body = _erased_verdict(cipher, row), row["body"]
        if body is not None and not _is_erased(body):
            body = _erased_body(row["kind"], row["id"], row["grid"])
        if (verdict, body) != (row["verdict"], row["body"]):
            changed.append((*key, verdict, body))
            done.add(key)
    if changed:
        await sql.write_lines(connection, changed)
    by_key = {
        (row["device"], row["seq"], row["received_at"]): row for row in rows if row["body"] is None
    }
    blocks = []
    for block in await sql.lock_blocks_of(connection, [*by_key]):
        erased = rewritten(block, partial(_anew, by_key, block), cipher)
        if erased is not None and erased[1]:
            blocks.append(erased[0])
            done.update((block["device"], seq, block["received_at"]) for seq in erased[1])
    if blocks:
        await rewrite_blocks(connection, blocks)
    held = {
        (row["device"], row["seq"], row["received_at"]) for row in rows if row["outcome"] == "held"
    }
    return len(done - held)


def _anew(rows: dict[sql.LineKey, Any], block: Any, seq: int, content: bytes) -> bytes | None:
    row = rows.get((block["device"], seq, block["received_at"]))
    if row is None or _is_erased(content.decode()):
        return None
    op = json.loads(content).get("op", "put")
    return _erased_body(row["kind"], row["id"], row["grid"], op).encode()


def _erased_verdict(cipher: FieldCipher, row: Any) -> str | None:
    """A verdict that says what became of the mutation, without values and texts."""
    stored: str | None = row["verdict"]
    if stored is None:
        return None
    key = values.log_row(row["device"], row["seq"], row["received_at"])
    text = values.verdict_text(cipher, row["kind"], key, stored)
    rest = {} if text is None else json.loads(text)
    conflicts = [msgspec.convert(item, Conflict) for item in rest.get("conflicts") or ()]
    reason = rest.get("reason") or (None if row["outcome"] != "held" else REASON)
    verdict = Verdict(row["seq"], row["outcome"], reason=reason)
    verdict.detail = None if rest.get("detail") is None and text is not None else WHY
    verdict.conflicts = [
        Conflict(item.field, None, None, item.rule, item.id) for item in conflicts
    ] or None
    before = (rest.get("detail"), [(item.kept, item.lost) for item in conflicts])
    if text is not None and before == (verdict.detail, [(None, None)] * len(conflicts)):
        return stored
    return values.encrypted_verdict(cipher, row["kind"], key, verdict)


# ----------------------------------------------------------------------------------- held mutations


async def erase_held(
    connection: Connection, cipher: FieldCipher, row: Any, by: str, now: datetime
) -> bool:
    """Erases what is held in a row, and its lines of the log; an open one is discarded. Whether
    there was anything."""
    body = values.held_body(cipher, row["id"], row["body"], row["kind"], row["record"], row["grid"])
    if row["state"] != "open" and row["original"] is None and _is_erased(body.text):
        return False
    mutation = Mutation(row["seq"], row["kind"], row["record"], row["grid"])
    text = canonical_json({**json.loads(mutation.canonical()), "erased": True})
    place = values.held_place(row["id"])
    stored = text if cipher.writes_v1 else values.encrypted_json(cipher, place, text)
    detail = values.encrypted_detail(cipher, row["id"], WHY)
    await sql.write_erased_held(
        connection, row["id"], stored, detail, None if row["decision"] is None else WHY
    )
    if row["state"] == "open":
        rev = await queries.next_in_mailbox(connection, row["mailbox"], 1)
        await sql.close_erased_held(connection, row["id"], rev, by, WHY, now)
    await erase_lines(connection, cipher, await sql.lines_of_held(connection, [row["id"]]))
    return True


def names_any(cipher: FieldCipher, row: Any, ids: Collection[str]) -> bool:
    """Whether a held mutation is of one of these records, or names one of them anywhere."""
    if row["record"] in ids:
        return True
    text = values.held_body(
        cipher, row["id"], row["body"], row["kind"], row["record"], row["grid"]
    ).text
    if row["original"] is not None:
        text += unpacked(row["id"], row["original"], cipher).decode("utf-8", "replace")
    text = text.lower()
    return any(id in text for id in ids)


# ---------------------------------------------------------------------------------------- conflicts


async def erase_conflicts(
    connection: Connection,
    cipher: FieldCipher,
    kind: str,
    ids: Sequence[str],
    by: str,
    now: datetime,
) -> int:
    """Erases the values and notes of the conflicts of records; an open one is settled as it stands.
    How many had any."""
    done = 0
    for row in await sql.conflicts_of(connection, kind, ids):
        note = WHY if row["note"] else row["note"]
        kept = [row[column] for column in ("kept", "lost", "value")]
        anew = [*kept]
        if row["field"] not in KINDS[kind].kept and row["field"] not in (GRID, LIFE):
            anew = [_erased_value(cipher, row, column) for column in ("kept", "lost", "value")]
            await sql.settle_erased_conflict(connection, row["id"], by, WHY, now)
            note = WHY if row["resolved_at"] is None else note
        if anew != kept or note != row["note"]:
            await sql.write_erased_conflict(connection, row["id"], anew, note)
            done += 1
    return done


def _erased_value(cipher: FieldCipher, row: Any, column: str) -> str | None:
    stored: str | None = row[column]
    if stored is None:
        return None
    value = values.conflict_value(
        cipher, row["kind"], row["field"], row["record"], row["id"], column, stored
    )
    if value is None:
        return stored
    return values.encrypted_conflict_value(
        cipher, row["kind"], row["field"], row["id"], column, None
    )
