"""Visits over REST: the newest first, however long ago, page by page."""

from datetime import timedelta

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.pages.administering import browser_of
from tests.world import GRID, OTHER_GRID, SECRETARY, WORKER, World

AGES = (0, 1, 5, 8, 30, 59, 61, 100, 399, 401, 700)


async def made(world: World) -> list[str]:
    """Visits of many ages, newest first."""
    phone = world.wire(SECRETARY)
    now = world.clock.now()
    mutations = []
    for seq, days in enumerate(AGES, 1):
        fields = {
            "visited_at": (now - timedelta(days=days)).isoformat(),
            "content": f"{days}",
            "duties": {"add": ["emergency"]},
        }
        mutations.append(phone.mutation(seq, grid=(GRID, OTHER_GRID)[seq % 2], fields=fields))
    await world.fetch("UPDATE post SET valid_from = '2000-01-01' WHERE staff_code = $1", SECRETARY)
    answer = (await phone.send(*mutations)).json()
    assert {verdict["outcome"] for verdict in answer["verdicts"]} == {"applied"}
    return [str(days) for days in AGES]


async def test_a_township_sees_all_of_them_the_newest_first(world: World) -> None:
    wanted = await made(world)
    for unit in (TOWNSHIP, VILLAGE):
        for limit in (1, 3, 4, 100):
            seen: list[str] = []
            query: dict[str, object] = {"unit": unit, "limit": limit}
            while True:
                page = (await world.get("/v1/visits", SUPERVISOR, **query)).json()
                seen += [item["content"] for item in page["items"]]
                if page["next"] is None:
                    break
                query["after"] = page["next"]
            assert seen == wanted, (unit, limit)


async def test_days_cadres_and_duties_narrow_the_list(world: World) -> None:
    await made(world)
    first = (world.clock.now() - timedelta(days=61)).date().isoformat()
    last = (world.clock.now() - timedelta(days=8)).date().isoformat()
    page = (await world.get("/v1/visits", SUPERVISOR, **{"from": first, "to": last})).json()
    assert [item["content"] for item in page["items"]] == ["8", "30", "59", "61"]
    assert (await world.get("/v1/visits", SUPERVISOR, cadre=WORKER)).json()["items"] == []
    assert len(
        (await world.get("/v1/visits", SUPERVISOR, duty="emergency")).json()["items"]
    ) == len(AGES)


async def test_a_text_is_found_in_a_village_or_of_a_cadre_and_not_looked_for_in_a_township(
    world: World,
) -> None:
    await made(world)
    for asked in ({"unit": VILLAGE}, {"cadre": SECRETARY}, {"unit": VILLAGE, "cadre": SECRETARY}):
        page = (await world.get("/v1/visits", SUPERVISOR, text="9", **asked)).json()
        assert [item["content"] for item in page["items"]] == ["59", "399"]
    for sign in ("%", "_"):
        page = (await world.get("/v1/visits", SUPERVISOR, text=sign, unit=VILLAGE)).json()
        assert page["items"] == []
    wide = await world.get("/v1/visits", SUPERVISOR, text="9", unit=TOWNSHIP)
    assert wide.status_code == 422
    browser = await browser_of(world, SUPERVISOR)
    page_of = {"unit": VILLAGE, "text": "399"}
    narrow = await browser.get("/visits", **page_of)
    assert 'name="text" value="399"' in narrow.text
    assert narrow.text.count('data-id="') == 1
    assert (
        'name="text"'
        not in (await browser.get("/visits", unit=TOWNSHIP)).text.partition(
            'class="card narrowing"'
        )[2]
    )
