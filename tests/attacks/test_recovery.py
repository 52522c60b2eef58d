"""What somebody can do with a one-time code that was overheard."""

from tests.identity.test_second_factor import enrol, send, sign_in
from tests.world import SECRETARY, WORKER, World

NEW = "蓝色 拖拉机 唱歌 1987"


async def test_a_one_time_code_does_not_get_round_the_second_factor(world: World) -> None:
    app, _, _ = await enrol(world, WORKER)
    path = f"/v1/cadres/{WORKER}/recovery-code"
    code = (await send(world, "POST", path, await world.token(SECRETARY))).json()["code"]
    body = {"staff_code": WORKER, "code": code, "new_password": NEW}
    assert (await world.client.post("/v1/auth/recover", json=body)).status_code == 200
    alone = await sign_in(world, WORKER, password=NEW)
    assert (alone.status_code, alone.json()["type"]) == (401, "/problems/otp-needed")
    assert (
        await sign_in(world, WORKER, password=NEW, otp=app.at(world.clock.now()))
    ).status_code == 200
