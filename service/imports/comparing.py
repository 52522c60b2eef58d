"""Compares the households of an import with what is known here, some villages at a time.

Each is compared once, when all is checked. What there is to write then is kept, encrypted, and is
written later as it is, unless something has changed in those villages since, or another import was
at work: then they are compared again.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from service.imports import household_checking, keys, known_queries, queries, sheet_check
from service.imports.household_checking import HouseholdChange, HouseholdCheck, Known, Village
from service.imports.keys import Key
from service.imports.plan import Group, Plan, Rows
from service.imports.row_file import Row
from service.imports.sheet_check import World
from service.kit.database import Connection
from service.kit.encryption import Undecrypted
from service.kit.encryption_queries import cipher_of
from service.organisation.trees import current_tree
from service.records.queries import load as load_records
from sync_protocol.periods import local_day
from sync_protocol.records import HOUSEHOLD

if TYPE_CHECKING:
    from service.imports.runs import Run


class Compared(msgspec.Struct, array_like=True):
    """What there is to write of villages, in order of grid, and at which revisions their grids
    stood when they were compared.
    """

    heads: dict[str, int]
    changes: list[HouseholdChange]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Compared).decode


async def check_all(run: "Run", plan: Plan) -> None:
    """Compares all households, notes what becomes of them, and keeps what there is to write."""
    done, total = 0, plan.spool.count("households")
    for number, group in enumerate(plan.groups(run.pace.compared)):
        heads, changes = await _compared(run, plan, plan.households, group)
        plan.note(changes)
        wanted = _to_write(changes)
        if not any(map(_has_undecrypted, wanted)):
            bare = [change._replace(row=Row(*change.row.where, {})) for change in wanted]
            plan.spool.keep(number, _encode(Compared(heads, bare)))
        await run.pace.breathe()
        done += sum(group.values())
        await run.tell("checking", done, total)


async def changes_of(
    run: "Run", plan: Plan, check: HouseholdCheck, number: int, group: Group
) -> Sequence[HouseholdChange]:
    """What there is to write of the villages of a group: what was kept of it, if that is still
    so.
    """
    body = plan.spool.kept(number)
    if body is not None:
        kept = _decode(body)
        if not kept.changes or await _stands(run, kept, group):
            return kept.changes
    return await compared_again(run, plan, check, group)


async def compared_again(
    run: "Run", plan: Plan, check: HouseholdCheck, group: Group
) -> Sequence[HouseholdChange]:
    """What there is to write of villages as they are now."""
    _, changes = await _compared(run, plan, check, group)
    return _to_write(changes)


async def _stands(run: "Run", kept: Compared, group: Group) -> bool:
    async with run.database.reading() as connection:
        if await _heads(run, connection, group) != kept.heads:
            return False
        return not await queries.was_another_at_work(connection, run.id)


def _to_write(changes: Iterable[HouseholdChange]) -> list[HouseholdChange]:
    wanted = (c for c in changes if c.what != sheet_check.UNCHANGED or c.new_keys)
    return sorted(wanted, key=lambda change: change.grid)


def _has_undecrypted(change: HouseholdChange) -> bool:
    """Whether something is known of its household only as it is stored, which is not kept."""
    known = change.household
    return known is not None and any(isinstance(v, Undecrypted) for v in known.fields.values())


async def _compared(
    run: "Run", plan: Plan, check: HouseholdCheck, group: Group
) -> tuple[dict[str, int], list[HouseholdChange]]:
    """Where the grids of villages stand, and what becomes of their households."""
    rows = plan.rows(group)
    async with run.database.reading() as connection:
        # First: what is written after that shows.
        heads = await _heads(run, connection, group)
        villages = await _villages(run, connection, plan.world, rows)
    changes: list[HouseholdChange] = []
    for code, some in rows.items():
        changes += await check.village(some, villages[code], run.pace)
    return heads, changes


async def _heads(run: "Run", connection: Connection, group: Group) -> dict[str, int]:
    tree = await current_tree(connection)
    ranges = tree.several(filter(None, group), local_day(run.now()))
    return await known_queries.heads(connection, ranges)


async def _villages(
    run: "Run", connection: Connection, world: World, rows: Mapping[str, Rows]
) -> dict[str, Village]:
    """What is known of the households of villages, and of those that their rows name: the villages
    by code, from their rows by code.
    """
    cipher = await cipher_of(connection, run.settings)
    ring = cipher.keyring
    own: dict[str, dict[int, list[Key]]] = {}
    digests: dict[bytes, bytes] = {}
    scopes: list[str] = []
    indexes: list[bytes] = []
    for code, some in rows.items():
        own[code] = {
            seq: household_checking.keys_of(row, code)
            for seq, row in some
            if "head_name" in row.values
        }
        for key in chain.from_iterable(own[code].values()):
            for index in keys.indexes(ring, key):
                scopes.append(key.scope)
                indexes.append(index)
                digests[index] = key.digest
    found = await known_queries.by_indexes(connection, scopes, indexes) if indexes else []
    by_digest = {digests[index]: household for index, household in found}
    ranges = (await current_tree(connection)).several(filter(None, rows), local_day(run.now()))
    named = {row.values["id"] for some in rows.values() for _, row in some if row.values.get("id")}
    ids = {*named, *by_digest.values(), *await known_queries.living_in(connection, ranges)}
    stored = await load_records(connection, HOUSEHOLD, ids, cipher) if ids else {}
    known = {
        id: Known(
            id,
            s.record.grid,
            s.record.last.rev,
            s.record.fields,
            s.record.deleted,
            world.parent(s.record.grid) or "",
        )
        for id, s in stored.items()
    }
    numbered = await known_queries.numbered(connection, ids) if ids else set()
    return {
        code: Village(code, known, by_digest, numbered, own[code], place)
        for code, place in _by_place(known, rows).items()
    }


def _by_place(known: Mapping[str, Known], villages: Iterable[str]) -> dict[str, dict[bytes, str]]:
    """The households of each village by head and address."""
    found: dict[str, dict[bytes, str]] = {code: {} for code in villages}
    for household in known.values():
        if not household.deleted and household.village in found:
            head, address = household.fields.get("head_name"), household.fields.get("address")
            key = keys.of_place(household.village, str(head or ""), address)
            found[household.village].setdefault(key.digest, household.id)
    return found
