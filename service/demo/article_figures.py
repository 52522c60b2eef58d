"""The figures of the founding article, each read over the API: what `gridloop demo --article`
shows, and what a test compares.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

CITY = "1502"
# Asks a path with a query, as a supervisor of the city.
Get = Callable[..., Awaitable[Any]]


class Read(NamedTuple):
    """A figure: what it is called, where it stands, and what is read there."""

    name: str
    where: str
    value: int


async def read(get: Get, year: int) -> list[Read]:
    """Every figure of the article of which the demo has made one."""
    of_year = {"unit": CITY, "year": str(year)}
    summary = await get("/v1/summaries", **of_year)
    totals = summary["totals"]
    solved = next(row for row in summary["categories"] if row["category"] == "household_problem")
    visiting = await get("/v1/summaries/visiting", limit=1, **of_year)
    ties = next(one for one in visiting["theirs"] if one["kind"] == "family")
    income = await get("/v1/indicators/collective_income/values", **of_year)
    projects = await get("/v1/indicators/projects/values", limit=1, **of_year)
    marks = (await get("/v1/marks", unit=CITY, limit=1))["units"]
    units = [unit async for unit in _every(get, "/v1/units", unit=CITY)]
    workers = {
        cadre["staff_code"]
        async for cadre in _every(get, "/v1/posts", unit=CITY, role="grid_worker")
    }
    by_level = [unit["level"] for unit in units]
    rich = sum(item["value"] >= 100_000 for item in income["items"])
    where = "/v1/summaries?year="
    return [
        Read("网格 grids", "/v1/units (level grid)", by_level.count("grid")),
        Read("网格员 grid workers", "/v1/posts?role=grid_worker", len(workers)),
        Read(
            "网格党组织 grids with a party group or branch",
            "/v1/units (party_group)",
            sum(unit.get("party_group") in ("group", "branch") for unit in units),
        ),
        Read("走访 household visits", f"{where} totals.visits", totals["visits"]),
        Read("解决问题 problems solved", f"{where} categories", solved["problems_resolved"]),
        Read("化解矛盾纠纷 disputes", f"{where} totals", totals["disputes_settled"]),
        Read("揪心事烦心事 worries", f"{where} totals", totals["worries_answered"]),
        Read("结亲 family ties", "/v1/summaries/visiting theirs", ties["households"]),
        Read("嘎查村 villages", "/v1/units (level village)", by_level.count("village")),
        Read("集体经济 ≥10 万元 villages", "/v1/indicators/collective_income/values", rich),
        Read("产业项目 projects", "/v1/indicators/projects/values", int(projects["value"])),
        Read("示范村 model villages", "/v1/marks", marks["model"]),
        Read("薄弱村 weak villages", "/v1/marks", marks["weak"]),
        Read("后进村 lagging villages", "/v1/marks", marks["lagging"]),
    ]


async def _every(get: Get, path: str, **query: Any) -> Any:
    after: dict[str, str] = {}
    while True:
        page = await get(path, limit=1000, **query, **after)
        for item in page["items"]:
            yield item
        if page["next"] is None:
            return
        after = {"after": page["next"]}
