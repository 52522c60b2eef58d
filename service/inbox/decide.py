"""Decisions of people on conflicts and held mutations, each a mutation or a verdict of the one write path."""

import json
from typing import Any

import msgspec

from service.database import Connection
from service.errors import ALREADY_DECIDED, INVALID, NOT_FOUND, Problem
from service.identity.access import Caller
from service.inbox import queries
from service.localization import localized
from service.records.queries import load
from service.settings import Settings
from service.sync import held_queries
from service.sync.apply import release
from service.sync.rest import write_as
from sync_protocol.merge import GRID, LIFE
from sync_protocol.messages import Mutation
from sync_protocol.records import KINDS
from sync_protocol.texts import Text


async def settle(connection: Connection, settings: Settings, caller: Caller, conflict: Any, choice: str, value: Any, note: str) -> None:
    """Settles a conflict; `kept` changes no record, the others write the record by a mutation that no policy overrules."""
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
    if choice != "kept":
        chosen = json.loads(settings.vault.open_json(conflict["lost"])) if choice == "lost" else value
        await _write_choice(connection, settings, caller, conflict, chosen)
    sealed = settings.vault.seal_fields(conflict["kind"], {conflict["field"]: value})[conflict["field"]]
    text = None if choice != "value" else json.dumps(sealed)
    await queries.resolve_conflict(connection, conflict["id"], choice, text, note, caller.staff_code, caller.now)


async def _write_choice(connection: Connection, settings: Settings, caller: Caller, conflict: Any, chosen: Any) -> None:
    kind = KINDS[conflict["kind"]]
    stored = (await load(connection, kind, [conflict["record"]], settings.vault)).get(conflict["record"])
    if stored is None:
        raise Problem(NOT_FOUND, "The record of this conflict is not here any more.")
    record = stored.record
    mutation = Mutation(0, kind.name, record.id, record.grid, base=record.last.rev)
    if conflict["field"] == LIFE:
        mutation.op = "delete" if chosen is True else "put"
    elif conflict["field"] == GRID:
        mutation.base_grid, mutation.grid = record.grid, str(chosen)
    else:
        mutation.fields = {conflict["field"]: chosen}
    # A settled conflict is a decision about a record of any kind, by someone with the right to settle: it is written by the post that
    # settles, whatever kinds that post writes otherwise.
    verdict = await write_as(connection, settings, caller, mutation, override=True)
    if verdict.outcome == "held":
        raise Problem(INVALID, Text("That value cannot be set: {why}", why=verdict.detail))


async def release_held(
    connection: Connection, settings: Settings, caller: Caller, held_id: str, fields: dict[str, Any] | None, note: str
) -> dict[str, Any]:
    """Releases a held mutation and answers its verdict; one that still has a flaw stays held."""
    row = await held_queries.lock_held(connection, held_id, settings.vault)
    if row is None or row.state != "open":
        raise _decided(held_id)
    [verdict] = await release(connection, [row], caller.now, settings, caller.staff_code, note, fields)
    if verdict.detail is not None:
        verdict.detail = localized(verdict.detail)
    answer: dict[str, Any] = msgspec.to_builtins(verdict)
    return answer


async def discard_held(connection: Connection, settings: Settings, caller: Caller, held_id: str, reason: str) -> dict[str, Any]:
    """Discards a held mutation with a reason."""
    row = await held_queries.lock_held(connection, held_id, settings.vault)
    if row is None or row.state != "open":
        raise _decided(held_id)
    await held_queries.close_held(connection, row, "discarded", caller.staff_code, reason, caller.now)
    return {"seq": row.seq, "outcome": "discarded", "reason": reason}


def _decided(held_id: str) -> Problem:
    return Problem(ALREADY_DECIDED, Text("The held mutation {id} was released or discarded before.", id=held_id))
