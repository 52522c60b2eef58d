"""A tree of other levels, with other names and codes that do not nest."""

from tests.organisation.test_changes import ADMIN, admin
from tests.world import WORKER, World

UNITS = [
    # code, level, parent, name
    ("9", "land", None, "北州"),
    ("31", "shire", "9", "东郡"),
    ("20", "shire", "9", "西郡"),
    ("905", "parish", "20", "河教区"),
    ("311", "parish", "31", "山教区"),
    ("4001", "grid", "905", "一街坊"),
    ("4002", "grid", "311", "二街坊"),
]
LEVELS = [
    ("land", 1, "州", "land", False),
    ("shire", 2, "郡", "shire", True),
    ("parish", 3, "教区", "parish", True),
    ("grid", 4, "街坊", "court", True),
]


async def load(world: World) -> None:
    """In place of the roster's."""
    await world.fetch("DELETE FROM unit")
    await world.fetch("DELETE FROM level")
    for level in LEVELS:
        await world.fetch("INSERT INTO level VALUES ($1, $2, $3, $4, $5)", *level)
    for unit in UNITS:
        await world.fetch(
            "INSERT INTO unit (code, level, parent, name, kind, party_group)"
            " VALUES ($1, $2, $3, $4, '', 'none')",
            *unit,
        )
    for code in ("4001", "4002"):
        await world.fetch("INSERT INTO counter (grid, rev) VALUES ($1, 0)", code)
    await world.fetch("UPDATE post SET unit = '4001' WHERE staff_code = $1", WORKER)
    await world.fetch("UPDATE post SET unit = '9' WHERE staff_code = $1", ADMIN)


async def test_a_tree_of_other_levels_works(world: World) -> None:
    await admin(world)
    await load(world)
    phone = world.phone(WORKER)
    house = phone.put("household", {"head_name": "甲", "tags": {"add": ["veteran"]}}, grid="4001")
    at = world.clock.now().isoformat()
    phone.put("visit", {"visited_at": at, "household_id": house}, grid="4001")
    fields = {"title": "水管", "duty": "emergency", "raised_at": at, "household_id": house}
    problem = phone.put("problem", fields, grid="4001")
    world.clock.forward(minutes=1)
    step = {"problem_id": problem, "action": "escalate", "at": at}
    phone.put("step", step, grid="4001")
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"] * 4
    assert await phone.verify() == []

    week = {"unit": "9", "week": "2026-W47"}
    found = (await world.get("/v1/summaries/weekly", ADMIN, **week)).json()
    assert {child["unit"]["code"]: child["totals"]["visits"] for child in found["units"]} == {
        "20": 1,
        "31": 0,
    }
    assert found["loop"]["grids"] == 2
    units = (await world.get("/v1/units", ADMIN)).json()["items"]
    assert {unit["code"]: unit["parent"] for unit in units} == {
        code: parent for code, _, parent, _ in UNITS
    }
    levels = (await world.get("/v1/levels", ADMIN)).json()
    assert [level["name_en"] for level in levels] == ["land", "shire", "parish", "court"]
    [row] = await world.fetch("SELECT handler_unit FROM case_file")
    assert row["handler_unit"] == "20"
    made = await world.post("/v1/units", {"parent": "311", "name": "三街坊", "code": "7"}, ADMIN)
    assert made.status_code == 201, made.text
    assert made.json()["unit"]["level"] == "grid"
    # Who supervises a shire sees tags, who supervises the land only their counts.
    await world.fetch("UPDATE post SET unit = '20' WHERE staff_code = $1", ADMIN)
    houses = (await world.get("/v1/households", ADMIN)).json()["items"]
    assert [item["tags"] for item in houses] == [["veteran"]]
    assert (await world.get("/v1/households", ADMIN, unit="31")).status_code == 404
