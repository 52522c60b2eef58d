"""Articles, herders' requests, and what else the app asks for."""

from typing import Any

from pwdlib import PasswordHash

from service.identity import client_queries
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from simulator.throwaway import CHEAP
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

ALL = ["articles:read", "articles:write", "requests:write", "villages:read", "statistics:read"]
SECRET = "s3cret-of-the-app"
HASHER: PasswordHash = CHEAP


async def app_token(
    world: World, scopes: list[str] = ALL, unit: str = TOWNSHIP, wanted: str | None = None
) -> str:
    async with world.state.database.transaction() as connection:
        await client_queries.add_client(
            connection, "nongmu", "包头农牧", HASHER.hash(SECRET), scopes, unit, world.clock.now()
        )
    form = {"grant_type": "client_credentials"} | ({"scope": wanted} if wanted else {})
    answer = await world.client.post("/v1/auth/token", data=form, auth=("nongmu", SECRET))
    assert answer.status_code == 200, answer.text
    assert answer.json()["refresh_token"] is None
    return str(answer.json()["access_token"])


async def call(
    world: World, token: str, method: str, path: str, body: Any = None, **query: Any
) -> Any:
    return await world.client.request(
        method, path, json=body, params=query, headers={"Authorization": f"Bearer {token}"}
    )


async def published(
    world: World, unit: str, staff_code: str = SUPERVISOR, title: str = "接羔技术"
) -> str:
    made = await world.post(
        "/v1/articles",
        {"unit": unit, "kind": "technical_guidance", "title": title, "body": "……"},
        staff_code,
    )
    assert made.status_code == 201, made.text
    id = str(made.json()["id"])
    assert (await world.post(f"/v1/articles/{id}/publication", None, staff_code)).json()[
        "state"
    ] == "published"
    return id


async def test_a_published_article_reaches_the_phones_below_and_goes_when_it_is_withdrawn(
    world: World,
) -> None:
    phone, far = world.phone(), world.phone(f"W{FAR_GRID}-1")
    await phone.sync()
    id = await published(world, TOWNSHIP)
    for one in (phone, far):
        await one.sync()
    assert [(view.id, view.fields["title"]) for view in phone.records("article")] == [
        (id, "接羔技术")
    ]
    assert far.records("article") == []
    await world.client.patch(
        f"/v1/articles/{id}",
        json={"title": "接羔要点"},
        headers={"Authorization": f"Bearer {await world.token(SUPERVISOR)}"},
    )
    await phone.sync()
    assert [view.fields["title"] for view in phone.records("article")] == ["接羔要点"]
    await world.post(f"/v1/articles/{id}/withdrawal", None, SUPERVISOR)
    await phone.sync()
    assert phone.records("article") == []
    assert await phone.verify() == []


async def test_a_new_phone_gets_the_articles_of_a_year_and_no_drafts(world: World) -> None:
    await world.post(
        "/v1/articles", {"unit": VILLAGE, "kind": "policy", "title": "草稿", "body": "x"}, SECRETARY
    )
    await published(world, VILLAGE, SECRETARY, "旧")
    world.clock.forward(days=366)
    await published(world, VILLAGE, SECRETARY, "新")
    phone = world.phone()
    await phone.sync()
    assert [view.fields["title"] for view in phone.records("article")] == ["新"]


async def test_a_phone_cannot_write_articles(world: World) -> None:
    id = await published(world, VILLAGE, SECRETARY)
    phone = world.wire()
    answer = (
        await phone.send(
            phone.mutation(1, "article", id=id, grid="#" + VILLAGE, fields={"title": "x"})
        )
    ).json()
    assert answer["verdicts"][0]["outcome"] == "held"
    assert (await world.get(f"/v1/articles/{id}", WORKER)).json()["title"] == "接羔技术"


async def test_drafts_are_seen_only_by_who_edits_them(world: World) -> None:
    made = (
        await world.post(
            "/v1/articles",
            {"unit": VILLAGE, "kind": "policy", "title": "草稿", "body": "x"},
            SECRETARY,
        )
    ).json()
    assert (await world.get(f"/v1/articles/{made['id']}", WORKER)).status_code == 404
    assert (await world.get("/v1/articles", WORKER)).json()["items"] == []
    assert [
        item["id"]
        for item in (await world.get("/v1/articles", SECRETARY, state="draft")).json()["items"]
    ] == [made["id"]]


async def test_nobody_writes_for_a_unit_above_the_own(world: World) -> None:
    body = {"unit": TOWNSHIP, "kind": "policy", "title": "x", "body": "x"}
    assert (await world.post("/v1/articles", body, SECRETARY)).status_code == 404


async def test_a_withdrawn_article_is_over(world: World) -> None:
    id = await published(world, VILLAGE, SECRETARY)
    await world.post(f"/v1/articles/{id}/withdrawal", None, SECRETARY)
    response = await world.post(f"/v1/articles/{id}/publication", None, SECRETARY)
    assert (response.status_code, response.json()["type"]) == (409, "/problems/not-now")


# ------------------------------------------------------------------------------------------ the app


async def test_a_request_becomes_a_problem_and_its_receipt_tells_how_it_stands(
    world: World,
) -> None:
    token = await app_token(world)
    body = {
        "unit": VILLAGE,
        "title": "饮水管道冻裂",
        "duty": "emergency",
        "contact": "苏和 13812345678",
    }
    made = await call(world, token, "POST", "/v1/requests", body)
    assert made.status_code == 201, made.text
    receipt, grid = made.json()["receipt"], made.json()["grid"]
    assert (grid, made.json()["state"]) == (GRID, "raised")
    phone = world.phone()
    await phone.sync()
    [problem] = phone.records("problem")
    assert (problem.fields["source"], problem.fields["contact"]) == ("app", "苏和 13812345678")
    shown = (await world.get(f"/v1/problems/{problem.id}", SUPERVISOR)).json()
    assert (shown["fields"]["contact"], shown["raised_by"]) == ("苏***", "nongmu")
    await world.post(
        f"/v1/problems/{problem.id}/steps",
        {"action": "resolve", "fields": {"note": "已换新管"}},
        WORKER,
    )
    later = await call(world, token, "GET", f"/v1/requests/{receipt}")
    assert (later.json()["state"], [step["action"] for step in later.json()["steps"]]) == (
        "resolved",
        ["resolve"],
    )
    assert "13812345678" not in later.text
    assert "已换新管" not in later.text


async def test_a_request_sent_twice_is_one(world: World) -> None:
    token = await app_token(world)
    id = world.wire().new_id()
    first, second = [
        await call(world, token, "POST", "/v1/requests", {"id": id, "unit": GRID, "title": "t"})
        for _ in range(2)
    ]
    assert first.json()["receipt"] == second.json()["receipt"]
    assert len(await world.fetch("SELECT FROM problem")) == 1


async def test_an_app_is_no_cadre_in_the_tables(world: World) -> None:
    token = await app_token(world)
    await call(world, token, "POST", "/v1/requests", {"unit": GRID, "title": "t"})
    table = (await world.get("/v1/summaries/cadres", unit=TOWNSHIP, week="2026-W47")).json()
    assert table["items"] == []
    assert (await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week="2026-W47")).json()[
        "totals"
    ]["problems_raised"] == 1


async def test_an_app_does_only_what_its_token_says(world: World) -> None:
    token = await app_token(world, wanted="articles:read")
    assert (await call(world, token, "GET", "/v1/articles")).status_code == 200
    for method, path, body in (
        ("POST", "/v1/requests", {"unit": GRID, "title": "t"}),
        ("POST", "/v1/articles", {"unit": VILLAGE, "kind": "policy", "title": "x", "body": "x"}),
        ("GET", "/v1/villages", None),
        ("GET", "/v1/households", None),
        ("GET", f"/v1/summaries/weekly?unit={VILLAGE}&week=2026-W46", None),
        ("GET", "/v1/auth/me", None),
    ):
        response = await call(world, token, method, path, body)
        assert (response.status_code, response.json()["type"]) == (403, "/problems/not-allowed"), (
            path
        )
    assert (
        await world.client.post("/v1/sync", json={}, headers={"Authorization": f"Bearer {token}"})
    ).status_code == 403


async def test_an_app_works_for_its_unit_only(world: World) -> None:
    token = await app_token(world)
    assert (
        await call(world, token, "POST", "/v1/requests", {"unit": FAR_GRID, "title": "t"})
    ).status_code == 404
    assert (
        await call(world, token, "GET", "/v1/statistics", unit="1502", week="2026-W46")
    ).status_code == 404


async def test_a_scope_that_the_app_does_not_have_is_not_given(world: World) -> None:
    await app_token(world, ["articles:read"])
    form = {
        "grant_type": "client_credentials",
        "client_id": "nongmu",
        "client_secret": SECRET,
        "scope": "requests:write",
    }
    response = await world.client.post("/v1/auth/token", data=form)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")
    response = await world.client.post("/v1/auth/token", data={**form, "client_secret": "wrong"})
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_an_app_that_was_ended_is_out_at_once(world: World) -> None:
    token = await app_token(world)
    async with world.state.database.transaction() as connection:
        await client_queries.revoke_client(connection, "nongmu", world.clock.now())
    assert (await call(world, token, "GET", "/v1/articles")).json()[
        "type"
    ] == "/problems/session-ended"


async def test_villages_come_with_whom_to_call(world: World) -> None:
    token = await app_token(world)
    page = (await call(world, token, "GET", "/v1/villages", unit=VILLAGE)).json()
    [village] = page["items"]
    assert village["contacts"][0]["role"] == "village_secretary"
    assert village["contacts"][0]["phone"].startswith("100")
    assert all(contact["role"] != "grid_worker" for contact in village["contacts"])


async def test_statistics_name_nobody_and_no_single_grid(world: World) -> None:
    token = await app_token(world)
    numbers = await call(world, token, "GET", "/v1/statistics", unit=VILLAGE, week="2026-W46")
    assert numbers.json()["visits"] == 0
    assert WORKER not in numbers.text
    assert (
        await call(world, token, "GET", "/v1/statistics", unit=GRID, week="2026-W46")
    ).status_code == 422
