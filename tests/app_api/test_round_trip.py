"""The app's round trip: its requests with state and answer, and whether herders are satisfied."""

from typing import Any

from service.identity.client_queries import add_client
from service.identity.passwords import hasher
from simulator.places import VILLAGE
from tests.audit.test_trail import app_token
from tests.world import SECRETARY, WORKER, World


async def requested(world: World, token: str, title: str = "饮水管道冻裂") -> Any:
    """A request that an app hands in."""
    world.clock.forward(seconds=1)
    headers = {"Authorization": f"Bearer {token}"}
    body = {"unit": VILLAGE, "title": title}
    made = await world.client.post("/v1/requests", json=body, headers=headers)
    assert made.status_code == 201, made.text
    return made.json()


async def asked(world: World, token: str, path: str = "", **query: Any) -> Any:
    """What an app is answered about its requests."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = await world.client.get(f"/v1/requests{path}", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def rated(world: World, token: str, receipt: str, **body: Any) -> Any:
    """Hands in whether a herder is satisfied."""
    world.clock.forward(minutes=1)
    return await world.client.post(
        f"/v1/requests/{receipt}/satisfaction",
        json=body,
        headers={"Authorization": f"Bearer {token}"},
    )


async def problem_of(world: World, receipt: str) -> str:
    [row] = await world.fetch("SELECT problem::text FROM receipt WHERE number = $1", receipt)
    return str(row["problem"])


async def step(world: World, problem: str, action: str, by: str = WORKER, **fields: Any) -> Any:
    world.clock.forward(minutes=1)
    taken = await world.post(
        f"/v1/problems/{problem}/steps", {"action": action, "fields": fields}, by
    )
    assert taken.status_code == 201, taken.text
    return taken.json()


async def test_an_app_lists_its_requests_page_by_page_the_newest_first(world: World) -> None:
    token = await app_token(world)
    receipts = [(await requested(world, token))["receipt"] for _ in range(5)]
    seen: list[str] = []
    after = None
    for size in (2, 2, 1):
        page = await asked(world, token, limit=2, **({"after": after} if after else {}))
        assert len(page["items"]) == size
        seen += [item["receipt"] for item in page["items"]]
        after = page["next"]
    assert (seen, after) == (receipts[::-1], None)


async def test_an_app_sees_no_requests_of_another(world: World) -> None:
    token = await app_token(world)
    ours = await requested(world, token)
    async with world.state.database.transaction() as connection:
        given = ("app-2", "另一个", hasher.hash("s"), ["requests:write"], VILLAGE)
        await add_client(connection, *given, world.clock.now())
    form = {"grant_type": "client_credentials", "client_id": "app-2", "client_secret": "s"}
    other = (await world.client.post("/v1/auth/token", data=form)).json()["access_token"]
    assert (await asked(world, other))["items"] == []
    assert (await rated(world, other, ours["receipt"], satisfied=True)).status_code == 404


async def test_the_answer_is_what_a_cadre_wrote_for_the_herder_and_no_note(world: World) -> None:
    token = await app_token(world)
    receipt = (await requested(world, token))["receipt"]
    problem = await problem_of(world, receipt)
    await step(world, problem, "accept", note="此人常投诉")
    assert (await asked(world, token))["items"][0]["answer"] is None
    await step(world, problem, "note", note="内部", answer="明天派人上门")
    await step(world, problem, "resolve", note="费用自理", answer="水管已更换")
    [item] = (await asked(world, token))["items"]
    assert (item["state"], item["answer"]) == ("resolved", "水管已更换")
    whole = await asked(world, token, f"/{receipt}")
    assert [(one["action"], one["answer"]) for one in whole["steps"]] == [
        ("accept", None),
        ("note", "明天派人上门"),
        ("resolve", "水管已更换"),
    ]
    assert "投诉" not in str(whole)
    assert "自理" not in str(whole)


async def test_open_requests_and_others_are_asked_for_apart(world: World) -> None:
    token = await app_token(world)
    first = (await requested(world, token))["receipt"]
    second = (await requested(world, token))["receipt"]
    await step(world, await problem_of(world, first), "resolve")
    for open, expected in ((True, second), (False, first)):
        page = await asked(world, token, open=open)
        assert [item["receipt"] for item in page["items"]] == [expected]


async def test_satisfaction_comes_back_as_a_step_that_verifies(world: World) -> None:
    token = await app_token(world)
    receipt = (await requested(world, token))["receipt"]
    problem = await problem_of(world, receipt)
    early = await rated(world, token, receipt, satisfied=True)
    assert early.status_code == 409
    await step(world, problem, "resolve")
    done = await rated(world, token, receipt, satisfied=False, words="还在漏水")
    assert done.status_code == 201, done.text
    assert (done.json()["state"], done.json()["satisfied"]) == ("verified", "no")
    shown = (await world.get(f"/v1/problems/{problem}", SECRETARY)).json()
    last = shown["steps"][-1]
    assert (last["action"], last["by"], last["ineffective"]) == ("verify", "app-1", None)
    assert (last["fields"]["satisfied"], last["fields"]["note"]) == ("no", "还在漏水")
    lines = await world.fetch(
        "SELECT seq FROM mutation WHERE kind = 'step' AND id = $1", last["id"]
    )
    assert len(lines) == 1


async def test_what_a_herder_says_after_the_end_is_a_note_in_the_timeline(world: World) -> None:
    token = await app_token(world)
    receipt = (await requested(world, token))["receipt"]
    problem = await problem_of(world, receipt)
    await step(world, problem, "resolve")
    await step(world, problem, "verify", SECRETARY, satisfied="yes")
    done = await rated(world, token, receipt, satisfied=False, words="又漏了")
    assert (done.status_code, done.json()["satisfied"]) == (201, "yes")
    last = (await world.get(f"/v1/problems/{problem}", SECRETARY)).json()["steps"][-1]
    assert (last["action"], last["fields"]["satisfied"]) == ("note", "no")


async def test_sent_again_with_the_same_key_it_is_one_step(world: World) -> None:
    token = await app_token(world)
    receipt = (await requested(world, token))["receipt"]
    problem = await problem_of(world, receipt)
    await step(world, problem, "resolve")
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "1"}
    path = f"/v1/requests/{receipt}/satisfaction"
    answers = [
        await world.client.post(path, json={"satisfied": True}, headers=headers) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len(await world.fetch("SELECT FROM step WHERE created_by = 'app-1'")) == 1
