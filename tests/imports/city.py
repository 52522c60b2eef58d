"""What tests of imports do to a city."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from service.imports import asking, queries, runs
from service.imports.importer import Importer
from service.imports.report import Report
from service.kit.database import Database
from service.kit.settings import Settings
from sync_protocol.ids import new_uuid7
from sync_protocol.periods import local_day
from tests.imports.books import Rows, book
from tests.world import World


class Done(NamedTuple):
    """An import that has ended."""

    id: str
    state: str
    report: Report

    def counts(self, sheet: str = "households") -> tuple[int, int, int, int, int]:
        """New, changed, unchanged, ended, bad."""
        tally = self.report.sheets[sheet]
        return tally.new, tally.changed, tally.unchanged, tally.ended, tally.bad

    @property
    def is_idle(self) -> bool:
        """Whether nothing was new, changed or ended."""
        return all(not t.new + t.changed + t.ended for t in self.report.sheets.values())


class City:
    """The service over a database that tests import into."""

    def __init__(self, world: World, database: Database, settings: Settings, password: str) -> None:
        self.world = world
        self.database = database
        self.settings = settings
        self._password = password

    async def take(self, sheets: dict[str, Rows], *options: str, by: str = "command line") -> Done:
        """Imports a workbook as the command does."""
        return await self.take_files([("roster.xlsx", book(sheets))], *options, by=by)

    async def take_files(
        self,
        files: Sequence[tuple[str, bytes]],
        *options: str,
        by: str = "command line",
        units: Sequence[str] = ("",),
    ) -> Done:
        """Imports files as the command does."""
        return await self.go_on(await self.ask_files(files, *options, by=by, units=units))

    async def ask(self, sheets: dict[str, Rows]) -> str:
        """Asks for an import, and carries nothing out."""
        return await self.ask_files([("roster.xlsx", book(sheets))])

    def run_of(self, id: str) -> runs.Run:
        """What carries an import out."""
        return runs.Run(self.database, self.settings, id, self.world.clock.now)

    async def ask_files(
        self,
        files: Sequence[tuple[str, bytes]],
        *options: str,
        by: str = "command line",
        units: Sequence[str] = ("",),
    ) -> str:
        """Asks for an import of files."""
        self.world.clock.forward(seconds=1)
        now = self.world.clock.now()
        id = new_uuid7(now)
        async with self.database.transaction() as connection:
            asked = runs.Asked(by, units, options, files)
            await runs.ask(connection, self.settings, asked, id, now)
        return id

    async def go_on(self, id: str) -> Done:
        """Carries out an import to its end."""
        report = await self.run_of(id).carry_out()
        async with self.database.reading() as connection:
            row = await queries.one_import(connection, id)
        assert row is not None
        return Done(id, row["state"], report)

    async def undo(self, id: str, by: str = "command line") -> Done:
        """Takes an import back."""
        self.world.clock.forward(seconds=1)
        async with self.database.transaction() as connection:
            await asking.begin_undo(connection, id, [""], local_day(self.world.clock.now()), by)
        return await self.go_on(id)

    async def until_ended(self, id: str, staff_code: str) -> Any:
        """The answer of `GET /v1/imports/{id}` once the service has carried it out."""
        async with asyncio.timeout(30):
            while True:
                found = (await self.world.get(f"/v1/imports/{id}", staff_code)).json()
                if found["state"] not in queries.UNFINISHED:
                    return found
                self.world.state.of(Importer).wake()
                await asyncio.sleep(0.05)

    async def let_in(self, *staff_codes: str) -> None:
        """Gives people the password of tests."""
        await self.world.fetch(
            "UPDATE cadre SET password = $2, demo = true WHERE staff_code = ANY($1::text[])",
            list(staff_codes),
            self._password,
        )

    async def households(self) -> list[dict[str, Any]]:
        """The living households, decrypted, by grid and head."""
        rows = await self.world.fetch(
            "SELECT id::text, grid, head_name, phone, address, members, tags, lead_member"
            " FROM household WHERE NOT deleted ORDER BY grid, head_name"
        )
        found = []
        for row in rows:
            values = dict(row)
            for name in ("phone", "address"):
                if values[name]:
                    values[name] = self.world.decrypted(
                        "household", name, values["id"], values[name]
                    )
            found.append(values)
        return found

    async def everything(self) -> dict[str, list[Any]]:
        """Units, people, posts and households, as they are now."""
        found: dict[str, list[Any]] = {
            table: [
                tuple(row)
                for row in await self.world.fetch(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3")
            ]
            for table, columns in (
                ("unit", "code, level, parent, name, name_mn, kind, party_group"),
                ("cadre", "staff_code, name, party_member"),
                ("post", "id, staff_code, role, unit, valid_from, valid_to"),
            )
        }
        return found | {"household": await self.households()}
