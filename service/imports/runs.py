"""Carries an import out: takes its files in, checks every row, and applies what is good in small
transactions. What a process began that was killed, another goes on with.

Everything is compared with what is there before it is written, so that going on is the same as
beginning again: what is there already is left alone. What this import has done to something stands
in its effects, so that nothing which somebody has edited since is overwritten when it goes on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import msgspec

from service.audit.audit_log import record
from service.identity.rights import PostHeld
from service.imports import checking, keys, queries
from service.imports.checking import (
    Change,
    HouseholdChange,
    HouseholdCheck,
    Known,
    SheetCounts,
    Village,
    World,
)
from service.imports.encryption_places import body_place, effect_place
from service.imports.intake import Intake
from service.imports.queries import Effect
from service.imports.report import MAX_ITEMS, Item, Report, State, load
from service.imports.row_faults import Faults, Where
from service.imports.row_file import Row, Spool
from service.imports.sheet_files import read_file
from service.imports.undoing import undo
from service.imports.units import Scheme, covered
from service.kit.database import Connection, Database, retry_on_conflict
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption import FieldCipher, KeyMissing
from service.kit.encryption_queries import cipher_of
from service.kit.errors import Problem
from service.kit.settings import Settings
from service.organisation.trees import current_tree
from service.records.queries import load as load_records
from service.runtime.leftovers import own_folder
from service.runtime.yielding import let_others_run
from service.writes.server_writes import write_as_server
from sync_protocol.ids import new_uuid7
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import local_day
from sync_protocol.records import HOUSEHOLD

log = logging.getLogger("gridloop")
T = TypeVar("T")

# Of one transaction: its grids' phones wait for so long.
_AT_ONCE = 250
_PART_BYTES = 1024 * 1024
_TOLD_EVERY_S = 1.0
_TRIES = 5
Progress = Callable[[str, int, int], None]


DRY_RUN, SKIP_BAD, END_MISSING = "dry_run", "skip_bad", "end_missing"


class Asked(NamedTuple):
    """An import that somebody asks for."""

    asked_by: str
    units: Sequence[str]
    options: Sequence[str]
    files: Sequence[tuple[str, bytes]]


class Busy(Exception):
    """Another process carries this import out."""


async def ask(
    connection: Connection, settings: Settings, asked: Asked, id: str, now: datetime
) -> None:
    """Keeps an import with its files, for whichever process comes first."""
    cipher = await cipher_of(connection, settings)
    await queries.add_import(connection, id, asked.asked_by, asked.units, asked.options, now)
    for number, (name, content) in enumerate(asked.files):
        for part, start in enumerate(range(0, max(len(content), 1), _PART_BYTES)):
            body = cipher.encrypt_bytes(
                body_place(id, number, part), content[start : start + _PART_BYTES]
            )
            await queries.add_part(connection, id, number, part, name, body)


class Run:
    """An import that this process carries out."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        id: str,
        now: Callable[[], datetime],
        progress: Progress = lambda what, done, total: None,
        gently: bool = False,
    ) -> None:
        self.database = database
        self.settings = settings
        self.id = id
        self.now = now
        self.gently = gently
        self.scheme = Scheme.of(settings.code_lengths)
        self._progress = progress
        self._told_at = 0.0
        self.asked_by = ""
        self.units: list[str] = []
        self.options: set[str] = set()
        self.report = Report()

    async def carry_out(self) -> Report:
        """To the end; raises `Busy`. Whatever goes wrong that nobody foresaw ends the import as
        failed, with what it had done.
        """
        async with queries.alone_with(self.database, self.id) as free:
            if not free:
                raise Busy(self.id)
            async with self.database.reading() as connection:
                row = await queries.one_import(connection, self.id)
            assert row is not None
            self.asked_by, self.units = row["asked_by"], row["units"]
            self.options = {*row["options"]}
            if row["report"]:
                self.report = load(row["report"])
            state = State(row["state"])
            try:
                if state is State.UNDOING:
                    self.asked_by = self.report.undone_by or self.asked_by
                    await undo(self)
                elif state in (State.WAITING, State.CHECKING, State.APPLYING):
                    await self._import(state)
            except (Problem, KeyMissing, OSError):
                raise  # the database or a key is away; whoever comes next goes on
            except Exception:
                log.exception("import %s failed", self.id)
                await self.end(State.FAILED, "roster-import-failed")
        return self.report

    async def _import(self, state: State) -> None:
        with own_folder("import") as folder:
            spool = Spool(folder)
            try:
                await self._import_from(spool, state)
            finally:
                spool.close()

    async def _import_from(self, spool: Spool, state: State) -> None:
        if state is State.WAITING:
            await self._set_state(State.CHECKING)
        faults = Faults()
        intake = Intake(spool, self.scheme, faults, self.settings.import_max_rows)
        await self._take_in(intake)
        # Of what a process has begun to apply the report is there already.
        begun = state is State.APPLYING
        world = await self._world(intake)
        plan = Plan(world, spool, faults)
        plan.check_small()
        if not begun:
            await self._check_households(plan)
            self._tell(plan, intake)
            bad = self.report.fault_count > 0 and SKIP_BAD not in self.options
            if bad or DRY_RUN in self.options:
                await self.end(State.REFUSED if bad else State.CHECKED, "roster-import-checked")
                return
            async with self.database.transaction() as connection:
                await queries.set_report(connection, self.id, self.report.dump())
                await queries.set_state(connection, self.id, State.APPLYING, self.now())
        await self._apply(plan)
        await self.end(State.DONE, "roster-imported")

    # --------------------------------------------------------------------------------- taking in

    async def _take_in(self, intake: Intake) -> None:
        async with self.database.reading() as connection:
            found = await queries.files(connection, self.id)
        for row in found:
            content = await self._content(row["number"])
            await self.tell("reading", row["number"], len(found))
            await intake.take(row["name"], read_file(content))
        intake.finish()

    async def _content(self, number: int) -> bytes:
        async with self.database.reading() as connection:
            cipher = await cipher_of(connection, self.settings)
            rows = await queries.parts(connection, self.id, number)
        content = [
            cipher.decrypt_bytes(body_place(self.id, number, row["part"]), row["body"])
            for row in rows
        ]
        if any(part is None for part in content):
            raise RuntimeError("a file of the import cannot be decrypted")
        return b"".join(part for part in content if part is not None)

    # ------------------------------------------------------------------------------ what is known

    async def _world(self, intake: Intake) -> World:
        async with self.database.transaction() as connection:
            cipher = await cipher_of(connection, self.settings)
            units = await queries.all_units(connection)
            rows = await queries.people(connection, intake.named)
            ending = END_MISSING in self.options
            posts = await queries.posts(connection, intake.named, self.units if ending else ())
            apps = await queries.apps(connection)
            tree = await current_tree(connection)
        now = self.now()
        people = {}
        for row in rows:
            code = row["staff_code"]
            of_this = posts.get(code, [])
            present = [post for post in of_this if post.is_open(now)] or of_this
            inside = all(covered(self.units, post.unit, tree, local_day(now)) for post in present)
            people[code] = checking.Person(
                row["name"],
                str(cadre_phone(cipher, row)),
                row["party_member"],
                inside,
                row["erased"],
            )
        ending = ending and not intake.lost_rows
        skip = SKIP_BAD in self.options
        world = World(self.scheme, self.units, now, units, people, posts, apps, ending, skip)
        world.tree = tree
        return world

    async def village(
        self, connection: Connection, code: str, rows: Sequence[tuple[int, Row]]
    ) -> Village:
        """What is known of the households of a village, and of those that its rows name."""
        cipher = await cipher_of(connection, self.settings)
        ring = cipher.keyring
        digests: dict[bytes, bytes] = {}
        scopes: list[str] = []
        indexes: list[bytes] = []
        for _, row in rows:
            if row.bad:
                continue
            for key in checking.keys_of(row, code):
                for index in keys.indexes(ring, key):
                    scopes.append(key.scope)
                    indexes.append(index)
                    digests[index] = key.digest
        found = await queries.by_indexes(connection, scopes, indexes) if indexes else []
        by_digest = {digests[index]: household for index, household in found}
        ids = {*by_digest.values(), *await queries.living_in(connection, code)} if code else set()
        stored = await load_records(connection, HOUSEHOLD, ids, cipher) if ids else {}
        known = {
            id: Known(id, s.record.grid, s.record.last.rev, s.record.fields, s.record.deleted)
            for id, s in stored.items()
        }
        numbered = await queries.numbered(connection, ids) if ids else set()
        return Village(code, known, by_digest, numbered)

    # ---------------------------------------------------------------------------------- checking

    async def _check_households(self, plan: "Plan") -> None:
        done, total = 0, plan.spool.count("households")
        for code, count in plan.spool.villages("households"):
            rows = [*plan.spool.rows("households", code)]
            async with self.database.reading() as connection:
                village = await self.village(connection, code, rows)
            plan.note(plan.households.village(rows, village))
            done += count
            await let_others_run(count + 201)
            await self.tell("checking", done, total)

    def _tell(self, plan: "Plan", intake: Intake) -> None:
        self.report = Report(
            sheets={**plan.counts, "households": plan.households.counts},
            told=intake.told,
            faults=plan.faults.listed,
            kinds=dict(plan.faults.most()),
            items=plan.items,
        )

    # ---------------------------------------------------------------------------------- applying

    async def _apply(self, plan: "Plan") -> None:
        await self._apply_set("unit", plan.units, self._write_units)
        await self._apply_set("person", plan.people, self._write_people)
        await self._apply_set("post", plan.posts, self._write_posts)
        done, total = 0, plan.spool.count("households")
        # Faults were told of when all was checked.
        check = HouseholdCheck(plan.world, Faults(), plan.repeated)
        for code, count in plan.spool.villages("households"):
            for _ in range(_TRIES):
                if not await self._apply_village(plan, check, code, (done, total)):
                    break
            done += count
            await self.tell("households", done, total)

    async def _apply_village(
        self, plan: "Plan", check: HouseholdCheck, code: str, place: tuple[int, int]
    ) -> int:
        """Writes the households of a village; returns how many were edited by somebody since they
        were compared, and have to be compared again.
        """
        rows = [*plan.spool.rows("households", code)]
        async with self.database.reading() as connection:
            village = await self.village(connection, code, rows)
        changes = check.village(rows, village)
        wanted = [c for c in changes if c.what != checking.UNCHANGED or c.new_keys]
        wanted.sort(key=lambda change: change.grid)
        stale = 0
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            stale += await self.write_part(some)
            await self.tell("households", place[0] + min(start + len(some), len(rows)), place[1])
        return stale

    async def _apply_set(
        self,
        kind: str,
        changes: Sequence[Change],
        write: Callable[[Connection, FieldCipher, Sequence[Change], datetime], Awaitable[None]],
    ) -> None:
        for start in range(0, len(changes), _AT_ONCE * 4):
            some = changes[start : start + _AT_ONCE * 4]

            async def one(some: Sequence[Change] = some) -> None:
                async with self.database.transaction() as connection:
                    cipher = await cipher_of(connection, self.settings)
                    ids = [queries.post_id(change.key) for change in some]
                    done = await queries.done_already(connection, self.id, kind, ids)
                    left = [c for c, id in zip(some, ids, strict=True) if id not in done]
                    if left:
                        await write(connection, cipher, left, self.now())
                        await queries.add_effects(
                            connection, self.id, [self._effect(cipher, kind, c) for c in left]
                        )

            await self.paced(one)
            await self.tell(kind, min(start + len(some), len(changes)), len(changes))

    def _effect(self, cipher: FieldCipher, kind: str, change: Change) -> Effect:
        key = queries.post_id(change.key)
        body = msgspec.json.encode({"before": change.before, "after": change.after})
        sealed = cipher.encrypt_bytes(effect_place(self.id, kind, key), body)
        # Undone in order of this: units at the bottom first.
        order = f"{99 - len(key):02d}" if kind == "unit" else ""
        return Effect(kind, key, change.what, order, body=sealed)

    async def _write_units(
        self, connection: Connection, cipher: FieldCipher, changes: Sequence[Change], now: datetime
    ) -> None:
        await queries.write_units(connection, changes)

    async def _write_people(
        self, connection: Connection, cipher: FieldCipher, changes: Sequence[Change], now: datetime
    ) -> None:
        await queries.write_people(connection, cipher, changes)

    async def _write_posts(
        self, connection: Connection, cipher: FieldCipher, changes: Sequence[Change], now: datetime
    ) -> None:
        new, ended = [], []
        for change in changes:
            after, id = change.after, queries.post_id(change.key)
            end = after["valid_to"] and datetime.fromisoformat(after["valid_to"])
            if change.what == checking.NEW:
                begin = datetime.fromisoformat(after["valid_from"])
                new.append((id, after["staff_code"], after["role"], after["unit"], begin, end))
            else:
                ended.append((id, end))
        await queries.write_posts(connection, new, ended, now)

    async def write_part(self, changes: Sequence[HouseholdChange]) -> int:
        """Writes households of some grids; returns how many somebody has edited since."""

        async def one() -> int:
            async with self.database.transaction() as connection:
                return await self._write_households(connection, changes)

        return await self.paced(one)

    async def _write_households(
        self, connection: Connection, changes: Sequence[HouseholdChange]
    ) -> int:
        cipher = await cipher_of(connection, self.settings)
        grids = {c.grid for c in changes} | {c.household.grid for c in changes if c.household}
        await queries.lock_grids(connection, grids)
        known = [c.household.id for c in changes if c.household is not None]
        stand = await queries.revs_of(connection, known)
        done = await queries.done_already(connection, self.id, "household", known)
        now = self.now()
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
            if change.what != checking.UNCHANGED:
                written.append((change, mutation_of(change, id)))
        verdicts = await self.write(connection, [mutation for _, mutation in written], now)
        effects = []
        for (change, mutation), verdict in zip(written, verdicts, strict=True):
            if verdict.outcome == "held":
                self.held(change, verdict)
                continue
            effects.append(self._household_effect(cipher, change, mutation.id, verdict))
        await queries.add_keys(connection, new_keys)
        await queries.add_effects(connection, self.id, effects)
        return stale

    def held(self, change: HouseholdChange, verdict: Verdict) -> None:
        """Notes a household that the write path did not take."""
        faults = Faults(self.report.faults, self.report.kinds)
        faults.add(Where(*change.row.where), "held", why=verdict.detail or "")

    def _household_effect(
        self, cipher: FieldCipher, change: HouseholdChange, id: str, verdict: Verdict
    ) -> Effect:
        sealed = None
        if change.household is not None:
            before: dict[str, Any] = {
                name: change.household.fields.get(name) for name in change.fields
            }
            if change.what == checking.ENDED or change.household.deleted:
                before = dict(change.household.fields)
            body = {
                "grid": change.household.grid,
                "rev": change.household.rev,
                "deleted": change.household.deleted,
                "fields": before,
            }
            place = effect_place(self.id, "household", id)
            sealed = cipher.encrypt_bytes(place, msgspec.json.encode(body))
        return Effect("household", id, change.what, change.grid, verdict.rev or 0, sealed)

    async def write(
        self, connection: Connection, mutations: Sequence[Mutation], now: datetime
    ) -> list[Verdict]:
        """Writes mutations as who asked for the import, by the right to administer its units."""
        if not mutations:
            return []
        grids = {mutation.grid for mutation in mutations}
        tree, today = await current_tree(connection), local_day(now)
        unit = next(
            (one for one in self.units if all(covered([one], grid, tree, today) for grid in grids)),
            "",
        )
        post = PostHeld("admin", unit, now - timedelta(days=1), None, tree=tree)
        return await write_as_server(connection, self.settings, self.asked_by, post, mutations, now)

    # ------------------------------------------------------------------------------------ the rest

    async def paced(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does a transaction, and then leaves the database to others for as long as it took, where
        phones are served.
        """
        began = monotonic()
        done = await retry_on_conflict(work)
        await asyncio.sleep((monotonic() - began) * (1 if self.gently else 0))
        return done

    async def tell(self, stage: str, done: int, total: int) -> None:
        """Says how far it has come: at once to who watches, now and then in the database."""
        self._progress(stage, done, total)
        if monotonic() - self._told_at >= _TOLD_EVERY_S:
            self._told_at = monotonic()
            async with self.database.reading() as connection:
                await queries.set_progress(connection, self.id, stage, done, total)

    async def _set_state(self, state: State) -> None:
        async with self.database.transaction() as connection:
            await queries.set_state(connection, self.id, state, self.now())

    async def end(self, state: State, action: str) -> None:
        """Ends it, with its line in the trail."""
        now = self.now()
        count = sum(t.new + t.changed + t.ended for t in self.report.sheets.values())
        async with self.database.transaction() as connection:
            await queries.set_report(connection, self.id, self.report.dump())
            await queries.set_state(connection, self.id, state, now)
            if state is not State.FAILED:
                await queries.set_progress(connection, self.id, "", 0, 0)
            await queries.drop_files(connection, self.id)
            units = [unit for unit in self.units if unit]
            await record(
                connection, now, self.asked_by, action, [self.id, *units], count, units=units
            )


class Plan:
    """All that an import would do, but for households: those are gone through village by
    village.
    """

    def __init__(self, world: World, spool: Spool, faults: Faults) -> None:
        self.world = world
        self.spool = spool
        self.faults = faults
        self.repeated = spool.repeated()
        self.households = HouseholdCheck(world, faults, self.repeated)
        self.counts: dict[str, SheetCounts] = {}
        self.items: list[Item] = []
        self.units: list[Change] = []
        self.people: list[Change] = []
        self.posts: list[Change] = []

    def check_small(self) -> None:
        """Checks units, people and posts."""
        for sheet, check in _CHECKS:
            rows = [row for _, row in self.spool.rows(sheet)]
            changes, self.counts[sheet] = check(rows, self.world, self.faults)
            setattr(self, sheet, changes)
            for change in changes:
                if len(self.items) < MAX_ITEMS:
                    fields = [] if change.what == checking.NEW else [*change.after]
                    self.items.append(
                        Item(sheet, change.what, change.key, change.where.row, fields)
                    )

    def note(self, changes: Sequence[HouseholdChange]) -> None:
        """Notes the first households that change, by their grids."""
        for change in changes:
            if change.what != checking.UNCHANGED and len(self.items) < MAX_ITEMS:
                fields = [] if change.what == checking.NEW else [*change.fields]
                if change.household is not None and change.household.grid != change.grid:
                    fields.append("grid")
                self.items.append(
                    Item("households", change.what, change.grid, change.row.number, fields)
                )


_CHECKS = (
    ("units", checking.check_units),
    ("people", checking.check_people),
    ("posts", checking.check_posts),
)


def mutation_of(change: HouseholdChange, id: str) -> Mutation:
    """What an import does to a household, as a mutation."""
    household = change.household
    if household is None:
        fields = {name: value for name, value in change.fields.items() if value is not None}
        return Mutation(0, "household", id, change.grid, fields=fields)
    if change.what == checking.ENDED:
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
