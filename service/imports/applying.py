"""Applies what is good of an import, in small transactions, and keeps what it did as its effects.

What this import has done to something already is not done again, so that nothing which somebody has
edited since is overwritten when it goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from service.imports import keys, known_queries, queries, roster_queries, sheet_check
from service.imports.comparing import changes_of, compared_again
from service.imports.encryption_places import effect_place
from service.imports.household_checking import HouseholdChange, HouseholdCheck
from service.imports.keys import Key
from service.imports.plan import Group, Plan
from service.imports.queries import Effect
from service.imports.row_faults import Faults, Where
from service.imports.sheet_check import Change, World
from service.kit.database import Connection
from service.kit.encryption import Undecrypted
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.organisation import change_queries
from service.writes.queries import lock_device
from service.writes.server_writes import Numbers
from sync_protocol.ids import new_uuid7, server_device_id
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import local_day
from sync_protocol.texts import Text

if TYPE_CHECKING:
    from service.imports.runs import Run

_TRIES = 5
_EDITED_AGAIN = Text(
    "It was edited again each time when the import was about to write it; import the file again."
)


async def apply(run: "Run", plan: Plan) -> None:
    """Writes all that a plan has, levels and units first, households at last."""
    await _apply_set(run, plan.world, "levels", plan.levels, _write_levels)
    await _apply_set(run, plan.world, "unit", plan.units, _write_units)
    await _apply_set(run, plan.world, "person", plan.people, _write_people)
    await _apply_set(run, plan.world, "post", plan.posts, _write_posts)
    await _write_all(run, plan)


async def _write_all(run: "Run", plan: Plan) -> None:
    """Writes the households; where nobody else needs the database, several groups of villages at
    the same time.
    """
    # Faults were told of when all was checked.
    check = HouseholdCheck(plan.world, Faults(), plan.repeated)
    done, total = 0, plan.spool.count("households")
    writing: set[asyncio.Task[int]] = set()
    ending: list[tuple[Group, int]] = []
    try:
        for number, group in enumerate(plan.groups(run.pace.compared)):
            every = await changes_of(run, plan, check, number, group)
            changes = _that_end(every, False)
            if len(changes) < len(every):
                ending.append((group, len(every) - len(changes)))
            writing.add(asyncio.create_task(_write(run, plan, check, group, changes)))
            while len(writing) >= run.pace.at_once:
                done += await _first(writing)
                await run.tell("households", done, total)
        while writing:
            done += await _first(writing)
        for group, planned in ending:
            await _end(run, plan, check, group, planned)
        await run.tell("households", done, total)
    finally:
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)


async def _end(run: "Run", plan: Plan, check: HouseholdCheck, group: Group, planned: int) -> None:
    """Deletes the households that a file does not have any more, once all others are written: what
    the file has in another village has left this one by then.
    """
    changes = _that_end(await compared_again(run, plan, check, group), True)
    run.report.sheets["households"].ended -= planned - len(changes)
    await _write(run, plan, check, group, changes, only_ended=True)


def _that_end(changes: Sequence[HouseholdChange], ended: bool) -> list[HouseholdChange]:
    """The households that end, or all others."""
    return [change for change in changes if (change.what == sheet_check.ENDED) == ended]


async def _first(writing: set["asyncio.Task[int]"]) -> int:
    """Waits until some of the groups that are being written are; how many rows those have."""
    ended, _ = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
    writing -= ended
    return sum([task.result() for task in ended])


async def _write(
    run: "Run",
    plan: Plan,
    check: HouseholdCheck,
    group: Group,
    changes: Sequence[HouseholdChange],
    only_ended: bool = False,
) -> int:
    """Writes the households of villages; those that somebody has edited since they were compared
    are compared again. How many rows they have. Those that end are written by themselves.
    """
    for _ in range(_TRIES):
        if not changes:
            break
        stale = 0
        numbers = await run.reserve(len(changes))
        added: set[bytes] = set()
        for start in range(0, len(changes), run.pace.together):
            some = changes[start : start + run.pace.together]
            stale += await write_part(run, some, numbers.behind(start), added)
            added.update(key.digest for change in some for key in change.new_keys)
        if not stale:
            break
        changes = _that_end(await compared_again(run, plan, check, group), only_ended)
    else:
        for change in changes:
            _note_left_out(run, change, _EDITED_AGAIN)
    return sum(group.values())


async def _apply_set(
    run: "Run",
    world: World,
    kind: str,
    changes: Sequence[Change],
    write: Callable[["Run", Connection, FieldCipher, Sequence[Change], datetime], Awaitable[None]],
) -> None:
    for start in range(0, len(changes), run.pace.together):
        some = changes[start : start + run.pace.together]

        async def one(some: Sequence[Change] = some) -> None:
            async with run.database.transaction() as connection:
                cipher = await cipher_of(connection, run.settings)
                ids = [roster_queries.post_id(change.key) for change in some]
                done = await queries.done_already(connection, run.id, kind, ids)
                left = [c for c, id in zip(some, ids, strict=True) if id not in done]
                if left:
                    await write(run, connection, cipher, left, run.now())
                    await queries.add_effects(
                        connection,
                        run.id,
                        [_effect(run, world, cipher, kind, c) for c in left],
                    )

        await run.pace.transaction(one)
        await run.tell(kind, min(start + len(some), len(changes)), len(changes))


def _effect(run: "Run", world: World, cipher: FieldCipher, kind: str, change: Change) -> Effect:
    key = roster_queries.post_id(change.key)
    body = msgspec.json.encode({"before": change.before, "after": change.after})
    sealed = cipher.encrypt_bytes(effect_place(run.id, kind, key), body)
    # Undone in order of this: units at the bottom first.
    order = f"{99 - len(world.above(key)):02d}" if kind == "unit" else ""
    return Effect(kind, key, change.what, order, body=sealed)


async def _write_levels(
    run: "Run",
    connection: Connection,
    cipher: FieldCipher,
    changes: Sequence[Change],
    now: datetime,
) -> None:
    for change in changes:
        await roster_queries.write_levels(connection, change.after["levels"])


async def _write_units(
    run: "Run",
    connection: Connection,
    cipher: FieldCipher,
    changes: Sequence[Change],
    now: datetime,
) -> None:
    await roster_queries.write_units(connection, changes)
    for change in changes:
        if change.what == sheet_check.CHANGED:
            await _note_change(run, connection, change, now)


async def _note_change(run: "Run", connection: Connection, change: Change, now: datetime) -> None:
    """Keeps a former name of a unit, and who has changed what."""
    values = {name: value for name, value in change.after.items() if value != change.before[name]}
    for name, language in (("name", "zh"), ("name_mn", "mn")):
        former = change.before[name]
        if name in values and former:
            await change_queries.keep_name(connection, change.key, language, former, local_day(now))
    details = {"before": {name: change.before[name] for name in values}, "after": values}
    await change_queries.add_change(connection, now, run.asked_by, change.key, "changed", details)


async def _write_people(
    run: "Run",
    connection: Connection,
    cipher: FieldCipher,
    changes: Sequence[Change],
    now: datetime,
) -> None:
    await roster_queries.write_people(connection, cipher, changes, local_day(now))


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
        title = after["title"]
        if change.what == sheet_check.NEW:
            begin = datetime.fromisoformat(after["valid_from"])
            new.append((id, after["staff_code"], after["role"], after["unit"], begin, end, title))
        else:
            ended.append((id, end, title))
    await roster_queries.write_posts(connection, new, ended, now)


async def write_part(
    run: "Run", changes: Sequence[HouseholdChange], numbers: Numbers, added: Set[bytes]
) -> int:
    """Writes households of some grids, with numbers that are reserved for them; returns how many
    somebody has edited since. `added`: the digests of the keys of those that were written before
    in the same villages.
    """

    async def one() -> int:
        async with run.database.transaction() as connection:
            return await _write_households(run, connection, changes, numbers, added)

    return await run.pace.transaction(one)


async def _write_households(
    run: "Run",
    connection: Connection,
    changes: Sequence[HouseholdChange],
    numbers: Numbers,
    added: Set[bytes],
) -> int:
    cipher = await cipher_of(connection, run.settings)
    grids = {c.grid for c in changes} | {c.household.grid for c in changes if c.household}
    if any(c.household is not None and c.household.grid != c.grid for c in changes):
        # What moves along is numbered in this transaction. Who asked for the import may write over
        # REST meanwhile: the device comes before the grids there, and so it does here.
        await lock_device(connection, server_device_id(run.asked_by))
    await known_queries.lock_grids(connection, grids)
    known = [c.household.id for c in changes if c.household is not None]
    stand = await known_queries.revs_of(connection, known) if known else {}
    done = await queries.done_already(connection, run.id, "household", known) if known else set()
    indexes, taken = await _indexes_of(connection, cipher, changes)
    now = run.now()
    written: list[tuple[HouseholdChange, Mutation]] = []
    new_keys: list[keys.StoredKey] = []
    # Whom rows of two villages name: the second is compared again.
    seen: set[str] = set()
    stale = 0
    for change in changes:
        household = change.household
        if household is not None and household.id in done:
            continue
        if household is not None and (
            stand.get(household.id) != (household.grid, household.rev) or household.id in seen
        ):
            stale += 1
            continue
        # Of two households with one head and address the second does without that key.
        if any(key.digest in taken and key.digest not in added for key in change.new_keys):
            stale += 1
            continue
        if household is not None:
            seen.add(household.id)
        id = household.id if household is not None else new_uuid7(now)
        new_keys += [keys.stored(cipher, key, id, indexes[key.digest]) for key in change.new_keys]
        if change.what != sheet_check.UNCHANGED:
            written.append((change, mutation_of(change, id)))
    mutations = [mutation for _, mutation in written]
    verdicts = await run.write(connection, mutations, now, numbers)
    effects = []
    for (change, mutation), verdict in zip(written, verdicts, strict=True):
        if verdict.outcome == "held":
            _note_left_out(run, change, verdict.detail or "")
            continue
        effects.append(_household_effect(run, cipher, change, mutation.id, verdict))
    await known_queries.add_keys(connection, new_keys)
    await queries.add_effects(connection, run.id, effects)
    return stale


async def _indexes_of(
    connection: Connection, cipher: FieldCipher, changes: Sequence[HouseholdChange]
) -> tuple[dict[bytes, bytes], set[bytes]]:
    """The indexes of the new keys by which they are to be found, by their digests; and the digests
    of those that are some household's by now.
    """
    found: dict[bytes, bytes] = {}
    wanted: dict[bytes, Key] = {}
    for change in changes:
        for key in change.new_keys:
            every = keys.indexes(cipher.keyring, key)
            found[key.digest] = every[0]
            wanted.update(dict.fromkeys(every, key))
    if not wanted:
        return {}, set()
    scopes = [key.scope for key in wanted.values()]
    there = await known_queries.by_indexes(connection, scopes, [*wanted])
    return found, {wanted[index].digest for index, _ in there}


def _note_left_out(run: "Run", change: HouseholdChange, why: str) -> None:
    """Notes a household that was not written."""
    faults = Faults(run.report.faults, run.report.kinds, run.on_fault)
    faults.add(Where(*change.row.where), "held", why=why)


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
            # What nobody can read is not given back either: it would come as the marker.
            "fields": {n: v for n, v in before.items() if not isinstance(v, Undecrypted)},
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
