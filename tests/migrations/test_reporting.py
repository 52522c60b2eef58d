"""The schema `report`, as a tool for charts reads it: with a plain connection, and the rows of its
units alone.
"""

import uuid
from typing import Any

import asyncpg
import pytest

from migrations import reporting
from migrations.report_views import VIEWS
from migrations.reporting import NoSuchUnit, NotForReports, grant, revoke, take_down
from migrations.roles import migrate
from service.runtime.postgres import as_role
from simulator.places import TOWNSHIP, VILLAGE
from simulator.throwaway import ROLES
from sync_protocol.moments import moment_at
from sync_protocol.records import PERSONAL
from tests.vocabulary.asking import ask
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

# By which column the rows of a view are those of a unit; indicators are those of all.
PLACES = {
    **{"units": "code", "cadres": "unit", "marks": "unit", "indicator_values": "unit"},
    "indicators": "",
}


def a_role() -> str:
    return f"report_{uuid.uuid4().hex[:12]}"


async def read(url: str, role: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(as_role(url, role))
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


@pytest.fixture
async def worked(world: World) -> World:
    phone = world.phone()
    await phone.sync()
    house = phone.records("household")[0]
    phone.put(
        "visit",
        {
            "visited_at": "2026-11-19T09:30:00+08:00",
            "household_id": house.id,
            "duties": {"add": ["emergency"]},
            "content": "不外传",
        },
        grid=house.grid,
    )
    fields = {"title": "水管", "duty": "emergency", "severity": "emergency"}
    made = phone.put("problem", {**fields, "raised_at": "2026-11-10T09:00:00+08:00"}, grid=GRID)
    step = {"problem_id": made, "action": "resolve", "at": moment_at(world.clock.ms())}
    phone.put("step", step, grid=GRID)
    await phone.sync()
    far = world.phone(f"W{FAR_GRID}-1")
    far.put("visit", {"visited_at": "2026-11-19T09:30:00+08:00"}, grid=FAR_GRID)
    await far.sync()
    await _report_and_check(world, house.id)
    return world


async def _report_and_check(world: World, house: str) -> None:
    """A dispute, a tie, a check, a value and a mark, each as it is written over REST."""
    income = {
        "name_zh": "村集体经济收入",
        "name_en": "income of the collective",
        "measure": "元",
        "period": "year",
        "level": "village",
        "aggregate": "sum",
        "reporters": ["village_secretary"],
        "target": 100_000,
    }
    [visit] = await world.fetch("SELECT id::text FROM visit WHERE grid = $1", GRID)
    plan = [
        {"due": "2026-01-31", "text": "不外传", "done_on": "2026-02-01"},
        {"due": "2026-06-30", "text": "不外传"},
    ]
    year = {"unit": VILLAGE, "period": "2026"}
    tied = {"household_id": house, "cadre": WORKER, "valid_from": "2026-01-01"}
    path = "/v1/indicators/collective_income"
    for method, where, body, by in (
        ("PUT", path, income, "admin"),
        ("PUT", f"{path}/values", {**year, "value": 120_000, "note": "不外传"}, SECRETARY),
        ("PUT", f"/v1/marks/{VILLAGE}", {"mark": "weak", "note": "不外传", "plan": plan}, "admin"),
        ("POST", "/v1/ties", {**tied, "kind": "family"}, SECRETARY),
        (
            "POST",
            f"/v1/visits/{visit['id']}/checks",
            {"finding": "confirmed", "note": "不外传"},
            SECRETARY,
        ),
    ):
        answer = await ask(world, method, where, body, by)
        assert answer.status_code < 300, answer.text


async def test_a_role_reads_what_was_done_in_its_unit_and_nothing_else(
    worked: World, database_url: str
) -> None:
    role = a_role()
    assert await grant(database_url, "gridloop", role, TOWNSHIP)
    assert await grant(database_url, "gridloop", role, VILLAGE) is None  # it is there
    for view in VIEWS:
        rows = await read(database_url, role, f"SELECT * FROM report.{view}")
        assert rows, view
        place = PLACES.get(view, "grid")
        assert not place or all(row[place].startswith(TOWNSHIP) for row in rows), view
    totals = (await worked.get("/v1/summaries/monthly", unit=TOWNSHIP, month="2026-11")).json()[
        "totals"
    ]
    [month] = await read(
        database_url,
        role,
        "SELECT sum(visits) AS visits, sum(households_visited) AS households, sum(problems_raised)"
        " AS raised FROM report.periods WHERE period = '2026-11'",
    )
    assert tuple(month) == (
        totals["visits"],
        totals["households_visited"],
        totals["problems_raised"],
    )
    [problem] = await read(database_url, role, "SELECT * FROM report.problems")
    assert (problem["is_open"], problem["raised_by"]) == (False, WORKER)
    [unit] = await read(database_url, role, f"SELECT * FROM report.units WHERE code = '{GRID}'")
    assert (unit["village"], unit["township"], unit["banner"]) == (VILLAGE, TOWNSHIP, TOWNSHIP[:6])
    [day] = await read(
        database_url,
        role,
        "SELECT sum(visits) AS n FROM report.days d JOIN report.units u ON u.code = d.grid"
        f" WHERE u.village = '{VILLAGE}'",
    )
    assert day["n"] == 1


async def test_what_is_reported_tied_and_checked_is_read_as_rest_tells_it(
    worked: World, database_url: str
) -> None:
    role = a_role()
    await grant(database_url, "gridloop", role, VILLAGE)
    [value] = await read(database_url, role, "SELECT * FROM report.indicator_values")
    told = (
        await worked.get("/v1/indicators/collective_income/values", unit=VILLAGE, year="2026")
    ).json()
    assert (value["value"], value["target"], value["unit"]) == (
        told["value"],
        told["target"],
        VILLAGE,
    )
    [indicator] = await read(database_url, role, "SELECT * FROM report.indicators")
    assert (indicator["measure"], indicator["aggregate"], indicator["target"]) == (
        *("元", "sum"),
        100_000,
    )
    [mark] = await read(database_url, role, "SELECT * FROM report.marks")
    steps = (mark["steps"], mark["steps_done"], mark["steps_overdue"])
    assert (mark["mark"], steps) == ("weak", (2, 1, 1))
    theirs = (await worked.get("/v1/summaries/visiting", unit=VILLAGE, year="2026")).json()[
        "theirs"
    ]
    tied = await read(
        database_url, role, "SELECT kind, count(*) FROM report.ties WHERE holds GROUP BY 1"
    )
    assert {row["kind"]: row["count"] for row in tied} == {
        one["kind"]: one["households"] for one in theirs if one["households"]
    }
    assert ("family", 1) in [tuple(row) for row in tied]
    [check] = await read(database_url, role, "SELECT * FROM report.visit_checks")
    assert (check["finding"], check["staff_code"], check["is_newest"]) == (
        *("confirmed", SECRETARY),
        True,
    )


async def test_nothing_personal_is_there_and_nothing_else_can_be_read_or_written(
    worked: World, database_url: str
) -> None:
    role = a_role()
    await grant(database_url, "gridloop", role, TOWNSHIP)
    hidden = {name for names in PERSONAL.values() for name in names}
    hidden |= {"name", "head_name", "content", "title", "detail", "note", "location", "tags"}
    hidden |= {"household_id", "parties", "mediator", "agreement", "plan", "evidence"}
    for view in VIEWS:
        rows = await read(database_url, role, f"SELECT * FROM report.{view} LIMIT 1")
        assert not (hidden - ({"name"} if view == "units" else set())) & {*rows[0].keys()}, view
        assert "不外传" not in str(rows)
    for sql in (
        "SELECT * FROM visit",
        "SELECT * FROM report.granted",
        "SELECT * FROM report.all_units",
        f"INSERT INTO report.granted VALUES ('{role}', '1502')",
        "CREATE TABLE report.mine ()",
        "CREATE TABLE public.mine ()",
    ):
        with pytest.raises(
            (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)
        ):
            await read(database_url, role, sql)


async def test_what_is_taken_back_is_gone_and_a_stranger_sees_nothing(
    worked: World, database_url: str
) -> None:
    role = a_role()
    await grant(database_url, "gridloop", role, TOWNSHIP)
    assert await revoke(database_url, role, None) == 1
    assert await revoke(database_url, role, None) == 0
    for view in VIEWS:
        assert await read(database_url, role, f"SELECT * FROM report.{view}") == []


async def test_a_unit_that_is_not_there_and_the_services_own_role_are_refused(
    world: World, database_url: str
) -> None:
    with pytest.raises(NoSuchUnit):
        await grant(database_url, "gridloop", a_role(), "9")
    owner = (await world.fetch(reporting.OWNER_OF_TABLES))[0][0]
    for role in (owner, "gridloop_other"):
        with pytest.raises(NotForReports):
            await grant(database_url, "gridloop_other", role, TOWNSHIP)


async def test_a_migration_takes_the_views_down_and_puts_them_up(
    worked: World, database_url: str
) -> None:
    import asyncio

    role = a_role()
    await grant(database_url, "gridloop", role, TOWNSHIP)
    await asyncio.to_thread(take_down, database_url)
    with pytest.raises(asyncpg.UndefinedTableError):
        await read(database_url, role, "SELECT * FROM report.days")
    await asyncio.to_thread(migrate, database_url, ROLES)
    assert await read(database_url, role, "SELECT * FROM report.days")
