"""Tables that change under a running service, as by a migration: nobody gets an error for it."""

import asyncio
import uuid

from service.runtime import failpoints
from simulator.places import PASSWORD, SUPERVISOR
from tests.world import GRID, SECRETARY, WORKER, World, first_held_at

FIELDS = {"title": "水管冻裂", "duty": "emergency"}
# Every statement that gives one of these columns was prepared for another type.
CHANGE = """
    ALTER TABLE counter ALTER COLUMN rev TYPE {type};
    ALTER TABLE held ALTER COLUMN reason TYPE varchar({length});
    ALTER TABLE problem ALTER COLUMN title TYPE varchar({length});
    ALTER TABLE household ALTER COLUMN head_name TYPE varchar({length});
    ALTER TABLE article ALTER COLUMN title TYPE varchar({length});
    ALTER TABLE device ALTER COLUMN staff_code TYPE varchar({length});
    ALTER TABLE refresh_token ALTER COLUMN address TYPE varchar({length});
    ALTER TABLE cadre ALTER COLUMN name TYPE varchar({length});
    ALTER TABLE unit ALTER COLUMN name TYPE varchar({length})
"""


async def change_tables(world: World, round: int = 0) -> None:
    sql = CHANGE.format(type=("integer", "bigint")[round % 2], length=500 + round)
    for statement in sql.split(";"):
        await world.fetch(statement)


async def test_reads_go_on(world: World) -> None:
    [house] = (await world.get("/v1/households", SECRETARY, limit=1)).json()["items"]
    paths = [
        "/v1/households",
        f"/v1/households/{house['id']}",
        "/v1/problems",
        "/v1/held",
        "/v1/conflicts",
        "/v1/units",
        "/v1/visits",
    ]
    for round in range(2):
        for path in paths:
            assert (await world.get(path, SECRETARY)).status_code == 200, path
        await change_tables(world, round)
        for path in paths:
            assert (await world.get(path, SECRETARY)).status_code == 200, path


async def test_a_write_is_done_once(world: World) -> None:
    key = str(uuid.uuid4())
    for round in range(3):
        headers = {
            "Authorization": f"Bearer {await world.token(SECRETARY)}",
            "Idempotency-Key": f"{key}{round}",
        }
        response = await world.client.post(
            "/v1/problems", json={"grid": GRID, "fields": FIELDS}, headers=headers
        )
        assert response.status_code == 201, response.text
        article = {"unit": GRID[:9], "kind": "policy", "title": "t", "body": "b"}
        assert (await world.post("/v1/articles", article, SUPERVISOR)).status_code in (201, 403)
        await change_tables(world, round)
    assert len(await world.fetch("SELECT FROM problem")) == 3


async def test_a_sign_in_goes_on(world: World) -> None:
    form = {
        "grant_type": "password",
        "username": SECRETARY,
        "password": PASSWORD,
        "device_id": str(uuid.uuid4()),
    }
    for round in range(3):
        signed_in = await world.client.post("/v1/auth/token", data=form)
        assert signed_in.status_code == 200, signed_in.text
        await change_tables(world, round)
        renewal = {
            "grant_type": "refresh_token",
            "refresh_token": signed_in.json()["refresh_token"],
        }
        renewed = await world.client.post("/v1/auth/token", data=renewal)
        assert renewed.status_code == 200, renewed.text


async def test_a_push_goes_on(world: World) -> None:
    phone = world.wire()
    for round in range(3):
        answer = await phone.send(
            phone.mutation(2 * round + 1), phone.mutation(2 * round + 2, "telegram")
        )
        assert [verdict["outcome"] for verdict in answer.json()["verdicts"]] == ["applied", "held"]
        await change_tables(world, round)


async def test_pushes_that_share_a_transaction_go_on(world: World) -> None:
    phones = [world.wire(staff) for staff in (WORKER, SECRETARY, WORKER, SECRETARY)]
    for round in range(3):
        with first_held_at(failpoints.PUSH_LOCKED) as (reached, go_on):
            first = asyncio.create_task(phones[0].send(phones[0].mutation(round + 1)))
            await reached.wait()
            others = [
                asyncio.create_task(phone.send(phone.mutation(round + 1, "telegram")))
                for phone in phones[1:]
            ]
            await asyncio.sleep(0)
            go_on.set()
            answers = await asyncio.gather(first, *others)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert [answer.json()["verdicts"][0]["outcome"] for answer in answers] == [
            "applied",
            "held",
            "held",
            "held",
        ]
        await change_tables(world, round)


async def test_verify_goes_on(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1))
    body = {"grids": [{"grid": GRID, "rev": 1, "count": 1, "digest": "0" * 16}]}
    for round in range(2):
        assert (await phone.post(body, "/v1/sync/verify")).status_code == 200
        await change_tables(world, round)
