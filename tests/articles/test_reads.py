"""How often articles were read: by unit and day, without readers."""

from typing import Any

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

FAR_WORKER = f"W{FAR_GRID}-1"


async def published(world: World, unit: str = "1502") -> str:
    body = {"unit": unit, "kind": "policy", "title": "补贴政策", "body": "……"}
    made = (await world.post("/v1/articles", body, "S1502")).json()["id"]
    assert (await world.post(f"/v1/articles/{made}/publication", None, "S1502")).status_code == 200
    return str(made)


async def read(world: World, by: str, *reads: dict[str, Any], **more: Any) -> Any:
    answer = await world.post("/v1/articles/reads", {"reads": list(reads), **more}, by)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def reads(world: World, id: str, unit: str = "1502", by: str = "S1502", **query: Any) -> Any:
    query = {"unit": unit, "year": "2026"} | query
    answer = await world.get(f"/v1/articles/{id}/reads", by, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_reads_add_up_by_unit(world: World) -> None:
    one = await published(world)
    await read(world, WORKER, {"article": one, "count": 3})
    await read(world, WORKER, {"article": one})
    await read(world, SECRETARY, {"article": one, "count": 2})
    await read(world, FAR_WORKER, {"article": one})
    city = await reads(world, one)
    assert (city["whole"]["reads"], city["whole"]["phone"], city["whole"]["app"]) == (7, 7, 0)
    below = {row["unit"]["code"]: row["reads"] for row in city["below"]}
    assert (below[VILLAGE[:6]], below[FAR_GRID[:6]]) == (6, 1)
    village = await reads(world, one, VILLAGE, SECRETARY)
    assert village["whole"]["reads"] == 6
    assert {row["unit"]["code"]: row["reads"] for row in village["below"]}[GRID] == 4


async def test_a_read_is_counted_on_its_day(world: World) -> None:
    one = await published(world)
    await read(world, WORKER, {"article": one, "day": "2026-11-02"}, {"article": one, "count": 2})
    await read(world, WORKER, {"article": one, "day": "2027-01-01"})
    path = f"/v1/articles/{one}/reads"
    week = await world.get(path, "S1502", unit="1502", week="2026-W47")
    assert week.json()["whole"]["reads"] == 3
    assert (await reads(world, one))["whole"]["reads"] == 4


async def test_what_is_not_meant_for_the_reader_is_not_counted(world: World) -> None:
    far, draft = await published(world, FAR_GRID[:6]), "01920000-0000-7000-8000-000000000001"
    told = await read(world, WORKER, {"article": far}, {"article": draft})
    assert (told["counted"], told["unknown"]) == (0, sorted([far, draft]))
    assert (await reads(world, far))["whole"]["reads"] == 0
    beyond = {"unit": FAR_GRID, "reads": [{"article": far}]}
    assert (await world.post("/v1/articles/reads", beyond, WORKER)).status_code == 404


async def test_nothing_says_who_has_read(world: World) -> None:
    one = await published(world)
    await read(world, WORKER, {"article": one, "count": 3})
    columns = await world.fetch(
        "SELECT column_name AS name FROM information_schema.columns"
        " WHERE table_name = 'article_read'"
    )
    assert {row["name"] for row in columns} == {"article", "unit", "day", "source", "reads"}
    assert (
        await world.fetch(
            "SELECT FROM audit WHERE action LIKE '%read%' AND staff_code = $1", WORKER
        )
        == []
    )


async def test_a_person_reads_no_thousand_times_at_once(world: World) -> None:
    one = await published(world)
    body = {"reads": [{"article": one, "count": 101}]}
    assert (await world.post("/v1/articles/reads", body, WORKER)).status_code == 422


async def test_who_edits_articles_sees_the_counts_of_own_units(world: World) -> None:
    one = await published(world)
    assert (await reads(world, one, TOWNSHIP, SUPERVISOR))["whole"]["reads"] == 0
    far = await world.get(f"/v1/articles/{one}/reads", SUPERVISOR, unit="1502", year="2026")
    assert far.status_code == 404
