"""The records of an erased person, rewritten through the one write path without what must go."""

import json
from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.cases.filing import category_of
from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.privacy import erasure_queries as sql
from service.records.queries import Stored, load
from service.writes import erased_queries
from service.writes.server_writes import write_as_server
from sync_protocol.kinds import Kind
from sync_protocol.messages import Mutation
from sync_protocol.record_state import GRID, LIFE
from sync_protocol.records import ERASED, PROBLEM
from sync_protocol.sets import SetOf

SYSTEM = "erasure"


class Erasure(NamedTuple):
    """An erasure under way: whose, by whom, and the records that are about the person, by kind."""

    settings: Settings
    subject: str
    by: str
    now: datetime
    ids: dict[str, list[str]]


async def erase_records(
    erasure: Erasure, kind: Kind, ids: Sequence[str], connection: Connection
) -> Mapping[str, int]:
    """Clears records by the one write path, so that phones drop what they hold, and what that path
    leaves of them."""
    await sql.lock_grids(connection, kind.name, ids)
    cipher = await cipher_of(connection, erasure.settings)
    stored = await load(connection, kind, ids, cipher)
    beside = {row["id"]: row for row in await sql.clocks_of(connection, kind.name, ids)}
    known = await erased_queries.erased_among(connection, kind.name, ids)
    wanted = [
        id
        for id in ids
        if id in stored and not (id in known and _is_clear(kind, stored[id], beside[id]))
    ]
    if not wanted:
        return {}
    post = PostHeld("admin", "", erasure.now - timedelta(days=1), None)
    living = [
        mutation
        for id in wanted
        if not stored[id].record.deleted
        for mutation in _mutations(kind, stored[id])
    ]
    verdicts = await write_as_server(
        connection, erasure.settings, SYSTEM, post, living, erasure.now, override=True
    )
    refused = next((verdict for verdict in verdicts if verdict.outcome == "held"), None)
    if refused is not None:
        raise RuntimeError(f"a {kind.name} could not be erased: {refused.reason}: {refused.detail}")
    await sql.clear_deleted(connection, kind, wanted)
    rows = await sql.clocks_of(connection, kind.name, wanted)
    await sql.clear_beside(
        connection, kind.name, [(row["id"], _without_names(kind, row["clocks"])) for row in rows]
    )
    await erased_queries.note_erased(connection, kind.name, wanted, erasure.now)
    return {_PLURAL[kind.name]: len(wanted)}


_PLURAL = {"household": "households", "visit": "visits", "problem": "problems", "step": "steps"}


def _is_clear(kind: Kind, stored: Stored, beside: Any) -> bool:
    fields = stored.record.fields
    left = {name for name, value in fields.items() if value != ERASED}
    clocks = beside["clocks"]
    return (
        left <= _staying(kind, fields)
        and not beside["has_extra"]
        and (clocks is None or _without_names(kind, clocks) == _normal(clocks))
    )


def _staying(kind: Kind, fields: Mapping[str, Any]) -> Set[str]:
    """The fields that stay: a category that is a word of its list counts, and tells of nobody."""
    counts = kind is PROBLEM and category_of(fields) is not None
    return kind.kept | {"category"} if counts else kind.kept


def _mutations(kind: Kind, stored: Stored) -> list[Mutation]:
    """What clears a living record: every field but those that are kept, empty ones too, so that the
    record takes a new revision."""
    record = stored.record
    fields: dict[str, Any] = {}
    more: list[Mutation] = []
    staying = _staying(kind, record.fields)
    for field in kind.fields:
        if field.name in staying:
            continue
        if isinstance(field.type, SetOf):
            elements, at_once = record.fields.get(field.name, []), field.type.max
            groups = [
                elements[begin : begin + at_once] for begin in range(0, len(elements), at_once)
            ]
            if groups:
                fields[field.name] = {"remove": groups[0]}
            more += [
                Mutation(
                    0, kind.name, record.id, record.grid, fields={field.name: {"remove": group}}
                )
                for group in groups[1:]
            ]
        else:
            fields[field.name] = ERASED if field.required else None
    found = [Mutation(0, kind.name, record.id, record.grid, fields=fields), *more]
    for mutation in found:
        mutation.base = record.last.rev
    return found


def _normal(clocks: str) -> str:
    return json.dumps(json.loads(clocks), sort_keys=True)


def _without_names(kind: Kind, clocks: str | None) -> str | None:
    """Clocks without the elements of sets that were erased, which may be people's names, and
    without the fields of newer apps."""
    if clocks is None:
        return None
    found = json.loads(clocks)
    found["fields"] = {
        name: held
        for name, held in found["fields"].items()
        if name in kind.by_name or name in (GRID, LIFE)
    }
    found["elements"] = {
        name: held for name, held in found["elements"].items() if name in kind.kept or name == GRID
    }
    return json.dumps(found, sort_keys=True)
