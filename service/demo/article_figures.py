"""The figures of the founding article, each with where it is read: what `gridloop demo --article`
shows and judges, and what tests compare. The table of docs/article.md has the same.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

CITY = "1502"
# Asks a path with a query, as a supervisor of the city.
Get = Callable[..., Awaitable[Any]]


class Figure(NamedTuple):
    """A figure: what the article says, what it counts, and in which answer it stands; `{year}` is
    the year that was made. `share`: smaller where a share of the year is made.
    """

    key: str
    number: int
    name: str
    route: str
    field: str
    share: bool = False


_UNITS = "/v1/units?unit=1502"
_POSTS = "/v1/posts?unit=1502&role="
_YEAR = "/v1/summaries?unit=1502&year={year}"
_VISITING = "/v1/summaries/visiting?unit=1502&year={year}"
_MARKS = "/v1/marks?unit=1502"


def _values(code: str) -> str:
    return f"/v1/indicators/{code}/values?unit=1502&year={{year}}"


FIGURES = (
    Figure("banners", 9, "旗县区 banners with villages", _UNITS, "level banner"),
    Figure("townships", 39, "苏木乡镇 townships", _UNITS, "level township, kind not 街道"),
    Figure("villages", 527, "嘎查村 villages", _UNITS, "level village"),
    Figure("grids", 3_202, "网格 grids", _UNITS, "level grid"),
    Figure(
        *("party_groups", 1_656, "网格党支部、党小组 branches and groups"),
        *(_UNITS, "party_group group or branch"),
    ),
    Figure("workers", 4_259, "网格员 grid workers", f"{_POSTS}grid_worker", "staff codes"),
    Figure(
        *("secretaries", 527, "“一肩挑”书记 secretaries"),
        *(f"{_POSTS}village_secretary", "staff codes"),
    ),
    Figure(
        *("first_secretaries", 436, "驻村第一书记和工作队 first secretaries and teams"),
        *(f"{_POSTS}first_secretary", "staff codes"),
    ),
    Figure("key_villages", 61, "重点村 key villages", f"{_POSTS}first_secretary", "units"),
    Figure(
        *("committee", 3_306, "“两委”成员和配套组织负责人 committee members and heads"),
        *(_VISITING, "roles: cadres of the secretaries, committee and supervisory members"),
    ),
    Figure("visits", 146_185, "入户走访 household visits", _YEAR, "totals.visits", share=True),
    Figure(
        *("solved", 5_687, "解决问题 problems solved", _YEAR),
        *("categories: household_problem, problems_resolved", True),
    ),
    Figure(
        *("disputes", 5_901, "化解矛盾纠纷 disputes settled", _YEAR),
        *("totals.disputes_settled", True),
    ),
    Figure(
        *("worries", 7_377, "揪心事烦心事 worries answered", _YEAR),
        *("totals.worries_answered", True),
    ),
    Figure(
        *("ties", 5_216, "结亲 family ties", _VISITING, "theirs: family, households", True),
    ),
    Figure(
        *("income", 527, "集体经济 ≥10 万元 villages with 100,000 yuan and more"),
        *(_values("collective_income"), "items with a value of 100,000 and more"),
    ),
    Figure("projects", 752, "产业项目 projects", _values("projects"), "value"),
    Figure("model", 55, "示范村 model villages", _MARKS, "units.model"),
    Figure("weak", 3, "薄弱村 weak villages", _MARKS, "units.weak"),
    Figure("lagging", 10, "后进村 lagging villages", _MARKS, "units.lagging"),
    Figure("trainings", 185, "培训班 trainings", _values("trainings"), "value"),
    Figure("lectures", 36, "大讲堂 lectures", _values("lectures"), "value"),
    Figure("specialists", 417, "农业科技特派员 specialists", _values("specialists"), "value"),
    *(
        Figure(
            *(f"article_{number}", number, "含义待核 not told what it counts"),
            *(_values(f"article_{number}"), "value"),
        )
        for number in (6_721, 409, 4_397, 10_541)
    ),
)


class Read(NamedTuple):
    """A figure as it was read, and what it should be."""

    figure: Figure
    value: int
    expected: int


async def read(get: Get, year: int, one_in: int = 1) -> list[Read]:
    """Reads every figure. `one_in`: of how many visits, problems and ties one was made."""
    found = {
        **await _of_roster(get),
        **await _of_year(get, {"unit": CITY, "year": str(year)}),
        **(await get("/v1/marks", unit=CITY, limit=1))["units"],
    }
    return [
        Read(one, found[one.key], one.number // one_in if one.share else one.number)
        for one in FIGURES
    ]


async def _of_roster(get: Get) -> dict[str, int]:
    units = [unit async for unit in _every(get, "/v1/units", unit=CITY)]
    levels = Counter(unit["level"] for unit in units)
    posts = {
        role: [post async for post in _every(get, "/v1/posts", unit=CITY, role=role)]
        for role in ("grid_worker", "village_secretary", "first_secretary")
    }
    cadres = {role: len({post["staff_code"] for post in some}) for role, some in posts.items()}
    return {
        "banners": levels["banner"],
        "townships": sum(unit["level"] == "township" and unit["kind"] != "街道" for unit in units),
        "villages": levels["village"],
        "grids": levels["grid"],
        "party_groups": sum(unit["party_group"] in ("group", "branch") for unit in units),
        "workers": cadres["grid_worker"],
        "secretaries": cadres["village_secretary"],
        "first_secretaries": cadres["first_secretary"],
        "key_villages": len({post["unit"] for post in posts["first_secretary"]}),
    }


async def _of_year(get: Get, of_year: dict[str, str]) -> dict[str, int]:
    summary = await get("/v1/summaries", **of_year)
    totals = summary["totals"]
    solved = next(row for row in summary["categories"] if row["category"] == "household_problem")
    visiting = await get("/v1/summaries/visiting", limit=1, **of_year)
    ties = next(one for one in visiting["theirs"] if one["kind"] == "family")
    income = await get("/v1/indicators/collective_income/values", **of_year)
    found = {
        "committee": sum(
            one["cadres"] for one in visiting["roles"] if one["role"] != "first_secretary"
        ),
        "visits": totals["visits"],
        "solved": solved["problems_resolved"],
        "disputes": totals["disputes_settled"],
        "worries": totals["worries_answered"],
        "ties": ties["households"],
        "income": sum(item["value"] >= 100_000 for item in income["items"]),
    }
    for one in FIGURES:
        if one.route.startswith("/v1/indicators/") and one.key not in found:
            path = one.route.partition("?")[0]
            found[one.key] = int((await get(path, limit=1, **of_year))["value"] or 0)
    return found


async def _every(get: Get, path: str, **query: Any) -> Any:
    after: dict[str, str] = {}
    while True:
        page = await get(path, limit=1000, **query, **after)
        for item in page["items"]:
            yield item
        if page["next"] is None:
            return
        after = {"after": page["next"]}
