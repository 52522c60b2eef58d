"""Decisions of people on conflicts and held mutations, each a mutation or a verdict of the one
write path.
"""

from typing import Any

import msgspec

from service.http.strict import refuse_unknown_fields
from service.identity.access import Caller
from service.identity.rights import may_write
from service.identity.views import redact_value
from service.inbox import queries
from service.inbox.answers import Release
from service.kit.database import Connection
from service.kit.encrypted_values import conflict_value, encrypted_conflict_value
from service.kit.encryption import Undecrypted
from service.kit.encryption_queries import cipher_of
from service.kit.errors import ALREADY_DECIDED, INVALID, NOT_ALLOWED, NOT_FOUND, NOT_NOW, Problem
from service.kit.field_cipher import FieldCipher
from service.kit.localization import localized
from service.kit.settings import Settings
from service.records.queries import load
from service.writes import erased, erased_queries, held_queries
from service.writes.apply import release
from service.writes.mutations import corrected
from service.writes.server_writes import write_as_cadre
from sync_protocol.messages import Mutation
from sync_protocol.record_state import GRID, LIFE
from sync_protocol.records import KINDS
from sync_protocol.texts import Text


async def settle(
    connection: Connection,
    settings: Settings,
    cipher: FieldCipher,
    caller: Caller,
    conflict: Any,
    choice: str,
    value: Any,
    note: str,
) -> None:
    """Settles a conflict; `kept` changes no record, the others write the record by a mutation that
    no policy overrules.
    """
    if conflict["resolved_at"] is not None:
        raise Problem(
            ALREADY_DECIDED,
            Text(
                "{cadre} settled this conflict with ‘{choice}’; edit the record if that was wrong.",
                cadre=conflict["resolved_by"],
                choice=conflict["choice"],
            ),
        )
    if choice != "value" and value is not None:
        raise Problem(INVALID, "value goes with the choice ‘value’ only; leave it out.")
    kind, field, record, id = (conflict[name] for name in ("kind", "field", "record", "id"))
    if choice != "kept":
        chosen = (
            conflict_value(cipher, kind, field, record, id, "lost", conflict["lost"])
            if choice == "lost"
            else value
        )
        if isinstance(chosen, Undecrypted):
            raise Problem(
                NOT_NOW,
                "The value that lost cannot be decrypted at present; the server lacks a key. Set a"
                " value instead.",
            )
        if choice == "value":
            shown = (
                conflict_value(cipher, kind, field, record, id, name, conflict[name])
                for name in ("kept", "lost")
            )
            caller.refuse_disguise(kind, field, value, [*shown], conflict["grid"])
        await _write_choice(connection, settings, cipher, caller, conflict, chosen)
    text = (
        encrypted_conflict_value(cipher, kind, field, id, "value", value)
        if choice == "value"
        else None
    )
    await queries.resolve_conflict(
        connection, conflict["id"], choice, text, note, caller.staff_code, caller.now
    )


async def _write_choice(
    connection: Connection,
    settings: Settings,
    cipher: FieldCipher,
    caller: Caller,
    conflict: Any,
    chosen: Any,
) -> None:
    kind = KINDS[conflict["kind"]]
    stored = (await load(connection, kind, [conflict["record"]], cipher)).get(conflict["record"])
    if stored is None:
        raise Problem(NOT_FOUND, "The record of this conflict is not here any more.")
    record = stored.record
    # What came after the conflict gives way to the decision, and is kept as a conflict of its own.
    base = conflict["rev"] if record.grid == conflict["grid"] else 0
    mutation = Mutation(0, kind.name, record.id, record.grid, base=base)
    if conflict["field"] == LIFE:
        mutation.op = "delete" if chosen is True else "put"
    elif conflict["field"] == GRID:
        mutation.base_grid, mutation.grid = record.grid, str(chosen)
    else:
        mutation.fields = {conflict["field"]: chosen}
    # A settled conflict is a decision about a record of any kind, by someone with the right to
    # settle: it is written by the post that settles, whatever kinds that post writes otherwise.
    verdict = await write_as_cadre(connection, settings, caller, mutation, override=True)
    if verdict.outcome == "held":
        raise Problem(INVALID, Text("That value cannot be set: {why}", why=verdict.detail))


async def release_held(
    connection: Connection,
    settings: Settings,
    caller: Caller,
    held_id: str,
    body: Release,
) -> dict[str, Any]:
    """Releases a held mutation and answers its verdict; one that still has a flaw stays held.

    With other fields it is the decider's edit, within the decider's rights; the record that it
    makes is still its author's.
    """
    fields, note = body.fields, body.note
    if fields is not None and body.changes is not None:
        raise Problem(INVALID, "Give fields, or changes to those that were sent, not both.")
    row = await held_queries.lock_held(connection, held_id, await cipher_of(connection, settings))
    if row is None or row.state != "open":
        raise _decided(held_id)
    if not row.is_whole:
        text = Text(
            "The held mutation {id} cannot be decrypted at present, so that it cannot be released;"
            " the server lacks a key.",
            id=held_id,
        )
        raise Problem(NOT_NOW, text)
    if body.changes:
        sent = row.mutation.fields
        for name, value in body.changes.items():
            caller.refuse_disguise(
                row.mutation.kind, name, value, [sent.get(name)], row.mutation.grid
            )
        fields = {**sent, **body.changes}
    if fields is None or (fields == row.mutation.fields and not row.is_copy):
        [verdict] = await release(connection, [row], caller.now, settings, caller, note)
    else:
        held = row.mutation
        # What the mutation brought itself may be a newer app's.
        refuse_unknown_fields(held.kind, fields, held.fields)
        if not may_write(caller.posts, held.kind, held.grid, caller.now):
            text = Text(
                "With other words it is your own edit, and {cadre} has no post at present that"
                " writes a {kind} in {grid};"
                " release it as it is, or discard it.",
                cadre=caller.staff_code,
                kind=KINDS[held.kind].word if held.kind in KINDS else held.kind[:40],
                grid=held.grid[:20],
            )
            raise Problem(NOT_ALLOWED, text)
        verdict = await write_as_cadre(
            connection, settings, caller, corrected(held, fields), origin=row
        )
        if verdict.outcome != "held":
            await held_queries.close_held(
                connection, row, "released", caller.staff_code, note, caller.now
            )
    for conflict in verdict.conflicts or ():
        view = caller.shown_of(row.mutation.grid)
        conflict.kept = redact_value(row.mutation.kind, conflict.field, conflict.kept, view)
        conflict.lost = redact_value(row.mutation.kind, conflict.field, conflict.lost, view)
    if verdict.detail is not None:
        verdict.detail = localized(verdict.detail)
    answer: dict[str, Any] = msgspec.to_builtins(verdict)
    return answer | {"seq": row.seq}


async def discard_held(
    connection: Connection, settings: Settings, caller: Caller, held_id: str, reason: str
) -> dict[str, Any]:
    """Discards a held mutation with a reason."""
    cipher = await cipher_of(connection, settings)
    row = await held_queries.lock_held(connection, held_id, cipher)
    if row is None or row.state != "open":
        raise _decided(held_id)
    await held_queries.close_held(
        connection, row, "discarded", caller.staff_code, reason, caller.now
    )
    if row.reason == erased.REASON:
        # It would have brought erased data back: it goes as the rest has gone.
        whole = await erased_queries.lock_held_row(connection, held_id)
        await erased.erase_held(connection, cipher, whole, caller.staff_code, caller.now)
    return {"seq": row.seq, "outcome": "discarded", "reason": reason}


def _decided(held_id: str) -> Problem:
    return Problem(
        ALREADY_DECIDED,
        Text("The held mutation {id} was released or discarded before.", id=held_id),
    )
