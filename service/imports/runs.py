"""Carries an import out: takes its files in, checks every row, and has applied what is good, see
`applying`. What a process began that was killed, another goes on with.

Everything is compared with what is there before it is written, so that going on is the same as
beginning again: what is there already is left alone. What this import has done to something stands
in its effects, so that nothing which somebody has edited since is overwritten when it goes on.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple

from service.audit.audit_log import OPERATOR, record
from service.identity.rights import PostHeld
from service.identity.staff_codes import keys_of
from service.imports import known_queries, queries, sheet_check
from service.imports.applying import apply
from service.imports.comparing import check_all
from service.imports.encryption_places import body_place
from service.imports.in_hand import warnings_of
from service.imports.intake import Intake
from service.imports.membership import holds_on
from service.imports.pace import Pace
from service.imports.plan import Plan
from service.imports.report import APPLICABLE, Report, State, load
from service.imports.row_faults import Fault, Faults, in_order
from service.imports.row_file import Spool
from service.imports.sheet_check import World
from service.imports.sheet_files import read_file
from service.imports.undoing import undo
from service.imports.units import Scheme, covered
from service.imports.words import Words
from service.kit.database import Connection, Database
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption import KeyMissing
from service.kit.encryption_queries import cipher_of
from service.kit.errors import Problem
from service.kit.settings import Settings
from service.organisation.trees import current_tree
from service.runtime.leftovers import own_folder
from service.vocabulary.keeping import current_reference_data
from service.writes.server_writes import Numbers, reserve, write_as_server
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import local_day

log = logging.getLogger("gridloop")

_PART_BYTES = 1024 * 1024
_TOLD_EVERY_S = 1.0
Progress = Callable[[str, int, int], None]
OnFault = Callable[[Fault], None]


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
        on_fault: OnFault | None = None,
        on_begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.id = id
        self.now = now
        self.pace = Pace(gently)
        self.on_fault = on_fault
        self._on_begin = on_begin
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
        async with self.database.alone_with(f"gridloop import {self.id}") as free:
            if not free:
                raise Busy(self.id)
            self._on_begin()
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
            except (Problem, KeyMissing, OSError, sqlite3.OperationalError):
                raise  # the database, a key or room on the disk is away; whoever comes next goes on
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
        faults = Faults(heard=self.on_fault)
        async with self.database.reading() as connection:
            vocabulary = (await current_reference_data(connection)).vocabulary
        words = Words(vocabulary, local_day(self.now()))
        intake = Intake(spool, faults, self.settings.import_max_rows, words)
        await self._take_in(intake)
        # Of what a process has begun to apply the report is there already.
        begun = state is State.APPLYING
        world = await self._world(intake, words)
        # In a thread, as each takes long with many rows.
        plan = await asyncio.to_thread(Plan, world, spool, faults)
        await asyncio.to_thread(plan.check_small)
        if not begun:
            await check_all(self, plan)
            self._tell(plan, intake)
            async with self.database.reading() as connection:
                self.report.warnings = await warnings_of(connection, plan)
            bad = self.report.fault_count > 0 and SKIP_BAD not in self.options
            if bad or DRY_RUN in self.options:
                await self.end(State.REFUSED if bad else State.CHECKED, "roster-import-checked")
                return
            async with self.database.transaction() as connection:
                await queries.set_report(connection, self.id, self.report.dump())
                await queries.set_state(connection, self.id, State.APPLYING, self.now())
        await apply(self, plan)
        await self.end(State.DONE, "roster-imported")

    # --------------------------------------------------------------------------------- taking in

    async def _take_in(self, intake: Intake) -> None:
        async with self.database.reading() as connection:
            found = await queries.files(connection, self.id)
        for row in found:
            content = await self._content(row["number"])
            await self.tell("reading", row["number"], len(found))
            await intake.take(row["name"], read_file(content), self.pace)
        await asyncio.to_thread(intake.finish)

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

    async def _world(self, intake: Intake, words: Words) -> World:
        async with self.database.transaction() as connection:
            cipher = await cipher_of(connection, self.settings)
            now, ending = self.now(), END_MISSING in self.options
            tree, today = await current_tree(connection), local_day(self.now())
            units = {
                code: unit._replace(parent=tree.parent(code, today))
                for code, unit in (await known_queries.all_units(connection)).items()
            }
            names = await keys_of(connection, [*intake.named])
            named = {*names.values()}
            rows = await known_queries.people(connection, named)
            ranges = tree.several(self.units, today) if ending else ()
            posts = await known_queries.posts(connection, named, ranges)
            apps = await known_queries.apps(connection)
        people = {}
        for row in rows:
            code = row["staff_code"]
            of_this = posts.get(code, [])
            present = [post for post in of_this if post.is_open(now)] or of_this
            inside = all(covered(self.units, post.unit, tree, today) for post in present)
            spans = [(first, end) for first, end in known_queries.spans_of(row)]
            people[code] = sheet_check.Person(
                row["name"],
                str(cadre_phone(cipher, row)),
                holds_on(spans, today.isoformat()) if spans else row["party_member"],
                inside,
                row["erased"],
                spans,
            )
        lengths = self.settings.code_lengths
        return World(
            Scheme.of_tree(lengths, tree),
            self.units,
            now,
            units,
            people,
            posts,
            apps,
            ending and not intake.lost_rows,
            SKIP_BAD in self.options,
            tree=tree,
            names=names,
            code_lengths=lengths,
            titles=intake.titles,
            words=words,
        )

    # ---------------------------------------------------------------------------------- checking

    def _tell(self, plan: Plan, intake: Intake) -> None:
        self.report = Report(
            sheets={**plan.counts, "households": plan.households.counts},
            told=intake.told,
            faults=in_order(plan.faults.listed, intake.told),
            kinds=dict(plan.faults.most()),
            items=plan.examples.items,
        )

    async def reserve(self, count: int) -> Numbers:
        """Numbers and stamps for so many mutations of who asked for the import: with those several
        transactions can write at the same time.
        """

        async def one() -> Numbers:
            async with self.database.transaction() as connection:
                return await reserve(connection, self.asked_by, count, self.now())

        return await self.pace.transaction(one)

    async def write(
        self,
        connection: Connection,
        mutations: Sequence[Mutation],
        now: datetime,
        numbers: Numbers | None = None,
    ) -> list[Verdict]:
        """Writes mutations as who asked for the import, by the right to administer its units, and
        no other. `numbers`: those that were reserved for them.
        """
        if not mutations:
            return []
        tree = await current_tree(connection)
        post, *also = (
            PostHeld("admin", unit, now - timedelta(days=1), None, tree=tree) for unit in self.units
        )
        return await write_as_server(
            connection,
            self.settings,
            self.asked_by,
            post,
            mutations,
            now,
            also=also,
            numbers=numbers,
        )

    # ------------------------------------------------------------------------------------ the rest

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

    def _keeps_files(self, state: State) -> bool:
        """Whether somebody may look at the report first, and have the same files applied then."""
        return (
            state in APPLICABLE
            and self.asked_by != OPERATOR
            and self.settings.import_files_hours > 0
        )

    async def end(self, state: State, action: str) -> None:
        """Ends it, with its line in the trail."""
        now = self.now()
        count = sum(t.new + t.changed + t.ended for t in self.report.sheets.values())
        async with self.database.transaction() as connection:
            await queries.set_report(connection, self.id, self.report.dump())
            await queries.set_state(connection, self.id, state, now)
            if state is not State.FAILED:
                await queries.set_progress(connection, self.id, "", 0, 0)
            if not self._keeps_files(state):
                await queries.drop_files(connection, self.id)
            units = [unit for unit in self.units if unit]
            await record(
                connection, now, self.asked_by, action, [self.id, *units], count, units=units
            )
