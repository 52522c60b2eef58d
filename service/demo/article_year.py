"""`gridloop demo --article`: a city whose year shows the numbers of the founding article, written
through the one write path; see docs/article.md.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from importlib.resources import files
from typing import Any, NamedTuple

from service.identity.rights import PostHeld
from service.indicators import queries as indicator_queries
from service.kit.database import Connection, Database
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.organisation import generator
from service.organisation.load import load_cadres
from service.organisation.tree import Tree
from service.organisation.trees import current_tree
from service.vocabulary.changes import Changes
from service.vocabulary.indicators import LIST, Indicator
from service.vocabulary.keeping import read_reference_data
from service.vocabulary.terms import Term
from service.writes.server_writes import write_as_server
from sync_protocol.ids import household_id, indicator_value_id
from sync_protocol.messages import Mutation
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import from_ms, local_day, midnight

HOUSEHOLDS_PER_GRID = 2
# Problems of this category are those that cadres solved on their visits.
SOLVED = "household_problem"
CITY = "1502"
# Who reports the indicators of a level.
REPORTERS = {
    "village": ("village_secretary", "first_secretary", "admin"),
    "banner": ("supervisor", "admin"),
}


class Figures(NamedTuple):
    """The figures of the article that are work, or a share of them for a quick look or a test."""

    visits: int = 146_185
    solved: int = 5_687
    disputes: int = 5_901
    worries: int = 7_377
    ties: int = 5_216

    def scaled(self, part: int) -> "Figures":
        """One in `part` of each."""
        return Figures(*(number // part for number in self))


class Keeper(NamedTuple):
    """The administrator who writes what the city reports."""

    staff_code: str
    now: datetime
    today: date
    tree: Tree

    def reaches(self, code: str) -> bool:
        """All units are theirs."""
        return bool(code)


Progress = Callable[[int, int], None]


def seed() -> Any:
    """The indicators after the article, and what is reported of them."""
    folder = files("service.demo") / "data"
    return json.loads((folder / "article_indicators.json").read_text(encoding="utf-8"))


async def live(
    database: Database,
    settings: Settings,
    now: datetime,
    figures: Figures = Figures(),  # noqa: B008 - a tuple
    progress: Progress = lambda done, of: None,
) -> int:
    """Writes the year up to yesterday; returns the year. The roster is loaded already."""
    year = _Year(now, figures)
    async with database.transaction() as connection:
        tree = await current_tree(connection)
        keeper = Keeper("admin", now, local_day(now), tree)
        await _define(connection, settings, keeper)
        await _send_first_secretaries(connection, settings, year)
    villages = sorted(year.cadres)
    for place, village in enumerate(villages):
        async with database.transaction() as connection:
            await _village(connection, settings, year, village, place)
        progress(place + 1, len(villages))
    async with database.transaction() as connection:
        await _report(connection, settings, year)
    return year.number


class _Year:
    """Who does how much, and when: shares that add up to the figures."""

    def __init__(self, now: datetime, figures: Figures) -> None:
        today = local_day(now)
        # In January the year before has more to show.
        self.number = today.year if today.month > 1 else today.year - 1
        last = min(today - timedelta(days=1), date(self.number, 12, 31))
        first = date(self.number, 1, 1)
        self.days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        self.now = now
        self.figures = figures
        self.grids: dict[str, list[str]] = {}
        self.cadres: dict[str, list[str]] = {}
        whole = generator.roster()
        for unit in whole.units:
            if unit.level == "grid":
                self.grids.setdefault(unit.code[:12], []).append(unit.code)
        for cadre in whole.cadres:
            if cadre.unit in self.grids and cadre.role != "grid_worker":
                self.cadres.setdefault(cadre.unit, []).append(cadre.staff_code)
        self.seed = seed()

    def at(self, number: int) -> str:
        """When something happened: spread over the year, at nine in the morning."""
        day = self.days[number * 37 % len(self.days)]
        return canonical_moment(midnight(day) + timedelta(hours=9))

    def share(self, total: int, place: int) -> range:
        """The numbers of a village of all that there are of something."""
        return _share(total, place, len(self.cadres))


def _share(total: int, place: int, count: int) -> range:
    """The numbers of one of so many, of all that there are of something."""
    return range(total * place // count, total * (place + 1) // count)


async def _define(connection: Connection, settings: Settings, keeper: Keeper) -> None:
    """The category, and the indicators of the seed."""
    changes = Changes(connection, settings, keeper)
    solved = Term("category", SOLVED, "走访解决的问题", "problems solved on visits", position=30)
    await changes.put("category", solved._replace(valid_from=date(keeper.today.year - 1, 1, 1)))
    for place, one in enumerate(seed()["indicators"]):
        values = {name: one[name] for name in ("name_zh", "name_en", "measure", "level")}
        found = Indicator(
            one["code"],
            **values,
            period="year",
            aggregate=one["aggregate"],
            reporters=REPORTERS[one["level"]],
            target=one.get("target"),
        )
        data = await read_reference_data(connection)
        known = data.vocabulary.edited.get(LIST, {})
        if found.code in known:
            continue
        term = Term(
            *(LIST, found.code, found.name_zh, found.name_en, None, 10 + 10 * place),
            *(keeper.today, None, found.attributes()),
        )
        await changes.put(LIST, term)
    for level in sorted({one["level"] for one in seed()["indicators"]}):
        await indicator_queries.open_feeds(connection, level)


async def _send_first_secretaries(connection: Connection, settings: Settings, year: _Year) -> None:
    """First secretaries with their teams, on a term of two years, to the key villages: those that
    are weak or lagging, and some more.
    """
    marks, key = year.seed["marks"], year.seed["key_villages"]
    villages = sorted(year.cadres)[marks["model"] :][: key["villages"]]
    begins = midnight(date(year.number, 1, 1))
    await load_cadres(
        connection,
        [
            _first_secretary(village, number)
            for place, village in enumerate(villages)
            for number in _share(key["cadres"], place, len(villages))
        ],
        None,
        await cipher_of(connection, settings),
        (begins, midnight(date(year.number + 2, 1, 1))),
    )


def _first_secretary(village: str, number: int) -> generator.CadreRow:
    code = f"F{village}-{number + 1}"
    name, phone = generator.person(code), generator.phone(code)
    return generator.CadreRow(code, name, phone, True, "first_secretary", village)


async def _village(
    connection: Connection, settings: Settings, year: _Year, village: str, place: int
) -> None:
    """What a village did: its cadres in turn, then what its administrator writes."""
    cadres = year.cadres[village]
    work: dict[str, list[Mutation]] = {code: [] for code in cadres}
    for number in year.share(year.figures.visits, place):
        work[cadres[number % len(cadres)]].append(_visit(year, village, number))
    for kind, total in (
        (SOLVED, year.figures.solved),
        ("dispute", year.figures.disputes),
        ("worry", year.figures.worries),
    ):
        for number in year.share(total, place):
            some = _problem(year, village, kind, number)
            work[cadres[number % len(cadres)]].extend(some)
    for code, mutations in work.items():
        await _write(connection, settings, code, "village_committee", village, mutations, year.now)
    reported = _values(year, "village", village, place, len(year.cadres))
    own = [*_ties(year, village, place, cadres), *reported]
    await _write(connection, settings, "admin", "admin", CITY, own, year.now)
    await _mark(connection, year, village, place)


async def _write(
    connection: Connection,
    settings: Settings,
    code: str,
    role: str,
    unit: str,
    mutations: Sequence[Mutation],
    now: datetime,
) -> None:
    post = PostHeld(role, unit, from_ms(0), None)
    for verdict in await write_as_server(connection, settings, code, post, mutations, now):
        if verdict.outcome == "held":
            raise RuntimeError(f"{code}: {verdict.reason}: {verdict.detail}")


def _id(*names: object) -> str:
    """An id by names, so that the year is the same each time."""
    return indicator_value_id(*map(str, names))


def _home(year: _Year, village: str, number: int) -> tuple[str, str]:
    """A grid of a village and one of its households."""
    grids = year.grids[village]
    grid = grids[number % len(grids)]
    return grid, household_id(grid, 1 + number // len(grids) % HOUSEHOLDS_PER_GRID)


def _visit(year: _Year, village: str, number: int) -> Mutation:
    grid, house = _home(year, village, number)
    fields = {
        "household_id": house,
        "visited_at": year.at(number),
        "duties": {"add": ["public_service"]},
        "content": "入户走访，了解生产生活情况",
    }
    return Mutation(0, "visit", _id("visit", village, number), grid, fields=fields)


def _problem(year: _Year, village: str, category: str, number: int) -> Iterator[Mutation]:
    """A problem, and the step that resolves it on the same day."""
    grid, house = _home(year, village, number)
    problem = _id("problem", village, f"{category}-{number}")
    fields: dict[str, Any] = {
        "household_id": house,
        "duty": "public_order" if category == "dispute" else "public_service",
        "category": category,
        "title": {"dispute": "邻里地界纠纷", "worry": "群众揪心事"}.get(category, "走访发现的问题"),
        "raised_at": year.at(number),
    }
    if category == "dispute":
        fields |= {"dispute_kind": "neighbours", "agreement": "双方达成一致"}
    yield Mutation(0, "problem", problem, grid, fields=fields)
    step = {"problem_id": problem, "action": "resolve", "at": year.at(number), "note": "已办结"}
    yield Mutation(0, "step", _id("step", village, f"{category}-{number}"), grid, fields=step)


def _ties(year: _Year, village: str, place: int, cadres: Sequence[str]) -> Iterator[Mutation]:
    """Family ties: each cadre of the village with some of its households."""
    for number in year.share(year.figures.ties, place):
        grid, house = _home(year, village, number)
        fields = {
            "household_id": house,
            "cadre": cadres[number % len(cadres)],
            "kind": "family",
            "valid_from": f"{year.number}-01-01",
        }
        yield Mutation(0, "tie", _id("tie", village, number), grid, fields=fields)


async def _report(connection: Connection, settings: Settings, year: _Year) -> None:
    """What the banners report."""
    banners = sorted({village[:6] for village in year.cadres})
    values = [
        value
        for place, banner in enumerate(banners)
        for value in _values(year, "banner", banner, place, len(banners))
    ]
    await _write(connection, settings, "admin", "admin", CITY, values, year.now)


def _values(year: _Year, level: str, unit: str, place: int, count: int) -> Iterator[Mutation]:
    """What a unit, one of so many, reports: of indicators with a figure in the article."""
    for one in year.seed["indicators"]:
        value = _value(one, place, count) if one["level"] == level else None
        if value is not None:
            fields = {
                "indicator": one["code"],
                "period": str(year.number),
                "value": value,
                "source": "《党建》2022 年刊文所列数字，演示数据",
            }
            id = indicator_value_id(unit, one["code"], str(year.number))
            yield Mutation(0, "indicator_value", id, unit, fields=fields)


def _value(one: Mapping[str, Any], place: int, count: int) -> int | None:
    if "each" in one:
        return int(one["each"]) + 500 * (place % 60)
    return len(_share(one["total"], place, count)) if "total" in one else None


async def _mark(connection: Connection, year: _Year, village: str, place: int) -> None:
    """The first villages are model ones, then come weak and lagging ones, each with its plan."""
    begins = 0
    for mark, count in year.seed["marks"].items():
        if begins <= place < begins + count:
            first = date(year.number, 1, 1)
            plan = [
                {"due": f"{year.number}-06-30", "text": "制定提升方案", "done_on": None},
                {"due": f"{year.number}-12-31", "text": "完成提升任务", "done_on": None},
            ]
            values = {"unit": village, "mark": mark, "valid_from": first, "valid_to": None}
            values |= {"note": None, "plan": [] if mark == "model" else plan}
            await indicator_queries.put_mark(connection, values, "admin", year.now)
        begins += count
