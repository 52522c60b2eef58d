"""Accounts of apps, kept by who administers the whole city: over REST and on the page."""

import re
from typing import Any, get_args

import httpx
import pytest

from service.accounts.app_accounts import Scope
from service.identity.rights import SCOPES
from service.pages import apps
from simulator.places import VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.identity.test_rights import appoint
from tests.pages.administering import ADMIN, HOSTILE, browser_of, forged, said, send
from tests.pages.browsing import Browser, somebody_with
from tests.world import WORKER, World

APP: dict[str, Any] = {
    **{"client_id": "nongmu", "name": "包头农牧", "unit": VILLAGE},
    "scopes": ["villages:read", "requests:write"],
}


async def call(world: World, path: str, body: Any = None, token: str = "") -> httpx.Response:
    world.clock.forward(milliseconds=1)
    headers = {"Authorization": f"Bearer {token or await world.token(ADMIN)}"}
    return await world.client.post(path, json=body, headers=headers)


async def token_of(world: World, client_id: str, secret: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return await world.client.post("/v1/auth/token", data=form)


async def read(world: World, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return (await world.client.get("/v1/villages", headers=headers)).status_code


async def lines(world: World) -> list[str]:
    rows = await world.fetch("SELECT action FROM audit WHERE action LIKE 'app%' ORDER BY at, id")
    return [row["action"] for row in rows]


def test_every_scope_has_its_words() -> None:
    assert set(SCOPES) == set(get_args(Scope)) == set(apps.SCOPES)


async def test_an_app_is_made_given_another_secret_and_ended(world: World) -> None:
    made = await call(world, "/v1/apps", APP)
    assert made.status_code == 201, made.text
    first = made.json()["client_secret"]
    got = await token_of(world, "nongmu", first)
    assert got.json()["scope"] == "requests:write villages:read"
    token = got.json()["access_token"]
    assert await read(world, token) == 200
    assert (await call(world, "/v1/apps", APP)).status_code == 409

    second = (await call(world, "/v1/apps/nongmu/secret")).json()["client_secret"]
    assert (await token_of(world, "nongmu", first)).status_code == 401
    assert (await token_of(world, "nongmu", second)).status_code == 200
    world.clock.forward(milliseconds=1)  # what is done at one moment stands in any order
    [item] = (await world.get("/v1/apps", ADMIN)).json()["items"]
    assert (item["client_id"], item["unit"], item["ended_at"]) == ("nongmu", VILLAGE, None)
    assert "secret" not in str(item)

    ended = await call(world, "/v1/apps/nongmu/end")
    assert ended.json()["ended_at"] is not None
    assert (await token_of(world, "nongmu", second)).status_code == 401
    assert await read(world, token) == 401
    for path in ("secret", "end"):
        assert (await call(world, f"/v1/apps/nongmu/{path}")).status_code == 409
        assert (await call(world, f"/v1/apps/none/{path}")).status_code == 404

    again = await call(world, "/v1/apps", APP | {"scopes": ["villages:read"]})
    assert again.status_code == 201, again.text
    got = await token_of(world, "nongmu", again.json()["client_secret"])
    assert got.json()["scope"] == "villages:read"
    assert await lines(world) == [
        *("app-account-made", "app-secret-renewed", "apps"),
        *("app-account-ended", "app-account-made"),
    ]


async def test_what_cannot_be_an_app_is_refused_and_leaves_nothing(world: World) -> None:
    worker = WORKER.lower()
    await world.fetch(
        "INSERT INTO staff_code_alias (code, staff_code, given_at) VALUES ($1, $2, now())",
        worker,
        WORKER,
    )
    for wrong, status in (
        ({"client_id": "农牧"}, 422),
        ({"client_id": worker}, 409),
        ({"unit": "9999"}, 404),
        ({"unit": "1502999"}, 404),
        ({"scopes": []}, 422),
        ({"scopes": ["everything"]}, 422),
        ({"name": "  "}, 422),
    ):
        refused = await call(world, "/v1/apps", APP | wrong)
        assert refused.status_code == status, (wrong, refused.text)
    assert await world.fetch("SELECT FROM app_client") == []
    assert await lines(world) == []


@pytest.mark.parametrize("role", list(ROLES))
async def test_only_who_administers_the_whole_city_keeps_apps(world: World, role: str) -> None:
    assert (await call(world, "/v1/apps", APP)).status_code == 201
    token = await appoint(world, role, VILLAGE)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await world.client.get("/v1/apps", headers=headers)).status_code == 403
    for path in ("/v1/apps", "/v1/apps/nongmu/secret", "/v1/apps/nongmu/end"):
        refused = await call(world, path, APP if path == "/v1/apps" else None, token)
        assert refused.status_code == 403, path


@pytest.mark.parametrize("role", ["admin", "supervisor", "auditor"])
async def test_the_page_is_shown_to_nobody_else(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    assert somebody is not None
    browser, _ = somebody
    assert "/admin/apps" not in (await browser.get("/admin")).text
    assert (await browser.get("/admin/apps")).status_code == 403
    for path in ("/admin/apps", "/admin/apps/nongmu/secret", "/admin/apps/nongmu/end"):
        assert await forged(browser, path, **APP | {"scopes": "villages:read"}) == 403


def secret_in(page: httpx.Response) -> str:
    [secret] = re.findall(r"<code data-secret>([^<]+)</code>", page.text)
    return str(secret)


async def test_on_the_page_a_secret_is_shown_once(world: World) -> None:
    browser: Browser = await browser_of(world)
    page = await browser.get("/admin/apps")
    assert "/admin/apps" in (await browser.get("/admin")).text
    fields: dict[str, Any] = APP | {"name": HOSTILE[:30]}
    wrongs: tuple[dict[str, Any], ...] = ({"unit": "没有的村"}, {"client_id": "X"}, {"scopes": []})
    for wrong in wrongs:
        refused = await browser.send(page, "app-create", **fields | wrong)
        assert refused.status_code == 422, wrong
        assert 'role="alert"' in refused.text
        assert "&lt;img" in refused.text
    [village] = await world.fetch("SELECT name FROM unit WHERE code = $1", VILLAGE)
    [above] = await world.fetch("SELECT name FROM unit WHERE code = $1", VILLAGE[:9])
    made = await browser.send(
        page, "app-create", **fields | {"unit": f"{above['name']} · {village['name']}"}
    )
    secret = secret_in(made)
    assert made.headers["cache-control"] == "no-store"
    assert (await token_of(world, "nongmu", secret)).status_code == 200
    page = await browser.get("/admin/apps")
    assert secret not in page.text
    assert VILLAGE in page.text
    assert "<img" not in page.text
    other = secret_in(await browser.send(page, "app-secret"))
    assert (await token_of(world, "nongmu", secret)).status_code == 401
    assert (await token_of(world, "nongmu", other)).status_code == 200
    ended = await send(browser, page, "app-end")
    assert "停用" in said(ended)
    assert (await token_of(world, "nongmu", other)).status_code == 401
    assert (await browser.send(page, "app-end")).status_code == 409
