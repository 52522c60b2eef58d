"""How long an import of many households takes, how much memory, and what phones wait meanwhile:
`python -m tests.bench.roster_import [--households 100000] [--rounds 3]`.

It makes the workbook itself, imports it by the engine that the command and the service use, then
the same again, which changes nothing. On two cores the first takes under a minute. Then phones hand
in their work to running service processes: alone, while an import is read and checked, and while it
writes; the p99 may double. `--households 0` and `--rounds 0` leave out the one or the other.
"""

import argparse
import asyncio
import cProfile
import io
import os
import pstats
import resource
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import monotonic, process_time

import httpx
import psutil
import uvloop
import xlsxwriter

from migrations.roles import migrate
from service.http.crowding import room_for_files
from service.imports import runs
from service.imports.queries import UNFINISHED
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.generator import household_fields
from service.runtime.memory import seldom_look_for_garbage
from service.runtime.postgres import embedded, fresh_database, temporary_folder
from service.writes import timelines
from simulator.places import PASSWORD
from simulator.throwaway import ROLES
from sync_protocol.ids import new_uuid7
from tests.bench.fairness import IDLE, Crowd, at, prepared
from tests.bench.load_generator import Unexpected, workers
from tests.bench.service import Service, serving

PER_GRID, GRIDS_PER_VILLAGE, VILLAGES_PER_TOWNSHIP = 31, 6, 12


def workbook(households: int) -> bytes:
    """A city with so many households, each row as an office would have it."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"constant_memory": True})
    grids = -(-households // PER_GRID)
    units, people, posts = (book.add_worksheet(name) for name in ("单位", "人员", "任职"))
    units.write_row(0, 0, ["单位编码", "名称"])
    people.write_row(0, 0, ["工号", "姓名", "电话", "党员"])
    posts.write_row(0, 0, ["工号", "职务", "单位编码", "开始日期"])
    codes = [_grid(place) for place in range(grids)]
    every = sorted({code[:size] for code in codes for size in (4, 6, 9, 12, 15)})
    for place, code in enumerate(every, 1):
        units.write_row(place, 0, [code, f"单位{code}"])
    for place, code in enumerate(codes, 1):
        people.write_row(place, 0, [f"W{code}", f"网格员{place}", "138-0000-0000", "是"])
        posts.write_row(place, 0, [f"W{code}", "网格员", code, "2024-01-01"])
    sheet = book.add_worksheet("农牧户")
    sheet.write_row(
        0, 0, ["网格编码", "户编号", "户主", "电话", "住址", "人口", "类别", "包联干部工号"]
    )
    for place in range(households):
        code = codes[place // PER_GRID]
        fields = household_fields(code, place % PER_GRID + 1, [])
        tags = "低保" if "tags" in fields else ""
        row = [code, f"H{place}", fields["head_name"], fields["phone"], fields["address"]]
        sheet.write_row(place + 1, 0, [*row, fields["members"], tags, f"W{code}"])
    book.close()
    return file.getvalue()


def _grid(place: int) -> str:
    village, number = divmod(place, GRIDS_PER_VILLAGE)
    township, village = divmod(village, VILLAGES_PER_TOWNSHIP)
    return f"159921{100 + township:03d}{201 + village:03d}{number + 1:03d}"


def _database_s(folder: Path) -> float:
    """Of a core, what the processes of the PostgreSQL in a folder have used that still run."""
    [file] = folder.rglob("postmaster.pid")
    top = psutil.Process(int(file.read_text().splitlines()[0]))
    return sum(sum(one.cpu_times()[:2]) for one in [top, *top.children()])


async def _import(url: str, content: bytes, folder: Path) -> float:
    settings = Settings(database_url=url)
    pool = await open_pool(url, 4, init=timelines.note_timeline)
    database = Database(pool)
    id = new_uuid7(datetime.now(UTC))
    began, used, database_used = monotonic(), process_time(), _database_s(folder)
    readers = resource.getrusage(resource.RUSAGE_CHILDREN)
    stages: dict[str, tuple[float, float]] = {}

    def progress(what: str, done: int, total: int) -> None:
        stages[what] = monotonic() - began, process_time() - used

    async with database.transaction() as connection:
        asked = runs.Asked("command line", [""], [], [("roster.xlsx", content)])
        await runs.ask(connection, settings, asked, id, datetime.now(UTC))
    report = await runs.Run(database, settings, id, lambda: datetime.now(UTC), progress).carry_out()
    took = monotonic() - began
    tally = report.sheets["households"]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"households: {tally.new} new, {tally.unchanged} unchanged, {report.fault_count} faults;"
        f" {took:.1f} s; of a core this process used {process_time() - used:.1f} s, PostgreSQL"
        f" {_database_s(folder) - database_used:.1f} s, reading"
        f" {ended.ru_utime + ended.ru_stime - readers.ru_utime - readers.ru_stime:.1f} s; up to"
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )
    ends = ", ".join(f"{name} {at:.1f} s ({cpu:.1f})" for name, (at, cpu) in stages.items())
    print(f"  ended after (of a core): {ends}")
    await pool.close()
    return took


# ------------------------------------------------------------------------------- beside an import

BATCH = 10_000  # households of an import beside which phones are measured


def more_households(round: int) -> bytes:
    """Households that are new, in grids that there are; those of the phones among them."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"constant_memory": True})
    sheet = book.add_worksheet("农牧户")
    sheet.write_row(0, 0, ["网格编码", "户编号", "户主", "电话", "住址", "人口"])
    grids = sorted({grid for _, grid in workers(1_000)})
    for place in range(BATCH):
        code = grids[place % len(grids)]
        fields = household_fields(code, place % PER_GRID + 1, [])
        row = [code, f"R{round}-{place}", fields["head_name"], fields["phone"]]
        sheet.write_row(place + 1, 0, [*row, f"{round}组{place}号", fields["members"]])
    book.close()
    return file.getvalue()


class Administrator:
    """Asks for imports over REST, and how far they have come."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=60)

    async def sign_in(self) -> None:
        form = {"grant_type": "password", "username": "admin", "password": PASSWORD}
        answer = await self._client.post("/v1/auth/token", data=form)
        answer.raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def ask(self, content: bytes) -> str:
        answer = await self._client.post("/v1/imports", files={"files": ("r.xlsx", content)})
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def until(self, id: str, *states: str) -> float:
        """Waits until an import is in one of these states; how long that took, in seconds."""
        began = monotonic()
        while True:
            found = (await self._client.get(f"/v1/imports/{id}")).raise_for_status().json()
            if found["state"] in states:
                return monotonic() - began
            if found["state"] not in UNFINISHED:
                raise Unexpected(f"the import ended as {found['state']}: {found['faults'][:3]}")
            await asyncio.sleep(0.2)


async def _beside(service: Service, seconds: float, rounds: int) -> None:
    crowd = Crowd(service, rounds)
    await crowd.settle_in()
    await crowd.measure(3)
    admin = Administrator(service.url)
    await admin.sign_in()
    ratios: dict[str, list[float]] = {"checking": [], "writing": []}
    for round in range(rounds):
        content = more_households(round)
        alone = await crowd.measure(seconds)
        id = await admin.ask(content)
        checking = await crowd.measure(seconds)
        await admin.until(id, "applying")
        writing = await crowd.measure(seconds)
        left = await admin.until(id, "done")
        for name, took in (("checking", checking), ("writing", writing)):
            ratios[name].append(at(took, 0.99) / at(alone, 0.99))
        figures = ", ".join(
            f"{name} {at(took, 0.5):.1f} / {at(took, 0.99):.1f} ms"
            for name, took in (("alone", alone), ("checking", checking), ("writing", writing))
        )
        print(f"phones, median / p99: {figures}; the import went on for {left:.0f} s after")
    for name, found in ratios.items():
        print(f"p99 beside an import that is {name}, to alone: {median(found):.2f} (at most 2)")


def _phones(seconds: float, rounds: int, processes: int) -> None:
    room_for_files(IDLE)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(temporary_folder("bench")))
        server = stack.enter_context(embedded(folder / "data"))
        url = asyncio.run(prepared(server))
        service = stack.enter_context(serving(url, folder / "service", processes))
        uvloop.run(_beside(service, seconds, rounds))


def _engine(households: int, profile: bool) -> None:
    content = workbook(households)
    print(f"workbook: {len(content) // 1024} KB; load average before: {os.getloadavg()[0]:.1f}")
    with temporary_folder("bench") as folder, embedded(folder) as server:
        url = asyncio.run(fresh_database(server, "gridloop_import"))
        migrate(url, ROLES)
        seldom_look_for_garbage()  # as the command does
        if profile:
            with cProfile.Profile() as measured:
                asyncio.run(_import(url, content, Path(folder)))
            pstats.Stats(measured, stream=sys.stdout).sort_stats("tottime").print_stats(60)
            pstats.Stats(measured, stream=sys.stdout).sort_stats("cumtime").print_stats(90)
            return
        for _ in range(2):
            asyncio.run(_import(url, content, Path(folder)))


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--households", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if given.households:
        _engine(given.households, given.profile)
    if given.rounds and not given.profile:
        _phones(given.seconds, given.rounds, given.processes)


if __name__ == "__main__":
    main()
