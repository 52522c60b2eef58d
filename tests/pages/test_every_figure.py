"""Every number on a page is one of REST, whatever the unit and the period: what stands on a page
that REST does not say, or says otherwise, is found.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any, NamedTuple

import pytest

from simulator.places import NOW, TOWNSHIP, VILLAGE
from sync_protocol.periods import week_of
from tests.pages.browsing import Browser
from tests.world import FAR_GRID, GRID, OTHER_GRID, WORKER, Clock, World

UNITS = ("1502", GRID[:6], TOWNSHIP, VILLAGE, GRID, OTHER_GRID, FAR_GRID)
WEEKS = ("2026-W44", "2026-W45", "2026-W46", "2026-W47", "2020-W10")
MONTHS = ("2026-10", "2026-11", "2026-08", "2020-02")
QUARTERS, YEARS = ("2026-Q4", "2026-Q3"), ("2026", "2025")
SPANS = ({"from": "2026-11-02", "to": "2026-11-19"}, {"day": "2026-11-19"})

# A number of a page: the table and row that it stands in, and its key.
Place = tuple[str, str, str]


class Figure(NamedTuple):
    """A number on a page."""

    place: Place
    raw: str


class Figures(HTMLParser):
    """Finds the numbers of a page, each with its table and row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Figure] = []
        self._table = self._row = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes tables, rows and numbers."""
        has = dict(attrs)
        if tag == "table":
            self._table, self._row = has.get("data-table") or "", ""
        elif tag == "tr":
            self._row = has.get("data-id") or ""
        elif tag == "figure":
            self._table, self._row = "figure", has.get("data-unit") or ""
        if has.get("data-figure"):
            place = (self._table, self._row, str(has["data-figure"]))
            self.found.append(Figure(place, has.get("data-value") or ""))

    def handle_endtag(self, tag: str) -> None:
        """Leaves tables and rows."""
        if tag in ("table", "figure"):
            self._table = self._row = ""
        elif tag == "tr":
            self._row = ""


def prefixed(
    table: str, row: str, numbers: Mapping[str, Any], prefix: str = ""
) -> dict[Place, Any]:
    """Numbers of REST by the places that they may have on a page."""
    return {(table, row, prefix + key): value for key, value in numbers.items()}


async def of_period(world: World, unit: str, kind: str, name: str) -> dict[Place, Any]:
    """What REST says of a unit and a period."""
    path = {"week": "weekly", "month": "monthly", "quarter": "quarterly", "year": "yearly"}[kind]
    found = (await world.get(f"/v1/summaries/{path}", "S1502", unit=unit, **{kind: name})).json()
    asked = {"unit": unit, "period": kind, "count": 12, "until": found["period"]["last"]}
    went = (await world.get("/v1/summaries/trend", "S1502", **asked)).json()
    loop = found["loop"]
    said = prefixed("", "", found["totals"]) | prefixed("", "", found["previous"], "previous.")
    said |= prefixed("", "", found["decisions"], "decisions.")
    said |= prefixed("", "", found["arrived_since"] or {}, "arrived_since.")
    said["", "", "late_arrivals"] = found["late_arrivals"]
    said["", "", "loop.silent_count"] = loop["silent_count"]
    for log, counts in loop["logs"].items():
        said |= prefixed("loop", log, counts, "loop.")
    for point in went["points"]:
        said |= prefixed("trend", point["period"], point["totals"])
    for table, by in (("duties", "duty"), ("severities", "severity"), ("categories", "category")):
        for row in found[table]:
            said |= prefixed(table, row[by], row, f"{table}.")
    for row in (*found["units"], found):
        said |= prefixed("units", row["unit"]["code"], row["totals"])
    return said


async def of_cadres(world: World, asked: Mapping[str, str]) -> dict[Place, Any]:
    """What REST says of the cadres of a unit."""
    found = (await world.get("/v1/summaries/cadres", "S1502", **asked, limit=100)).json()
    said = prefixed("groups", "unassigned", found["unassigned"], "unassigned.")
    for group in found["groups"]:
        said |= prefixed("groups", "party" if group["party_member"] else "others", group, "groups.")
    for row in found["items"]:
        said |= prefixed("cadres", row["staff_code"], row)
    return said


async def of_cadre(world: World, staff_code: str, asked: Mapping[str, str]) -> dict[Place, Any]:
    """What REST says of one cadre."""
    found = (await world.get(f"/v1/cadres/{staff_code}/summary", "S1502", **asked)).json()
    said = prefixed("", "", found)
    for name in ("contact_households", "contracted_households"):
        said |= prefixed("tied", name, found[name], f"{name}.")
    return said


async def of_loop(world: World, asked: Mapping[str, str]) -> dict[Place, Any]:
    """What REST says of the loop."""
    found = (await world.get("/v1/loop", "S1502", **asked, limit=100)).json()
    statuses = ("on_time", "late", "missing", "not_due")

    def of_logs(table: str, one: Any, row: Callable[[str], str], prefix: str) -> Iterator[Any]:
        for status in statuses:
            for log, count in (one.get(status) or {}).items():
                yield (table, row(log), prefix.format(log=log, status=status)), count

    said = dict(of_logs("loop", found, lambda log: log, "{log}.{status}"))
    for one in found["units"]:
        code = one["unit"]["code"]
        said |= dict(of_logs("units", one, lambda _, code=code: code, "{log}.{status}"))  # type: ignore[misc]
        said["units", code, "grids"] = one["grids"]
    for item in found["items"]:
        said |= prefixed("grids", item["grid"]["code"], item)
    return said


async def work_of_weeks(world: World, clock: Clock, rng: random.Random) -> None:
    """Visits, problems and texts of some weeks in two grids; one week is sealed, and another visit
    to it comes in later.
    """
    houses = {
        grid: [
            row["id"]
            for row in await world.fetch("SELECT id::text FROM household WHERE grid = $1", grid)
        ]
        for grid in (GRID, OTHER_GRID)
    }
    phones = {grid: world.phone(f"W{grid}-1") for grid in houses}
    for before in (4, 3, 2, 1, 0):
        clock.stand_at(NOW - timedelta(weeks=before))
        now = clock.now().isoformat()
        for grid, phone in phones.items():
            for _ in range(rng.randint(1, 6)):
                visit = {
                    "visited_at": now,
                    "content": "走访",
                    "household_id": rng.choice(houses[grid]),
                }
                duties = {"duties": {"add": [rng.choice(["emergency", "public_order"])]}}
                phone.put("visit", visit | duties, grid=grid)
            for _ in range(rng.randint(1, 3)):
                fields = {"title": "路灯不亮", "raised_at": now, "duty": "public_service"}
                fields |= {"severity": rng.choice(["ordinary", "urgent", "emergency"])}
                fields |= {"category": rng.choice(["dispute", "worry", "其他"])}
                problem = phone.put("problem", fields, grid=grid)
                if action := rng.choice(["resolve", "escalate", ""]):
                    done = {"problem_id": problem, "action": action, "at": now}
                    phone.put("step", done, grid=grid)
            text = {"week": week_of(clock.now().date()), "situation": "平稳"}
            phone.put("weekly_analysis", text, grid=grid)
            await phone.sync()
    late = {"visited_at": (NOW - timedelta(weeks=2)).isoformat(), "content": "补录"}
    await world.post(f"/v1/summaries/weekly/2026-W45/seal?unit={VILLAGE}", None, "S1502")
    phones[GRID].put("visit", late, grid=GRID)
    await phones[GRID].sync()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_page_says_nothing_that_rest_does_not_say(
    world: World, clock: Clock, seed: int
) -> None:
    rng = random.Random(seed)
    await work_of_weeks(world, clock, rng)
    browser = Browser(world)
    await browser.sign_in("S1502")

    async def compare(path: str, asked: Mapping[str, str], said: Mapping[Place, Any]) -> int:
        page = await browser.get(path, **asked)
        assert page.status_code == 200, (path, asked)
        found = Figures(page.text).found
        assert found, (path, asked)
        for figure in found:
            assert figure.place in said, (path, asked, figure)
            value = said[figure.place]
            raw = None if figure.raw == "" else json.loads(figure.raw)
            assert raw == value, (path, asked, figure, value)
        return sum(figure.raw not in ("", "0", "0.0") for figure in found)

    told = 0
    for kind, names in (("week", WEEKS), ("month", MONTHS), ("quarter", QUARTERS), ("year", YEARS)):
        for name in names:
            unit = rng.choice(UNITS)
            said = await of_period(world, unit, kind, name)
            told += await compare(f"/{kind}", {"unit": unit, kind: name}, said)
    periods: list[Mapping[str, str]] = [
        *({"week": name} for name in WEEKS),
        *({"month": name} for name in MONTHS),
        *SPANS,
    ]
    for asked in (*periods, {"quarter": QUARTERS[0]}, {"year": YEARS[0]}):
        asked = {"unit": rng.choice(UNITS), **asked}
        told += await compare("/cadres", asked, await of_cadres(world, asked))
    for asked in rng.sample(periods, 4):
        code = rng.choice([WORKER, f"W{OTHER_GRID}-1", f"C{VILLAGE}-1"])
        told += await compare(f"/cadres/{code}", asked, await of_cadre(world, code, asked))
    for asked in periods:
        asked = {"unit": rng.choice(UNITS), **asked}
        told += await compare("/loop", asked, await of_loop(world, asked))
    assert told > 100


async def test_a_number_that_rest_does_not_say_is_noticed(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/week", unit=VILLAGE, week="2026-W46")
    said = await of_period(world, VILLAGE, "week", "2026-W46")
    broken = page.text.replace('data-figure="visits"', 'data-figure="visit"')
    assert any(figure.place not in said for figure in Figures(broken).found)
    assert all(figure.place in said for figure in Figures(page.text).found)
