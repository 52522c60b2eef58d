"""The loop as a calendar: every mark and count is that of REST, for who may see it there."""

import re

import pytest

from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.browsing import Browser, figures, somebody_with
from tests.pages.test_numbers import rows_of, same, work_of
from tests.world import FAR_GRID, GRID, WORKER, World

STATUSES = ("on_time", "late", "missing", "not_due")
PERIODS = (
    *({"week": "2026-W47"}, {"week": "2026-W46"}, {"month": "2026-11"}, {"month": "2026-10"}),
    {"from": "2026-11-02", "to": "2026-11-24"},
    *({"quarter": "2026-Q4"}, {"half": "2026-H2"}, {"year": "2026"}),
)


def marks(row: str) -> dict[str, str]:
    """The marks of a row by day, week or month."""
    return dict(re.findall(r'data-log="([^"]+)" data-status="([^"]+)"', row))


async def some_work(world: World) -> None:
    """Visits of a day, and a weekly analysis that came late."""
    await work_of(world)
    phone = world.phone(WORKER)
    phone.put("weekly_analysis", {"week": "2026-W46", "situation": "平稳"}, grid=GRID)
    await phone.sync()


@pytest.mark.parametrize("asked", PERIODS)
async def test_every_mark_and_count_is_that_of_rest(world: World, asked: dict[str, str]) -> None:
    await some_work(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    for unit in (TOWNSHIP, VILLAGE, GRID):
        page = await browser.get("/loop", unit=unit, **asked)
        rest = (await world.get("/v1/loop", "S1502", unit=unit, limit=100, **asked)).json()
        logs = rows_of(page.text, "loop")
        for log in rest["missing"]:
            for status in STATUSES:
                value = rest[status][log]
                if log in logs:
                    assert same(figures(logs[log])[f"{log}.{status}"], value)
                else:
                    assert value == 0
        rows = rows_of(page.text, "grids")
        assert [*rows] == [item["grid"]["code"] for item in rest["items"]]
        for item in rest["items"]:
            row = rows[item["grid"]["code"]]
            shown = marks(row)
            # A long period has no room for each day, or week.
            known = item["summaries"]
            if not asked.keys() & {"quarter", "half", "year"}:
                known |= item["days"]
            if not asked.keys() & {"half", "year"}:
                known |= item["analyses"]
            for name, status in known.items():
                assert shown.pop(name) == status, (unit, name)
            assert set(shown.values()) <= {"not_due", "off"}
            for key in ("days_visited", "days_due"):
                assert same(figures(row)[key], item[key])
        below = rows_of(page.text, "units")
        for one in rest["units"]:
            if one["unit"]["level"] != "grid":
                found = figures(below[one["unit"]["code"]])
                assert same(found.pop("grids"), one["grids"])
                for key, raw in found.items():
                    log, status = key.split(".")
                    assert same(raw, one[status][log])


async def test_what_is_not_due_yet_is_told_apart_from_what_nobody_owes(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/loop", unit=GRID, month="2026-11")
    shown = marks(rows_of(page.text, "grids")[GRID])
    assert shown["2026-11-30"] == shown["2026-11"] == shown["2026-W48"] == "not_due"
    assert "2026-11-22" not in shown  # a Sunday without any visit
    assert "未到期" in page.text
    before = await browser.get("/loop", unit=GRID, week="2026-W46")
    assert "not_due" not in marks(rows_of(before.text, "grids")[GRID]).values()


async def test_many_grids_come_page_by_page(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    seen: list[str] = []
    asked = {"unit": GRID[:6], "week": "2026-W47"}
    page = await browser.get("/loop", **asked)
    rest = (await world.get("/v1/loop", "S1502", **asked, limit=1000)).json()
    assert rest["next"] is None
    assert len(rest["items"]) > 100
    while True:
        seen += rows_of(page.text, "grids")
        further = re.search(r'<a rel="next" href="(/loop[^"#]*after[^"#]*)#grids', page.text)
        if further is None:
            break
        page = await browser.client.get(further[1].replace("&amp;", "&"))
    assert seen == [item["grid"]["code"] for item in rest["items"]]


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_loop_that_rest_shows_it(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    for unit in (VILLAGE, GRID, TOWNSHIP, FAR_GRID, "9", "x"):
        asked = {"unit": unit, "week": "2026-W47"}
        rest = await world.client.get("/v1/loop", params=asked, headers=headers)
        assert (await browser.get("/loop", **asked)).status_code == rest.status_code, unit


async def test_odd_addresses_are_answered_by_a_page(world: World) -> None:
    await world.fetch("UPDATE unit SET name = $1 WHERE code = $2", "<script>x</script>", GRID)
    browser = Browser(world)
    await browser.sign_in("S1502")
    for path in (
        *("/loop?after=x", "/loop?week=2026-W99", "/loop?week=2026-W47&month=2026-11"),
        *(f"/loop?unit={VILLAGE}&after=9999", f"/loop?unit={VILLAGE}&year=2026"),
    ):
        page = await browser.get(path)
        assert page.status_code in (200, 422)
        assert "<main" in page.text
        assert "<script>x" not in page.text
