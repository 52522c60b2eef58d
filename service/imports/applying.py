"""Applies what is good of an import, in small transactions, and keeps what it did as its effects.

What this import has done to something already is not done again, so that nothing which somebody has
edited since is overwritten when it goes on.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from service.imports import keys, known_queries, queries, roster_queries, sheet_check
from service.imports.encryption_places import effect_place
from service.imports.household_checking import HouseholdChange, HouseholdCheck
from service.imports.plan import Plan
from service.imports.queries import Effect
from service.imports.row_faults import Faults, Where
from service.imports.sheet_check import Change
from service.kit.database import Connection
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from sync_protocol.ids import new_uuid7
from sync_protocol.messages import Mutation, Verdict

if TYPE_CHECKING:
    from service.imports.runs import Run

# Of one transaction: its grids' phones wait for so long.
_AT_ONCE = 250
_TRIES = 5


async def apply(run: "Run", plan: Plan) -> None:
    """Writes all that a plan has, units first, households at last."""
    await _apply_set(run, "unit", plan.units, _write_units)
    await _apply_set(run, "person", plan.people, _write_people)
    await _apply_set(run, "post", plan.posts, _write_posts)
    done, total = 0, plan.spool.count("households")
    # Faults were told of when all was checked.
    check = HouseholdCheck(plan.world, Faults(), plan.repeated)
    for code, count in plan.spool.villages("households"):
        for _ in range(_TRIES):
            if not await _apply_village(run, plan, check, code, (done, total)):
                break
        done += count
        await run.tell("households", done, total)


async def _apply_village(
    run: "Run", plan: Plan, check: HouseholdCheck, code: str, place: tuple[int, int]
) -> int:
    """Writes the households of a village; returns how many were edited by somebody since they
    were compared, and have to be compared again.
    """
    rows = [*plan.spool.rows("households", code)]
    async with run.database.reading() as connection:
        village = await run.village(connection, code, rows)
    changes = check.village(rows, village)
    wanted = [c for c in changes if c.what != sheet_check.UNCHANGED or c.new_keys]
    wanted.sort(key=lambda change: change.grid)
    stale = 0
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        stale += await write_part(run, some)
        await run.tell("households", place[0] + min(start + len(some), len(rows)), place[1])
    return stale


async def _apply_set(
    run: "Run",
    kind: str,
    changes: Sequence[Change],
    write: Callable[["Run", Connection, FieldCipher, Sequence[Change], datetime], Awaitable[None]],
) -> None:
    for start in range(0, len(changes), _AT_ONCE * 4):
        some = changes[start : start + _AT_ONCE * 4]

        async def one(some: Sequence[Change] = some) -> None:
            async with run.database.transaction() as connection:
                cipher = await cipher_of(connection, run.settings)
                ids = [roster_queries.post_id(change.key) for change in some]
                done = await queries.done_already(connection, run.id, kind, ids)
                left = [c for c, id in zip(some, ids, strict=True) if id not in done]
                if left:
                    await write(run, connection, cipher, left, run.now())
                    await queries.add_effects(
                        connection, run.id, [_effect(run, cipher, kind, c) for c in left]
                    )

        await run.paced(one)
        await run.tell(kind, min(start + len(some), len(changes)), len(changes))


def _effect(run: "Run", cipher: FieldCipher, kind: str, change: Change) -> Effect:
    key = roster_queries.post_id(change.key)
    body = msgspec.json.encode({"before": change.before, "after": change.after})
    sealed = cipher.encrypt_bytes(effect_place(run.id, kind, key), body)
    # Undone in order of this: units at the bottom first.
    order = f"{99 - len(key):02d}" if kind == "unit" else ""
    return Effect(kind, key, change.what, order, body=sealed)


async def _write_units(
    run: "Run",
    connection: Connection,
    cipher: FieldCipher,
    changes: Sequence[Change],
    now: datetime,
) -> None:
    await roster_queries.write_units(connection, changes)


async def _write_people(
    run: "Run",
    connection: Connection,
    cipher: FieldCipher,
    changes: Sequence[Change],
    now: datetime,
) -> None:
    await roster_queries.write_people(connection, cipher, changes)


async def _write_posts(
    run: "Run",
    connection: Connection,
    cipher: FieldCipher,
    changes: Sequence[Change],
    now: datetime,
) -> None:
    new, ended = [], []
    for change in changes:
        after, id = change.after, roster_queries.post_id(change.key)
        end = after["valid_to"] and datetime.fromisoformat(after["valid_to"])
        if change.what == sheet_check.NEW:
            begin = datetime.fromisoformat(after["valid_from"])
            new.append((id, after["staff_code"], after["role"], after["unit"], begin, end))
        else:
            ended.append((id, end))
    await roster_queries.write_posts(connection, new, ended, now)


async def write_part(run: "Run", changes: Sequence[HouseholdChange]) -> int:
    """Writes households of some grids; returns how many somebody has edited since."""

    async def one() -> int:
        async with run.database.transaction() as connection:
            return await _write_households(run, connection, changes)

    return await run.paced(one)


async def _write_households(
    run: "Run", connection: Connection, changes: Sequence[HouseholdChange]
) -> int:
    cipher = await cipher_of(connection, run.settings)
    grids = {c.grid for c in changes} | {c.household.grid for c in changes if c.household}
    await known_queries.lock_grids(connection, grids)
    known = [c.household.id for c in changes if c.household is not None]
    stand = await known_queries.revs_of(connection, known)
    done = await queries.done_already(connection, run.id, "household", known)
    now = run.now()
    written: list[tuple[HouseholdChange, Mutation]] = []
    new_keys: list[keys.StoredKey] = []
    stale = 0
    for change in changes:
        household = change.household
        if household is not None and household.id in done:
            continue
        if household is not None and stand.get(household.id) != (household.grid, household.rev):
            stale += 1
            continue
        id = household.id if household is not None else new_uuid7(now)
        new_keys += [keys.stored(cipher, key, id) for key in change.new_keys]
        if change.what != sheet_check.UNCHANGED:
            written.append((change, mutation_of(change, id)))
    verdicts = await run.write(connection, [mutation for _, mutation in written], now)
    effects = []
    for (change, mutation), verdict in zip(written, verdicts, strict=True):
        if verdict.outcome == "held":
            _note_held(run, change, verdict)
            continue
        effects.append(_household_effect(run, cipher, change, mutation.id, verdict))
    await known_queries.add_keys(connection, new_keys)
    await queries.add_effects(connection, run.id, effects)
    return stale


def _note_held(run: "Run", change: HouseholdChange, verdict: Verdict) -> None:
    """Notes a household that the write path did not take."""
    faults = Faults(run.report.faults, run.report.kinds)
    faults.add(Where(*change.row.where), "held", why=verdict.detail or "")


def _household_effect(
    run: "Run", cipher: FieldCipher, change: HouseholdChange, id: str, verdict: Verdict
) -> Effect:
    sealed = None
    if change.household is not None:
        before: dict[str, Any] = {name: change.household.fields.get(name) for name in change.fields}
        if change.what == sheet_check.ENDED or change.household.deleted:
            before = dict(change.household.fields)
        body = {
            "grid": change.household.grid,
            "rev": change.household.rev,
            "deleted": change.household.deleted,
            "fields": before,
        }
        place = effect_place(run.id, "household", id)
        sealed = cipher.encrypt_bytes(place, msgspec.json.encode(body))
    return Effect("household", id, change.what, change.grid, verdict.rev or 0, sealed)


def mutation_of(change: HouseholdChange, id: str) -> Mutation:
    """What an import does to a household, as a mutation."""
    household = change.household
    if household is None:
        fields = {name: value for name, value in change.fields.items() if value is not None}
        return Mutation(0, "household", id, change.grid, fields=fields)
    if change.what == sheet_check.ENDED:
        return Mutation(0, "household", id, household.grid, op="delete", base=household.rev)
    moved = household.grid if household.grid != change.grid else None
    return Mutation(
        0,
        "household",
        id,
        change.grid,
        base=household.rev,
        base_grid=moved,
        fields=dict(change.fields),
    )
