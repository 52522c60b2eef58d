"""What browsers look at: some weeks of work in a village, and what waits for a person there."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from service.app import create_app
from service.imports.importer import Importer
from service.kit.settings import Settings
from simulator.places import NOW, SUPERVISOR, VILLAGE
from tests.browser.looks import ADMINISTRATOR, SUPERVISOR_OF_CITY
from tests.conftest import running
from tests.imports.books import HOUSEHOLDS, book
from tests.indicators.test_indicators import define
from tests.pages.deciding import a_conflict, a_held
from tests.problems.test_problems import raised, step
from tests.vocabulary.asking import ask
from tests.world import GRID, OTHER_GRID, SECRETARY, WORKER, Clock, World, until_none

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_WEEKS = 6
_DUTIES = ("emergency", "public_order", "social_relief", "public_service")
_SEVERITIES = ("ordinary", "ordinary", "urgent", "emergency")


class Words(NamedTuple):
    """What is written in a city: a short text, one of some length, the names of a person and of a
    phone, two values of a conflict, and the names and the measure of an indicator.
    """

    text: str
    long: str
    name: str
    device: str
    values: tuple[str, str]
    indicator: tuple[str, str, str]


_SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'--><b>"
# What would run or end an attribute, no place to break a line, marks that turn the direction of
# writing, templates, and Mongolian with its joiners.
HOSTILE = Words(
    text=_SCRIPT,
    long=f"{_SCRIPT}{'很长的名称' * 12}{'W' * 90}{{{{7*7}}}}\u202eabc\u202c ᠮᠤᠩᠭᠤᠯ\u202fᠤᠨ"
    "\n</textarea></title>",
    name="<script>alert(3)</script><b>长名字干部",
    device="<i>手机</i><script>alert(4)</script>",
    values=(f"{_SCRIPT}旧", f"{_SCRIPT}新"),
    indicator=(_SCRIPT[:60], _SCRIPT[:60], _SCRIPT[:20]),
)
PLAIN = Words(
    text="入户了解生产生活情况，宣传冬季防火",
    long="东头第三根电线杆倾斜，已用木桩临时支撑，需供电所更换",
    name="娜仁花",
    device="红米 13C",
    values=("屋顶西北角漏雨，院墙开裂", "屋顶已修好，院墙开裂，待开春修补"),
    indicator=("村集体经济收入", "income of the collective", "元"),
)


async def some_weeks(settings: Settings, folder: Path) -> dict[str, str]:
    """Visits, problems and texts of each of the last weeks, up to `NOW`, all of them hostile, and
    what waits. Returns the ids that addresses need.
    """
    clock = Clock(NOW - timedelta(weeks=_WEEKS))
    app = create_app(settings, clock.now)
    async with running(app) as client:
        world = World(app, client, clock, folder)
        rng = random.Random(1)
        for grid in (GRID, OTHER_GRID):
            await _work(world, grid, rng)
        # Before all else of the last day, so that nothing is younger than NOW.
        clock.stand_at(NOW - timedelta(hours=6))
        places = await what_waits(world, HOSTILE)
        await _rename(world)
        await world.close()
    return places


async def _work(world: World, grid: str, rng: random.Random) -> None:
    clock = world.clock
    phone = world.phone(f"W{grid}-1", name=HOSTILE.name)
    houses = await world.fetch("SELECT id::text FROM household WHERE grid = $1", grid)
    for week in range(_WEEKS + 1):
        # The last day's work is done by the morning: afterwards comes what waits.
        clock.stand_at(NOW - timedelta(weeks=_WEEKS - week, hours=12))
        for _ in range(rng.randint(3, 9)):
            fields = {"visited_at": clock.now().isoformat(), "content": HOSTILE.long}
            fields["household_id"] = rng.choice(houses)["id"]
            people = {"people_met": {"add": [HOSTILE.text[:60]]}}
            duties = {"duties": {"add": [rng.choice(_DUTIES)]}}
            phone.put("visit", fields | duties | people, grid=grid)
        for _ in range(rng.randint(1, 4)):
            fields = {"title": HOSTILE.long[:200], "raised_at": clock.now().isoformat()}
            fields |= {"duty": rng.choice(_DUTIES), "severity": rng.choice(_SEVERITIES)}
            fields |= {
                "detail": HOSTILE.long,
                "contact": HOSTILE.text,
                "category": HOSTILE.text[:60],
            }
            problem = phone.put("problem", fields, grid=grid)
            action = rng.choice(("resolve", "escalate", ""))
            if action:
                done = {"problem_id": problem, "action": action, "at": clock.now().isoformat()}
                phone.put("step", done | {"note": HOSTILE.long}, grid=grid)
        day = clock.now().date().isocalendar()
        text = {"week": f"{day.year}-W{day.week:02d}", "situation": HOSTILE.long, "causes": "无"}
        phone.put("weekly_analysis", text | {"measures": HOSTILE.text}, grid=grid)
        if week == _WEEKS - 2:
            summary = {"month": "2026-10", "results": HOSTILE.long, "shortfalls": HOSTILE.text}
            phone.put("monthly_summary", summary, grid=grid)
        await phone.sync()


async def what_waits(world: World, words: Words) -> dict[str, str]:
    """Conflicts, held mutations, a problem on its way and an import, by what they are for: the
    plain names to be looked at, the others each to be decided by a test.
    """
    found = {}
    old, new = words.values
    for name, grid in (
        *(("conflict", GRID), ("conflict-off", GRID), ("conflict-on", GRID)),
        *(("conflict-keys", OTHER_GRID), ("conflict-keys-2", OTHER_GRID)),
    ):
        found[name] = await a_conflict(
            world, "note", old, new, grid, SECRETARY, head_name=words.name[:60], address=words.text
        )
    for name, grid in (("held", GRID), ("held-on", GRID), ("held-off", GRID)):
        fields = {"visited_at": "昨天", "content": words.long, "people_met": {"add": [words.name]}}
        found[name] = await a_held(world, grid=grid, fields=fields)
    for name in ("problem", "problem-on", "problem-off"):
        problem = await raised(world, title=words.long[:200], detail=words.long)
        found[name] = problem["id"]
    world.clock.forward(minutes=30)
    await step(world, found["problem"], "accept", note=words.text)
    await step(world, found["problem"], "assign", SUPERVISOR, to_cadre=WORKER, note=words.long)
    found["import"] = await _an_import(world, words)
    await _a_large_ledger(world)
    await _an_app(world, words)
    await _an_indicator(world, words)
    await world.fetch("UPDATE device SET name = $1 WHERE name = ''", words.device)
    return found


async def _an_import(world: World, words: Words) -> str:
    """An import that was tried, with a row that is wrong."""
    rows = [
        HOUSEHOLDS,
        [GRID, "H901", "钱七", "13800000009", "1组7号", 2, "低保", ""],
        [GRID, "H902", words.name, words.text, words.text, "三口", words.text, ""],
    ]
    world.clock.forward(seconds=1)
    headers = {"Authorization": f"Bearer {await world.token(ADMINISTRATOR)}"}
    file = ("files", (f"名册{words.text}.xlsx", book({"农牧户": rows}), XLSX))
    asked = await world.client.post(
        "/v1/imports", headers=headers, files=[file], data={"dry_run": "true"}
    )
    assert asked.status_code == 202, asked.text
    id = str(asked.json()["id"])

    async def still() -> list[str]:
        world.state.of(Importer).wake()
        state = (await world.get(f"/v1/imports/{id}", ADMINISTRATOR)).json()["state"]
        return [] if state in ("checked", "refused") else [state]

    await until_none(still)
    return id


async def _a_large_ledger(world: World) -> None:
    """A ledger that is made in the background."""
    headers = {"Authorization": f"Bearer {await world.token(SUPERVISOR_OF_CITY)}"}
    asked = {"unit": "1502", "month": "2026-11"}
    answer = await world.client.post("/v1/exports/visits.xlsx", params=asked, headers=headers)
    assert answer.status_code == 202, answer.text


async def _an_app(world: World, words: Words) -> None:
    """An app that has an account."""
    body = {"client_id": "nongmu", "name": words.text[:60], "unit": "1502"}
    scopes = ["articles:read", "requests:write"]
    answer = await ask(world, "POST", "/v1/apps", body | {"scopes": scopes}, ADMINISTRATOR)
    assert answer.status_code == 201, answer.text


async def _an_indicator(world: World, words: Words) -> None:
    """An indicator of villages with a value and a target, and a marked village with its plan."""
    name_zh, name_en, measure = words.indicator
    await define(world, "income", name_zh=name_zh, name_en=name_en, measure=measure)
    body: dict[str, Any] = {"unit": VILLAGE, "period": "2026", "value": 86_000}
    body |= {"source": words.text[:200], "note": words.long}
    plan = [{"due": "2026-06-30", "text": words.long[:500]}]
    mark = {"mark": "weak", "note": words.long, "plan": plan}
    for path, sent, by in (
        ("indicators/income/values", body, SECRETARY),
        (f"indicators/income/targets/{VILLAGE}", {"period": "2026", "target": 90_000}, "admin"),
        (f"marks/{VILLAGE}", mark, "admin"),
    ):
        answer = await ask(world, "PUT", f"/v1/{path}", sent, by)
        assert answer.status_code == 200, answer.text


async def _rename(world: World) -> None:
    """Gives a village, a grid and some people hostile names."""
    for code in (VILLAGE[:-1] + "1", OTHER_GRID):
        await world.fetch("UPDATE unit SET name = $1 WHERE code = $2", HOSTILE.long, code)
    for code in (f"W{OTHER_GRID}-1", f"C{VILLAGE}-2"):
        await world.fetch("UPDATE cadre SET name = $1 WHERE staff_code = $2", HOSTILE.name, code)
