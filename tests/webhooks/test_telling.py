"""Apps are told what has happened: signed, without personal data, at least once, under one id."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from service.webhooks.addresses import networks
from service.webhooks.delivering import DELAYS
from service.webhooks.events import TYPES, collect
from service.webhooks.sending import Sender
from simulator.places import TOWNSHIP
from tests.audit.test_trail import app_token, somebody
from tests.webhooks.builders import ADMIN, a_problem, a_webhook, deliveries, tell
from tests.webhooks.receiver import Answer, Got, Receiver, receiving
from tests.world import FAR_GRID, GRID, SECRETARY, World

ROOT = Path(__file__).parents[2]
SEALED = f"/v1/summaries/weekly/2026-W46/seal?unit={GRID[:12]}"


async def test_a_receiver_verifies_what_it_is_told_by_the_library(
    world: World, receiver: Receiver
) -> None:
    world.clock.stand_at(datetime.now(UTC))
    hook = await a_webhook(world, receiver)
    problem = await a_problem(world, detail="13800000000")
    assert await tell(world) == 1
    [got] = receiver.got
    told = Webhook(hook["secret"]).verify(got.body, got.headers)
    assert (told["type"], told["data"]["problem"]) == ("problem.changed", problem)
    assert (told["data"]["grid"], told["data"]["state"]) == (GRID, "raised")
    assert "苏和" not in got.body
    assert "13800000000" not in got.body
    with pytest.raises(WebhookVerificationError):
        Webhook(hook["secret"]).verify(got.body.replace("raised", "closed"), got.headers)


async def test_nothing_is_told_twice_however_often_and_by_how_many_it_is_looked_for(
    world: World, receiver: Receiver
) -> None:
    await a_webhook(world, receiver)
    await a_problem(world)
    database, now = world.state.database, world.clock.now()
    counts = await asyncio.gather(*(collect(database, now) for _ in range(4)))
    assert sum(counts) == 1
    assert await tell(world) == 0
    assert await tell(world) == 0
    assert len(receiver.got) == 1


async def test_what_was_before_is_not_told_nor_what_was_while_it_was_switched_off(
    world: World, receiver: Receiver
) -> None:
    await a_problem(world)
    hook = await a_webhook(world, receiver)
    path = f"/v1/webhooks/{hook['id']}"
    headers = {"Authorization": f"Bearer {await world.token(ADMIN)}"}
    await world.client.patch(path, json={"active": False}, headers=headers)
    await a_problem(world)
    assert await tell(world) == 0
    await world.client.patch(path, json={"active": True}, headers=headers)
    later = await a_problem(world)
    assert await tell(world) == 1
    assert [json.loads(got.body)["data"]["problem"] for got in receiver.got] == [later]


async def test_each_kind_of_event_is_told_once(world: World, receiver: Receiver) -> None:
    await somebody(world, "EDITOR", "village_secretary", "admin")
    await a_webhook(world, receiver)
    problem = await a_problem(world, severity="emergency")
    step = await world.post(
        f"/v1/problems/{problem}/steps", {"action": "escalate", "fields": {}}, SECRETARY
    )
    assert step.status_code in (200, 201), step.text
    world.clock.forward(days=2)
    assert (await world.post(SEALED, None, SECRETARY)).status_code == 200
    draft = {"unit": GRID[:12], "kind": "policy", "title": "t", "body": "b"}
    article = (await world.post("/v1/articles", draft, "EDITOR")).json()
    await world.post(f"/v1/articles/{article['id']}/publication", None, "EDITOR")
    await tell(world)
    await tell(world)
    told = [json.loads(got.body)["type"] for got in receiver.got]
    assert sorted(told) == sorted({*TYPES} - {"request.changed"})


async def test_only_what_was_asked_for_and_lies_in_the_unit_is_told(
    world: World, receiver: Receiver
) -> None:
    await a_webhook(world, receiver, unit=GRID[:12], events=["problem.overdue"])
    async with receiving() as far:
        await a_webhook(world, far, unit=FAR_GRID[:12])
        await a_problem(world)
        await tell(world)
        assert (receiver.got, far.got) == ([], [])


async def test_a_note_is_nothing_to_tell(world: World, receiver: Receiver) -> None:
    await a_webhook(world, receiver)
    problem = await a_problem(world)
    await tell(world)
    note = {"action": "note", "fields": {"note": "内部"}}
    assert (await world.post(f"/v1/problems/{problem}/steps", note, SECRETARY)).status_code < 300
    assert await tell(world) == 0


async def test_a_receipt_is_for_the_app_that_handed_the_request_in(
    world: World, receiver: Receiver
) -> None:
    headers = {"Authorization": f"Bearer {await app_token(world)}"}
    events = ["request.changed"]
    await a_webhook(world, receiver, app="app-1", events=events)
    async with receiving() as other:
        await a_webhook(world, other, events=events)
        body = {"unit": GRID, "title": "t"}
        made = (await world.client.post("/v1/requests", json=body, headers=headers)).json()
        await a_problem(world)
        await tell(world)
        [ours], [theirs] = receiver.got, other.got
    assert json.loads(ours.body)["data"]["receipt"] == made["receipt"]
    assert "receipt" not in json.loads(theirs.body)["data"]


# ---------------------------------------------------------------------------- failures of receivers


async def test_a_receiver_that_fails_and_recovers_gets_it_under_the_same_id(
    world: World, receiver: Receiver
) -> None:
    hook = await a_webhook(world, receiver)
    receiver.answers((500, b""), (503, b""), (200, b""))
    await a_problem(world)
    await tell(world)
    [waiting] = await deliveries(world, hook["id"])
    assert (waiting["state"], waiting["last_error"]) == ("waiting", "status-500")
    await tell(world)
    assert len(receiver.got) == 1  # it is not due yet
    for delay in DELAYS[:2]:
        world.clock.forward(seconds=delay.total_seconds() * 1.2)
        await tell(world)
    [done] = await deliveries(world, hook["id"])
    assert (done["state"], done["attempts"]) == ("delivered", 3)
    assert {got.headers["webhook-id"] for got in receiver.got} == {done["event"]}


async def test_after_three_days_a_delivery_is_dead_and_is_sent_anew_when_asked(
    world: World, receiver: Receiver
) -> None:
    assert timedelta(days=2, hours=22) < sum(DELAYS, timedelta()) <= timedelta(days=3)
    hook = await a_webhook(world, receiver, events=["problem.changed"])
    receiver.answers((500, b""))
    await a_problem(world)
    await tell(world)
    for delay in DELAYS:
        world.clock.forward(seconds=delay.total_seconds() * 1.2)
        await tell(world)
    [dead] = await deliveries(world, hook["id"], state="dead")
    assert dead["attempts"] == len(receiver.got) == len(DELAYS) + 1
    world.clock.forward(days=30)
    await tell(world)
    assert len(receiver.got) == len(DELAYS) + 1
    receiver.answers((200, b""))
    again = await world.post(f"/v1/webhooks/{hook['id']}/replay", None, ADMIN)
    assert again.json() == {"count": 1}
    await tell(world)
    assert await deliveries(world, hook["id"], state="dead") == []
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    path = f"/v1/webhooks/{hook['id']}/deliveries/{dead['id']}/replay"
    assert (await world.post(path, None, ADMIN)).json() == {"count": 1}
    await tell(world)
    assert len(receiver.got) == len(DELAYS) + 3


async def test_a_receiver_that_is_slow_keeps_no_other_waiting(
    world: World, receiver: Receiver
) -> None:
    release = asyncio.Event()

    async def slow(_: Got) -> Answer:
        await release.wait()
        return 200, b""

    receiver.answer = slow
    await a_webhook(world, receiver)
    async with receiving() as quick:
        await a_webhook(world, quick)
        await a_problem(world)
        telling = asyncio.create_task(tell(world))
        async with asyncio.timeout(9):
            await asyncio.gather(receiver.arrived.wait(), quick.arrived.wait())
        release.set()
        await telling
        assert len(quick.got) == len(receiver.got) == 1


async def test_a_receiver_that_never_answers_is_given_up_and_left_alone_for_a_while(
    world: World, receiver: Receiver
) -> None:
    never = asyncio.Event()

    async def silent(_: Got) -> Answer:
        await never.wait()
        return 200, b""

    receiver.answer = silent
    hook = await a_webhook(world, receiver)
    for _ in range(5):
        await a_problem(world)
    impatient = Sender(networks(["127.0.0.0/8"]), within_s=0.05)
    await tell(world, impatient)
    await tell(world, impatient)
    assert len(receiver.got) == 3
    errors = [item["last_error"] for item in await deliveries(world, hook["id"])]
    assert errors.count("timeout") == 3
    never.set()


async def test_a_receiver_that_is_gone_is_told_nothing_more(
    world: World, receiver: Receiver
) -> None:
    hook = await a_webhook(world, receiver)
    receiver.answers((410, b""))
    await a_problem(world)
    await a_problem(world)
    await tell(world)
    await tell(world)
    assert len(receiver.got) == 1
    [item] = (await world.get("/v1/webhooks", ADMIN)).json()["items"]
    assert (item["id"], item["active"], item["stopped_because"]) == (hook["id"], False, "gone")


async def test_a_kill_in_the_middle_loses_nothing_and_makes_no_second_event(
    world: World, receiver: Receiver
) -> None:
    world.clock.stand_at(datetime.now(UTC))
    never = asyncio.Event()

    async def silent(_: Got) -> Answer:
        await never.wait()
        return 200, b""

    receiver.answer = silent
    hook = await a_webhook(world, receiver)
    problems = {await a_problem(world) for _ in range(3)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.webhooks.telling"),
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "GRIDLOOP_DATABASE_URL": str(world.state.settings.database_url),
            "GRIDLOOP_SECRET_FILE": str(world.state.settings.key_file),
            "GRIDLOOP_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
        },
        stdout=subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(receiver.arrived.wait(), 60)
    finally:
        process.kill()
        await process.wait()
    receiver.answers((200, b""))
    world.clock.forward(minutes=1)
    await tell(world)
    never.set()
    done = await deliveries(world, hook["id"])
    assert [item["state"] for item in done] == ["delivered"] * 3
    told = [
        (got.headers["webhook-id"], json.loads(got.body)["data"]["problem"]) for got in receiver.got
    ]
    assert len(told) == 4  # the first was under way as the process was killed
    assert len({*told}) == 3
    assert {problem for _, problem in told} == problems


async def test_rights_go_by_the_unit(world: World, receiver: Receiver) -> None:
    await somebody(world, "HERE", "admin")
    await somebody(world, "FAR", "admin", unit=FAR_GRID[:12])
    hook = await a_webhook(world, receiver, by="HERE")
    above = {
        "name": "above",
        "unit": TOWNSHIP,
        "events": ["problem.changed"],
        "address": receiver.address,
    }
    assert (await world.post("/v1/webhooks", above, "HERE")).status_code == 404
    assert (await world.post("/v1/webhooks", above, SECRETARY)).status_code == 403
    assert [item["id"] for item in (await world.get("/v1/webhooks", "HERE")).json()["items"]] == [
        hook["id"]
    ]
    assert (await world.get("/v1/webhooks", "FAR")).json()["items"] == []
    path = f"/v1/webhooks/{hook['id']}"
    assert (await world.get(f"{path}/deliveries", "FAR")).status_code == 404
    for more in ("/test", "/replay"):
        assert (await world.post(f"{path}{more}", None, "FAR")).status_code == 404
    headers = {"Authorization": f"Bearer {await world.token('FAR')}"}
    assert (await world.client.delete(path, headers=headers)).status_code == 404
    assert (await world.client.patch(path, json={"name": "x"}, headers=headers)).status_code == 404
    headers = {"Authorization": f"Bearer {await world.token('HERE')}"}
    assert (await world.client.delete(path, headers=headers)).status_code == 204


async def test_an_app_is_told_of_nothing_beyond_its_account(
    world: World, receiver: Receiver
) -> None:
    await app_token(world)
    body = {
        "name": "app",
        "unit": TOWNSHIP,
        "events": ["problem.changed"],
        "address": receiver.address,
        "app": "app-1",
    }
    assert (await world.post("/v1/webhooks", body, ADMIN)).status_code == 404
    assert (await world.post("/v1/webhooks", body | {"unit": GRID}, ADMIN)).status_code == 201


async def test_a_test_event_is_sent_by_hand(world: World, receiver: Receiver) -> None:
    hook = await a_webhook(world, receiver)
    asked = await world.post(f"/v1/webhooks/{hook['id']}/test", None, ADMIN)
    assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
    await tell(world)
    [got] = receiver.got
    assert json.loads(got.body)["type"] == "webhook.test"


async def test_address_and_secret_are_encrypted_and_shown_to_nobody(
    world: World, receiver: Receiver
) -> None:
    hook = await a_webhook(world, receiver)
    [item] = (await world.get("/v1/webhooks", ADMIN)).json()["items"]
    assert (item["host"], item["secret"]) == ("127.0.0.1", None)
    [row] = await world.fetch("SELECT address, secret FROM webhook")
    assert receiver.address not in row["address"]
    assert hook["secret"] not in row["secret"]
    headers = {"Authorization": f"Bearer {await world.token(ADMIN)}"}
    renewed = await world.client.patch(
        f"/v1/webhooks/{hook['id']}", json={"renew_secret": True}, headers=headers
    )
    assert renewed.json()["secret"] not in (None, hook["secret"])
