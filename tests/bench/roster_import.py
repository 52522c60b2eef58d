"""How long an import of many households takes, and how much memory: `python -m
tests.bench.roster_import [--households 100000]`.

It makes the workbook itself, imports it by the engine that the command and the service use, then
the same again, which changes nothing. On two cores the first takes under a minute.
"""

import argparse
import asyncio
import io
import resource
import sys
from datetime import UTC, datetime
from time import monotonic, process_time

import xlsxwriter

from migrations.roles import migrate
from service.imports import runs
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.generator import household_fields
from service.runtime.postgres import embedded, fresh_database, temporary_folder
from service.writes import timelines
from simulator.throwaway import ROLES
from sync_protocol.ids import new_uuid7

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


async def _import(url: str, content: bytes, profile: bool) -> float:
    settings = Settings(database_url=url)
    pool = await open_pool(url, 4, init=timelines.note_timeline)
    database = Database(pool)
    id = new_uuid7(datetime.now(UTC))
    began, used = monotonic(), process_time()
    stages: dict[str, float] = {}

    def progress(what: str, done: int, total: int) -> None:
        stages[what] = monotonic() - began

    async with database.transaction() as connection:
        asked = runs.Asked("command line", [""], [], [("roster.xlsx", content)])
        await runs.ask(connection, settings, asked, id, datetime.now(UTC))
    report = await runs.Run(database, settings, id, lambda: datetime.now(UTC), progress).carry_out()
    took = monotonic() - began
    tally = report.sheets["households"]
    print(
        f"households: {tally.new} new, {tally.unchanged} unchanged, {report.fault_count} faults;"
        f" {took:.1f} s, of this process {process_time() - used:.1f} s of a core; up to"
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )
    print("  ended after: " + ", ".join(f"{name} {at:.1f} s" for name, at in stages.items()))
    await pool.close()
    return took


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--households", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    content = workbook(given.households)
    print(f"workbook: {len(content) // 1024} KB")
    with temporary_folder("bench") as folder, embedded(folder) as server:
        url = asyncio.run(fresh_database(server, "gridloop_import"))
        migrate(url, ROLES)
        if given.profile:
            import cProfile
            import pstats

            with cProfile.Profile() as profile:
                asyncio.run(_import(url, content, True))
            pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(45)
            return
        for _ in range(2):
            asyncio.run(_import(url, content, False))


if __name__ == "__main__":
    main()
