"""How a number went: the small charts and their table have the numbers of REST."""

import random

import pytest

from service.pages.trend import CHOICES
from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.browsing import Browser, somebody_with
from tests.pages.test_numbers import rows_of, same, work_of
from tests.world import FAR_GRID, GRID, World


def raws(row: str, key: str) -> list[str]:
    """The raw numbers of a row, in order."""
    parts = row.split(f'data-figure="{key}" data-value="')[1:]
    return [part.partition('"')[0] for part in parts]


async def test_every_number_of_the_table_is_that_of_rest(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    rng = random.Random(5)
    for key in CHOICES:
        unit = rng.choice(["1502", GRID[:6], TOWNSHIP, VILLAGE, GRID])
        kind, count = rng.choice([("week", 12), ("month", 6), ("quarter", 4)])
        asked = {"unit": unit, "count": count, "until": "2026-11-24"}
        page = await browser.get("/trend", **asked, kind=kind, figure=key)
        assert page.status_code == 200
        rest = await world.get("/v1/summaries/trend", "S1502", **asked, period=kind, below="true")
        trend = rest.json()
        rows = rows_of(page.text, "trend")
        units = {one["unit"]["code"]: one["points"] for one in trend["units"]}
        assert list(rows) == [*units, unit]
        name, _, log = key.partition(".")
        for code, points in {**units, unit: trend["points"]}.items():
            shown = raws(rows[code], key)
            assert len(shown) == count
            for raw, point in zip(shown, points, strict=True):
                value = point[name][log] if log else point["totals"][name]
                assert same(raw, value), (key, code, point["period"])
        for code in units:
            assert f'data-unit="{code}"' in page.text


async def test_a_line_is_broken_where_there_is_no_number(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/trend", unit=GRID, figure="median_hours_to_resolve")
    assert page.status_code == 200
    assert "<polyline" not in page.text
    assert "<svg viewBox" in page.text


async def test_odd_addresses_are_answered_by_a_page(world: World) -> None:
    await world.fetch("UPDATE unit SET name = $1 WHERE code = $2", '"><script>x</script>', GRID)
    browser = Browser(world)
    await browser.sign_in("S1502")
    for path in (
        *("/trend?figure=x&kind=y", "/trend?count=1", "/trend?until=x", "/trend?until=1900-01-01"),
        *(f"/trend?unit={VILLAGE}", "/trend?unit=9", "/trend?kind=quarter&count=60"),
    ):
        page = await browser.get(path)
        assert page.status_code in (200, 404, 422), path
        assert "<main" in page.text
        assert "<script>x" not in page.text


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_trend_that_rest_shows_it(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    for unit in (VILLAGE, GRID, TOWNSHIP, FAR_GRID, "9"):
        rest = await world.client.get("/v1/summaries/trend", params={"unit": unit}, headers=headers)
        assert (await browser.get("/trend", unit=unit)).status_code == rest.status_code, unit
