"""Every number of the summaries against a plain recomputation over random histories, late arrivals
and reopenings included.
"""

import asyncio
import random
import statistics
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest

from service.tallies import recount as checking
from service.tallies.recount import differences, mend, parts_of
from service.tallies.recount_part import Part
from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol import periods
from sync_protocol.lifecycle import OPEN, TRANSITIONS
from sync_protocol.moments import moment_at
from sync_protocol.periods import Period, local_day
from tests.world import FAR_GRID, GRID, OTHER_GRID, Phone, World

CADRES = {
    f"W{GRID}-1": [GRID],
    f"W{OTHER_GRID}-1": [OTHER_GRID],
    f"C{VILLAGE}-1": [GRID, OTHER_GRID],
}
START = datetime(2026, 11, 9, 1, 0, tzinfo=UTC)
DUTIES = ["emergency", "public_order", "social_relief"]


class History:
    """A random history over two and a half weeks, and what a plain reader would have counted of
    it.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.phones: list[Phone] = []
        self.visits: list[dict[str, Any]] = []
        self.problems: dict[str, dict[str, Any]] = {}
        self.present: dict[date, list[str]] = {}
        self.contacts: dict[date, set[str]] = {}

    async def live(self, steps: int) -> None:
        """Edits on phones that sync now and then, so that much comes in late and out of order."""
        self.world.clock.stand_at(START)
        self.phones = [self.world.phone(staff_code) for staff_code in CADRES]
        for phone in self.phones:
            await phone.sync()
        await self._count_households()
        self.houses = {
            view.id: view.grid for phone in self.phones for view in phone.records("household")
        }
        for _ in range(steps):
            self.world.clock.forward(minutes=self.rng.randint(1, 12 * 60))
            phone = self.rng.choice(self.phones)
            self.act(phone)
            if self.rng.random() < 0.15:
                await phone.sync()
                await self._count_households()
        self.world.clock.forward(hours=1)
        for _ in range(2):
            for phone in self.phones:
                await phone.sync()
        await self._count_households()

    def act(self, phone: Phone) -> None:
        """Something that somebody does on a phone."""
        visit, raising, step = self._visit, self._raise, self._step
        some = [visit, visit, visit, raising, step, step, self._change]
        self.rng.choice(some)(phone)

    async def _count_households(self) -> None:
        """The grids of the households that are present, and which are contact households, as they
        stand at the end of the day.
        """
        rows = await self.world.fetch(
            "SELECT id, grid, state, contact_member FROM household WHERE NOT deleted"
        )
        present = [row["grid"] for row in rows if row["state"] in (None, "present")]
        today = local_day(self.world.clock.now())
        self.present[today] = present
        self.contacts[today] = {str(row["id"]) for row in rows if row["contact_member"] is not None}

    def _past(self) -> str:
        return moment_at(
            self.world.clock.ms()
            - self.rng.choice((0, 0, 0, 3_600_000, 26 * 3_600_000, 9 * 86_400_000))
        )

    def _visit(self, phone: Phone) -> None:
        grid = self.rng.choice(CADRES[phone.account.staff_code])
        house = self.rng.choice([None, *(id for id, home in self.houses.items() if home == grid)])
        duties = self.rng.sample(DUTIES, self.rng.randint(0, 2))
        fields = {"visited_at": self._past(), "duties": {"add": duties}} | (
            {"household_id": house} if house else {}
        )
        phone.put("visit", fields, grid=grid)

    def _raise(self, phone: Phone) -> None:
        fields = {
            "title": "x",
            "duty": self.rng.choice(DUTIES),
            "severity": self.rng.choice(("ordinary", "urgent", "emergency")),
        }
        phone.put(
            "problem",
            {**fields, "raised_at": self._past()},
            grid=self.rng.choice(CADRES[phone.account.staff_code]),
        )

    def _step(self, phone: Phone) -> None:
        problems = phone.records("problem")
        if problems:
            view = self.rng.choice(problems)
            action = self.rng.choice(
                (
                    "accept",
                    "handle",
                    "resolve",
                    "resolve",
                    "resolve",
                    "reopen",
                    "return",
                    "reject",
                    "close",
                )
            )
            fields = {
                "problem_id": view.id,
                "action": action,
                "at": moment_at(self.world.clock.ms()),
            }
            phone.put("step", fields, grid=view.grid)

    def _change(self, phone: Phone) -> None:
        visits = [view for view in phone.records("visit") if view.by == phone.account.staff_code]
        if not visits:
            return
        view = self.rng.choice(visits)
        match self.rng.randint(0, 3):
            case 0:
                phone.delete("visit", view.id, grid=view.grid)
            case 1:
                phone.put("visit", {"visited_at": self._past()}, grid=view.grid, id=view.id)
            case 2:
                phone.put(
                    "visit",
                    {"duties": {"add": [self.rng.choice(DUTIES)]}},
                    grid=view.grid,
                    id=view.id,
                )
            case 3:
                house = self.rng.choice(
                    [id for id, home in self.houses.items() if home == view.grid]
                )
                phone.put(
                    "household",
                    self.rng.choice(
                        [
                            {"contact_member": None},
                            {"contact_member": "C1"},
                            {"state": "away", "state_since": "2026-11-20"},
                            {"state": "present", "state_since": None},
                        ]
                    ),
                    grid=view.grid,
                    id=house,
                )

    async def read(self) -> None:
        """All records as they stand, read plainly: states by walking the steps with the transition
        table and nothing else.
        """
        self.visits = [
            dict(row) for row in await self.world.fetch("SELECT * FROM visit WHERE NOT deleted")
        ]
        self.cases = []
        for row in await self.world.fetch("SELECT * FROM problem WHERE NOT deleted"):
            state, resolved = "raised", None
            for step in await self.world.fetch(
                "SELECT * FROM step WHERE problem_id = $1 ORDER BY stamp, id", row["id"]
            ):
                allowed, after = TRANSITIONS[step["action"]]
                if state not in allowed:
                    continue
                state = after or state
                if step["action"] == "resolve":
                    resolved = (step["at"], step["created_by"])
                elif step["action"] in ("return", "reopen"):
                    resolved = None
            self.cases.append({**dict(row), "state": state, "resolved": resolved})

    def totals(
        self, unit: str, period: Period, now: datetime, dues: dict[str, datetime]
    ) -> dict[str, Any]:
        """The totals of a unit, counted one by one."""

        def within(moment: datetime) -> bool:
            return period.first <= local_day(moment) <= period.last

        # Households and ties as of the period's end; before the history as at its beginning.
        on = max((day for day in self.present if day <= period.last), default=min(self.present))
        visits = [
            row for row in self.visits if row["grid"].startswith(unit) and within(row["visited_at"])
        ]
        seen = {str(row["household_id"]) for row in visits if row["household_id"]}
        counted = [
            case
            for case in self.cases
            if case["grid"].startswith(unit) and case["state"] not in ("rejected", "joined")
        ]
        solved = [case for case in counted if case["resolved"] and within(case["resolved"][0])]
        still = [
            case
            for case in counted
            if case["raised_at"] < period.ends
            and (not case["resolved"] or case["resolved"][0] >= period.ends)
        ]
        hours = [
            (case["resolved"][0] - case["raised_at"]).total_seconds() / 3600 for case in solved
        ]
        return {
            "visits": len(visits),
            "households": sum(grid.startswith(unit) for grid in self.present[on]),
            "households_visited": len(seen),
            "contact_households_visited": len(seen & self.contacts[on]),
            "problems_raised": sum(within(case["raised_at"]) for case in counted),
            "problems_resolved": len(solved),
            "problems_open": len(still),
            "problems_overdue": sum(
                dues[str(case["id"])] < min(period.ends, now) for case in still
            ),
            "median_hours_to_resolve": round(statistics.median(hours), 2) if hours else None,
        }


@pytest.mark.parametrize("seed", range(6))
async def test_every_number_is_that_of_a_plain_recomputation(world: World, seed: int) -> None:
    history = History(world, seed)
    await history.live(90)
    await history.read()
    dues = {
        str(row["problem"]): row["due"]
        for row in await world.fetch("SELECT problem, due FROM case_file")
    }
    assert {str(case["id"]): case["state"] for case in history.cases} == {
        str(row["problem"]): row["state"]
        for row in await world.fetch("SELECT problem, state FROM case_file")
    }
    for which, period in [("weekly", periods.week(f"2026-W{n}")) for n in (45, 46, 47, 48, 49)] + [
        ("monthly", periods.month("2026-11"))
    ]:
        answers = {}
        for unit in (TOWNSHIP, VILLAGE, GRID):
            query = {"week" if which == "weekly" else "month": period.name}
            answers[unit] = (await world.get(f"/v1/summaries/{which}", unit=unit, **query)).json()
            wanted = history.totals(unit, period, world.clock.now(), dues)
            assert {name: answers[unit]["totals"][name] for name in wanted} == pytest.approx(
                wanted
            ), (unit, period.name)
            check_severities(history, answers[unit], unit, period, world.clock.now(), dues)
        before = history.totals(TOWNSHIP, periods.previous(period), world.clock.now(), dues)
        assert {name: answers[TOWNSHIP]["previous"][name] for name in before} == pytest.approx(
            before
        )
        check_duties(history, answers[TOWNSHIP], period)
        counted = [case for case in history.cases if case["state"] not in ("rejected", "joined")]
        arrived = [(row["visited_at"], row["received_at"]) for row in history.visits]
        arrived += [(case["raised_at"], case["received_at"]) for case in counted]
        late = [
            came
            for at, came in arrived
            if period.first <= local_day(at) <= period.last and came >= period.ends
        ]
        assert answers[TOWNSHIP]["late_arrivals"] == len(late)
        await check_cadres(history, world, period)
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []


def check_severities(
    history: History,
    answer: Any,
    unit: str,
    period: Period,
    now: datetime,
    dues: dict[str, datetime],
) -> None:
    """Raised in the period, open and overdue at its end, each severity by itself."""
    wanted = {}
    for severity in ("ordinary", "urgent", "emergency"):
        counted = [
            case
            for case in history.cases
            if case["grid"].startswith(unit) and case["severity"] == severity
        ]
        counted = [
            case
            for case in counted
            if case["state"] not in ("rejected", "joined") and case["raised_at"] < period.ends
        ]
        still = [
            case for case in counted if not case["resolved"] or case["resolved"][0] >= period.ends
        ]
        late = [case for case in still if dues[str(case["id"])] < min(period.ends, now)]
        wanted[severity] = (
            sum(case["raised_at"] >= period.begins for case in counted),
            len(still),
            len(late),
        )
    assert wanted == {
        item["severity"]: (item["problems_raised"], item["problems_open"], item["problems_overdue"])
        for item in answer["severities"]
    }


def check_duties(history: History, answer: Any, period: Period) -> None:
    """A visit counts under each of its duties."""
    visits: Counter[str] = Counter()
    for row in history.visits:
        if period.first <= local_day(row["visited_at"]) <= period.last:
            visits.update(row["duties"] or ())
    assert {item["duty"]: item["visits"] for item in answer["duties"] if item["visits"]} == dict(
        visits
    )


async def check_cadres(history: History, world: World, period: Period) -> None:
    """Credit by cadre, asked for by name and by days; open and overdue problems are in the hands of
    whoever took them last.
    """
    raised: Counter[str] = Counter()
    resolved: Counter[str] = Counter()
    for case in history.cases:
        if case["state"] in ("rejected", "joined"):
            continue
        if period.first <= local_day(case["raised_at"]) <= period.last:
            raised[case["created_by"]] += 1
        if case["resolved"] and period.first <= local_day(case["resolved"][0]) <= period.last:
            resolved[case["resolved"][1]] += 1
    visits = Counter(
        row["created_by"]
        for row in history.visits
        if period.first <= local_day(row["visited_at"]) <= period.last
    )
    kind = periods.kind_of(period.name)
    by_name = [] if kind == "days" else [{kind: period.name}]
    by_days = {"from": period.first.isoformat(), "to": period.last.isoformat()}
    for query in (*by_name, by_days):
        rows = (await world.get("/v1/summaries/cadres", unit=TOWNSHIP, **query)).json()["items"]
        for name, wanted in (
            ("visits", visits),
            ("problems_raised", raised),
            ("problems_resolved", resolved),
        ):
            assert {row["staff_code"]: row[name] for row in rows if row[name]} == dict(wanted), (
                name,
                query,
            )


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every village in which anything was written is a part by itself."""
    monkeypatch.setattr(checking, "PART_REVS", 1)


async def test_a_check_finds_and_mends_what_was_spoilt(world: World, small_parts: None) -> None:
    history = History(world, 99)
    await history.live(60)
    far = world.phone(f"W{FAR_GRID}-1")
    far.put("visit", {"visited_at": moment_at(world.clock.ms())}, grid=FAR_GRID)
    await far.sync()
    await world.fetch("UPDATE tally SET visits = visits + 1 WHERE visits > 0")
    await world.fetch("UPDATE grid_tally SET households = 0")
    await world.fetch("DELETE FROM household_tally")
    await world.fetch(
        "DELETE FROM visited_household WHERE household = (SELECT min(household::text)::uuid"
        " FROM visited_household)"
    )
    await world.fetch(
        "INSERT INTO visited_household SELECT gen_random_uuid(), '2026-W47', $1", FAR_GRID
    )
    await world.fetch("UPDATE case_file SET state = 'closed' WHERE state = ANY($1)", sorted(OPEN))
    await world.fetch(
        "DELETE FROM case_file WHERE problem = (SELECT min(problem::text)::uuid FROM case_file)"
    )
    # Rows of no unit that there is, before, between and behind all codes.
    for grid in ("", "150202100200zzz", "9", "x", "􏿾"):
        await world.fetch(
            "INSERT INTO week_tally (week, grid, visits_1) VALUES ('2026-W01', $1, 1)", grid
        )
    await world.fetch("UPDATE village_week_tally SET prompt_1 = prompt_1 + 1")
    await world.fetch(
        "INSERT INTO case_tally (every, span, village, severity, raised)"
        " VALUES ('', '', '15', 'urgent', 3)"
    )
    await world.fetch(
        "INSERT INTO duty_tally (span, grid, duty, visits) VALUES ('2026-W47', $1, 'forestry', 1)",
        FAR_GRID,
    )
    await world.fetch("UPDATE hours_tally SET problems = problems + 1")
    await world.fetch(
        "INSERT INTO hours_tally (span, village, band, problems) VALUES ('2026', $1, 3, 1)", "15"
    )
    await world.fetch(
        "INSERT INTO category_tally (span, grid, category, raised)"
        " VALUES ('2026-W47', $1, 'dispute', 1)",
        FAR_GRID,
    )
    # A case that stands in another part than its problem is one difference and not two.
    await world.fetch(
        "UPDATE case_file SET grid = $1 WHERE problem = (SELECT max(problem::text)::uuid"
        " FROM case_file)",
        FAR_GRID,
    )
    mended = []

    async def note(_: object, count: int) -> None:
        mended.append(count)

    async with world.state.database.reading() as connection:
        found = await differences(connection, world.state.settings)
        strays = {item.key for item in found if item.what == "week_tally"}
        assert strays == {
            str(("2026-W01", grid)) for grid in ("", "150202100200zzz", "9", "x", "􏿾")
        }
        assert {item.what for item in found} == {"case", *checking.TABLES} - {"cadre_tally"}
        assert len({(item.what, item.key) for item in found}) == len(found)
        parts = await parts_of(connection)
        assert len(parts) > 1
        for part in parts:
            await mend(connection, world.state.settings, part, note)
        assert sum(mended) == len(found)
        assert await differences(connection, world.state.settings) == []


async def test_phones_hand_in_while_a_check_is_under_way_and_only_what_stays_wrong_is_reported(
    world: World, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = world.phone()
    await phone.sync()

    async def hand_in() -> None:
        phone.put("visit", {"visited_at": moment_at(world.clock.ms())}, grid=GRID)
        async with asyncio.timeout(10):
            await phone.sync()

    await hand_in()
    await world.fetch("UPDATE tally SET visits = visits + 7 WHERE grid = $1", GRID)
    looks: list[bool] = []
    see = checking.see

    async def busy(connection: Any, settings: Any, part: Part) -> Any:
        """Somebody writes in the part during every look, unless that look holds writers back."""
        seen = await see(connection, settings, part)
        if part.begins <= GRID < part.ends:
            held = await world.fetch(
                "SELECT FROM pg_locks WHERE relation = 'counter'::regclass"
                " AND mode = 'ExclusiveLock'"
            )
            looks.append(bool(held))
            if not held:
                await hand_in()
        return seen

    monkeypatch.setattr(checking, "see", busy)
    async with world.state.database.reading() as connection:
        found = await differences(connection, world.state.settings)
    assert [(item.what, item.recounted) for item in found] == [("tally", f"({len(looks)}, 0, 0)")]
    assert looks == [False] * (len(looks) - 1) + [True]


async def test_what_differs_only_for_a_moment_is_not_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = world.phone()
    phone.put("visit", {"visited_at": moment_at(world.clock.ms())}, grid=GRID)
    await phone.sync()
    await world.fetch("UPDATE tally SET visits = visits + 7")
    see = checking.see

    async def seen_once(*given: Any) -> Any:
        seen = await see(*given)
        await world.fetch("UPDATE tally SET visits = 1")
        return seen

    monkeypatch.setattr(checking, "see", seen_once)
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []


async def test_a_unit_without_any_data_and_weeks_over_new_year(world: World) -> None:
    for week in ("2026-W53", "2027-W01", "2020-W53"):
        answer = (
            await world.get("/v1/summaries/weekly", "S150221", unit="150221", week=week)
        ).json()
        assert (answer["totals"]["visits"], answer["totals"]["coverage"]) == (0, None)
    phone = world.phone()
    world.clock.stand_at(datetime(2027, 1, 2, 4, 0, tzinfo=UTC))
    for at in (
        "2026-12-28T00:00:00+08:00",
        "2027-01-01T12:00:00+08:00",
        "2027-01-02T09:00:00+08:00",
    ):
        phone.put("visit", {"visited_at": at}, grid=GRID)
    await phone.sync()
    weeks = [
        (await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week=week)).json()
        for week in ("2026-W53", "2027-W01")
    ]
    months = [
        (await world.get("/v1/summaries/monthly", unit=TOWNSHIP, month=month)).json()
        for month in ("2026-12", "2027-01")
    ]
    assert [item["totals"]["visits"] for item in (*weeks, *months)] == [3, 0, 1, 2]
    assert weeks[1]["previous"]["visits"] == 3
    assert (
        await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week="2027-W53")
    ).status_code == 422
