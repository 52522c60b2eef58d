"""The numbers of units, cadres, duties, the loop and ledgers agree with each other, for random
histories, late arrivals and seals.
"""

import io
import random
import re
from collections import Counter
from datetime import date
from typing import Any

import openpyxl
import pytest

from service.kit.workdays import is_workday
from service.summaries.counts import SUMMED
from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol import periods
from sync_protocol.moments import moment_at
from tests.organisation.test_changes import ADMIN, admin
from tests.tallies.test_recount import History
from tests.world import GRID, OTHER_GRID, World

BANNER = TOWNSHIP[:6]
ABOVE = f"S{BANNER}"
WORK = ("visits", "problems_raised", "problems_resolved", "problems_overdue")
LOGS = ("visit", "weekly_analysis", "monthly_summary")
STATUSES = ("on_time", "late", "missing", "not_due")


async def ask(world: World, path: str, **query: Any) -> Any:
    response = await world.get(path, ABOVE, **query)
    assert response.status_code == 200, (path, query, response.text)
    return response.json()


class Book:
    """The answers of one period, each asked for once."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.which = "weekly" if "W" in name else "monthly"
        self.query = {"week" if "W" in name else "month": name}
        self._summaries: dict[str, Any] = {}

    async def summary(self, unit: str) -> Any:
        if unit not in self._summaries:
            self._summaries[unit] = await ask(
                self.world, f"/v1/summaries/{self.which}", unit=unit, **self.query
            )
        return self._summaries[unit]

    async def cadres(self, unit: str) -> Any:
        path = "/v1/summaries/cadres"
        return await ask(self.world, path, unit=unit, limit=10_000, **self.query)

    async def own_page(self, staff_code: str) -> Any:
        return await ask(self.world, f"/v1/cadres/{staff_code}/summary", **self.query)

    async def loop(self, unit: str) -> Any:
        answer = await ask(self.world, "/v1/loop", unit=unit, limit=1000, **self.query)
        assert answer["next"] is None
        return answer

    async def ledger(self, which: str, unit: str) -> list[list[Any]]:
        response = await self.world.get(f"/v1/exports/{which}.xlsx", ABOVE, unit=unit, **self.query)
        assert response.status_code == 200, response.text
        sheet = openpyxl.load_workbook(io.BytesIO(response.content)).active
        assert sheet is not None
        return [[cell.value for cell in row] for row in sheet.iter_rows()]


async def check_everything(world: World, name: str) -> None:
    book = Book(world, name)
    for unit in (BANNER, TOWNSHIP, VILLAGE, GRID):
        await check_children(book, unit)
        await check_parts(await book.summary(unit))
        await check_cadres(book, unit)
        await check_loop(book, unit)
    for unit in (TOWNSHIP, VILLAGE):
        await check_ledgers(book, unit)


async def check_children(book: Book, unit: str) -> None:
    """What is right below adds up, and each says of itself what is said of it above."""
    summary = await book.summary(unit)
    if summary["units"]:
        for name in SUMMED:
            rows = [row["totals"][name] for row in summary["units"]]
            assert sum(rows) == summary["totals"][name], (unit, name)
        loops = Counter[str]()
        for row in summary["units"]:
            below = await book.summary(row["unit"]["code"])
            assert below["totals"] == row["totals"], (unit, row["unit"])
            assert (row["sealed"] == "whole") == below["sealed"], (unit, row["unit"])
            if not summary["sealed"]:
                since = (
                    below["seal"]["arrived_since"] if below["sealed"] else below["arrived_since"]
                )
                seen = {key: n for key, n in (since or {}).items() if key != "late_arrivals"}
                assert (row["arrived_since"] or {}) == seen, (unit, row["unit"])
            loops.update(flat(below["loop"]))
        assert {key: n for key, n in loops.items() if n} == {
            key: n for key, n in flat(summary["loop"]).items() if n
        }, unit
        late = sum([(await book.summary(row["unit"]["code"]))["late_arrivals"]
                    for row in summary["units"]])  # fmt: skip
        assert late == summary["late_arrivals"]


def flat(loop: Any) -> dict[str, int]:
    counts = {name: loop[name] for name in ("grids", "filed", "missing", "not_due", "owe_nothing")}
    for log, some in loop["logs"].items():
        counts |= {f"{log} {status}": count for status, count in some.items()}
    return {**counts, "silent": loop["silent_count"]}


async def check_parts(summary: Any) -> None:
    """Severities and duties add up to the totals, these with their overlap taken off."""
    totals = summary["totals"]
    for name in ("problems_raised", "problems_open", "problems_overdue"):
        assert sum(row[name] for row in summary["severities"]) == totals[name], name
    for name, more in summary["duty_overlap"].items():
        assert sum(row[name] for row in summary["duties"]) - more == totals[name], name
    assert summary["duty_overlap"]["problems_raised"] == 0
    assert summary["duty_overlap"]["problems_resolved"] == 0
    assert totals["problems_raised_resolved"] <= totals["problems_raised"]
    assert totals["households_visited"] <= totals["visits"]


async def check_cadres(book: Book, unit: str) -> None:
    """The cadres and what is nobody's add up to the unit."""
    totals, table = (await book.summary(unit))["totals"], await book.cadres(unit)
    for name in WORK:
        rows = sum(row[name] for row in table["items"])
        assert rows == sum(group[name] for group in table["groups"]), (unit, name)
        assert rows + table["unassigned"][name] == totals[name], (unit, name)
    by_unit = sum(row["problems_overdue"] for row in table["unassigned"]["units"])
    assert by_unit == table["unassigned"]["problems_overdue"]
    assert table["sealed"] == (await book.summary(unit))["sealed"]
    if unit == BANNER:
        for row in table["items"]:
            page = await book.own_page(row["staff_code"])
            for name in (*WORK, "median_hours_to_resolve"):
                assert page[name] == row[name], (row["staff_code"], name)


async def check_loop(book: Book, unit: str) -> None:
    """The loop's counts are those of its grids, and those of the summary."""
    loop, summed = await book.loop(unit), (await book.summary(unit))["loop"]
    own = "weekly_analysis" if book.which == "weekly" else "monthly_summary"
    assert loop["grids"] == summed["grids"] == len(loop["items"])
    for log in LOGS:
        counts = {status: loop[status][log] for status in STATUSES}
        assert counts == summed["logs"][log], (unit, log)
    assert summed["missing"] == summed["logs"][own]["missing"]
    assert summed["filed"] == summed["logs"][own]["on_time"] + summed["logs"][own]["late"]
    for status in ("on_time", "late", "missing"):
        days = Counter(
            status
            for item in loop["items"]
            for day, status in item["days"].items()
            if is_workday(date.fromisoformat(day))
        )
        assert days[status] == loop[status]["visit"], (unit, status)
        for log, key in (("weekly_analysis", "analyses"), ("monthly_summary", "summaries")):
            some = Counter(status for item in loop["items"] for status in item[key].values())
            assert some[status] == loop[status][log], (unit, log, status)
    silent = [
        item
        for item in loop["items"]
        if item["days_due"] and not any(day != "missing" for day in item["days"].values())
    ]
    assert len(silent) == summed["silent_count"], unit


async def check_ledgers(book: Book, unit: str) -> None:
    """The ledgers come to the totals."""
    totals = (await book.summary(unit))["totals"]
    rows = await book.ledger(book.which, unit)
    last = next(row for row in rows if row[0] == "合计")
    assert (last[2], last[7], last[8], last[9], last[10]) == (
        totals["visits"],
        totals["problems_raised"],
        totals["problems_resolved"],
        totals["problems_open"],
        totals["problems_overdue"],
    )
    last = next(row for row in await book.ledger("cadres", unit) if row[0] == "合计")
    assert last[5:9] == [totals[name] for name in WORK]
    for which, name in (("visits", "visits"), ("problems", "problems_raised")):
        last = next(row for row in await book.ledger(which, unit) if row[0] == "合计")
        text = " ".join(str(cell) for cell in last if cell)
        found = re.search(r"共 (\d+) 条", text)
        assert found is not None, text
        assert int(found[1]) == totals[name], (unit, which, text)


async def seal(world: World, unit: str, name: str) -> Any:
    which = "weekly" if "W" in name else "monthly"
    response = await world.post(f"/v1/summaries/{which}/{name}/seal?unit={unit}", None, ABOVE)
    assert response.status_code == 200, response.text
    return response.json()


async def unseal(world: World, unit: str, name: str) -> None:
    which = "weekly" if "W" in name else "monthly"
    response = await world.client.request(
        "DELETE",
        f"/v1/summaries/{which}/{name}/seal?unit={unit}",
        json={"reason": "补录"},
        headers={"Authorization": f"Bearer {await world.token(ABOVE)}"},
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("seed", range(2))
async def test_all_numbers_agree_whatever_was_sealed_and_came_late(world: World, seed: int) -> None:
    history, rng = History(world, 40 + seed), random.Random(seed)
    await history.live(60)
    over = ["2026-W45", "2026-W46", "2026-W47"]
    await admin(world)
    kept: dict[tuple[str, str], Any] = {}
    left_out = 0
    for _ in range(3):
        unit, name = rng.choice((TOWNSHIP, VILLAGE, GRID, OTHER_GRID)), rng.choice(over)
        if (unit, name) not in kept and periods.week(name).ends <= world.clock.now():
            await seal(world, unit, name)
            kept[unit, name] = (await Book(world, name).summary(unit))["totals"]
        await work_late(history, world, rng)
    houses = [id for id, grid in history.houses.items() if grid == GRID]
    body = {"name": "三网格", "households": houses[:1]}
    split = await world.post(f"/v1/units/{GRID}/split", body, ADMIN)
    assert split.status_code == 200, split.text
    await work_late(history, world, rng)
    if kept and rng.random() < 0.5:
        await unseal(world, *kept.popitem()[0])
    for name in (*over, "2026-W48", "2026-11"):
        await check_everything(world, name)
    # Also over weeks that begin before any year that can be asked for.
    for path in ("/v1/summaries", "/v1/loop"):
        await ask(world, path, unit=VILLAGE, **{"from": "2020-01-01", "to": "2026-11-28"})
    for (unit, name), totals in kept.items():
        summary = await Book(world, name).summary(unit)
        assert summary["totals"] == totals
        left_out += sum(map(abs, summary["seal"]["arrived_since"].values()))
    # The history of every seed shows something: what is sealed differs from what stands now.
    assert left_out > 0


async def work_late(history: History, world: World, rng: random.Random) -> None:
    """Phones hand in more of the weeks that are over."""
    for phone in history.phones:
        for _ in range(4):
            world.clock.forward(minutes=1)
            history.act(phone)
        phone.put(
            "visit",
            {"visited_at": moment_at(world.clock.ms() - rng.randint(1, 20) * 86_400_000)},
            grid=GRID if "C" in phone.account.staff_code else phone.account.staff_code[1:16],
        )
        await phone.sync()
