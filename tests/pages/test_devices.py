"""The page of phones: what REST says of each, and revoking where one may."""

import pytest

from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.browsing import Browser, figures, form_of, somebody_with
from tests.pages.test_numbers import rows_of, same
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World


async def a_phone(world: World, name: str = "") -> str:
    """A phone that has handed in a visit; its id."""
    phone = world.phone(WORKER)
    fields = {"visited_at": world.clock.now().isoformat(), "content": "走访"}
    phone.put("visit", fields, grid=GRID)
    await phone.sync()
    [row] = await world.fetch("SELECT id::text FROM device WHERE staff_code = $1", WORKER)
    await world.fetch("UPDATE device SET name = $1 WHERE id = $2", name, row["id"])
    return str(row["id"])


async def test_each_phone_is_shown_as_rest_has_it(world: World) -> None:
    await a_phone(world, "<b>手机</b>")
    browser = Browser(world)
    await browser.sign_in("S1502")
    for asked in ({"unit": "1502"}, {"unit": VILLAGE}, {"staff_code": WORKER}, {}):
        page = await browser.get("/devices", **asked)
        rest = (await world.get("/v1/devices", "S1502", **asked)).json()
        rows = rows_of(page.text, "devices")
        assert [*rows] == [item["id"] for item in rest["items"]]
        assert rows
        for item in rest["items"]:
            row = rows[item["id"]]
            assert f'data-state="{item["handed_in"]}"' in page.text
            for key in ("queued", "held"):
                assert same(figures(row)[key], item[key])
        assert "&lt;b&gt;手机&lt;/b&gt;" in page.text
        assert "<b>手机" not in page.text


async def test_a_phone_is_revoked_by_an_administrator_and_by_its_owner_alone(
    world: World,
) -> None:
    phone = await a_phone(world)
    secretary, owner = Browser(world), Browser(world)
    await secretary.sign_in(SECRETARY)
    page = await secretary.get("/devices", unit=VILLAGE)
    assert "device-revoke" not in page.text
    token = form_of(page.text, "signout").fields["csrf"]
    refused = await secretary.post("/devices/revoke", {"csrf": token, "device": phone})
    assert refused.status_code == 403
    await owner.sign_in(WORKER)
    page = await owner.get("/devices")
    without = await owner.post("/devices/revoke", {"device": phone})
    assert without.status_code == 403
    [row] = await world.fetch("SELECT revoked_at FROM device WHERE id = $1", phone)
    assert row["revoked_at"] is None
    done = await owner.send(page, "device-revoke")
    assert done.headers["location"] == "/devices"
    [row] = await world.fetch("SELECT revoked_at FROM device WHERE id = $1", phone)
    assert row["revoked_at"] is not None
    assert "device-revoke" not in (await owner.get("/devices")).text


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_phones_that_rest_shows_it(world: World, role: str) -> None:
    await a_phone(world)
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    for asked in ({}, {"unit": VILLAGE}, {"unit": TOWNSHIP}, {"unit": FAR_GRID}, {"unit": "x"}):
        rest = await world.client.get("/v1/devices", params=asked, headers=headers)
        page = await browser.get("/devices", **asked)
        assert page.status_code == rest.status_code, asked
        if rest.status_code == 200:
            rows = rows_of(page.text, "devices")
            assert [*rows] == [item["id"] for item in rest.json()["items"]]


async def test_where_there_is_no_phone_the_page_says_so(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/devices", unit=FAR_GRID)
    assert "这里没有登记的手机" in page.text
    odd = await browser.get("/devices", after="x")
    assert odd.status_code in (200, 422)
