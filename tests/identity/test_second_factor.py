"""The second factor: asked for by role, set up at the first sign-in, taken once, and taken away by
an administrator.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pyotp
import pytest
from pydantic import ValidationError

from service.identity.second_factor_queries import take_step
from service.kit.settings import Settings
from simulator.places import PASSWORD, SUPERVISOR
from tests.world import SECRETARY, WORKER, World

ADMIN = "admin"


@pytest.fixture(autouse=True)
def asked_for(settings: Settings) -> None:
    """Supervisors and administrators must have one."""
    settings.otp_roles = ["supervisor"]


async def sign_in(world: World, staff_code: str = SUPERVISOR, **form: str) -> Any:
    fields = {"grant_type": "password", "username": staff_code, "password": PASSWORD} | form
    return await world.client.post("/v1/auth/token", data=fields)


async def send(world: World, method: str, path: str, token: str, body: Any = None) -> Any:
    return await world.client.request(
        method, path, json=body, headers={"Authorization": f"Bearer {token}"}
    )


async def enrol(world: World, staff_code: str = SUPERVISOR) -> tuple[pyotp.TOTP, list[str], str]:
    """The app with its secret, the recovery codes, and the access token."""
    token = (await sign_in(world, staff_code)).json()["access_token"]
    begun = await send(world, "POST", "/v1/auth/otp", token, {"password": PASSWORD})
    assert begun.status_code == 200, begun.text
    app = pyotp.parse_uri(begun.json()["uri"])
    assert isinstance(app, pyotp.TOTP)
    assert app.secret == begun.json()["secret"]
    done = await send(
        world, "POST", "/v1/auth/otp/confirmation", token, {"otp": app.at(world.clock.now())}
    )
    assert done.status_code == 200, done.text
    world.clock.forward(seconds=60)
    return app, done.json()["recovery_codes"], token


async def test_the_first_sign_in_of_a_role_that_needs_one_sets_it_up_before_anything_else(
    world: World,
) -> None:
    answer = (await sign_in(world)).json()
    assert answer["otp_enrolment_needed"]
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    answer = (await world.client.post("/v1/auth/token", data=form)).json()
    assert answer["otp_enrolment_needed"]
    for path in ("/v1/problems", "/v1/held", "/v1/devices", "/v1/units"):
        refused = await send(world, "GET", path, answer["access_token"])
        assert (refused.status_code, refused.json()["type"]) == (
            403,
            "/problems/otp-enrolment-needed",
        ), path
    _, codes, token = await enrol(world)
    assert len(set(codes)) == 10
    assert (await send(world, "GET", "/v1/problems", token)).status_code == 200
    assert not (await sign_in(world, WORKER)).json()["otp_enrolment_needed"]
    # The sign-in from before, without a second factor, has ended.
    assert (await send(world, "GET", "/v1/problems", answer["access_token"])).status_code == 401


async def test_a_phone_of_such_a_role_does_not_sync_before_either(world: World) -> None:
    response = await world.wire(SUPERVISOR).send()
    assert (response.status_code, response.json()["type"]) == (
        403,
        "/problems/otp-enrolment-needed",
    )


async def test_the_password_alone_no_longer_signs_in(world: World) -> None:
    app, _, _ = await enrol(world)
    refused = await sign_in(world)
    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/otp-needed")
    assert (await sign_in(world, otp="000000")).json()["type"] == "/problems/otp-needed"
    assert (await sign_in(world, password="wrong", otp=app.at(world.clock.now()))).json()[
        "type"
    ] == "/problems/sign-in-failed"
    answer = await sign_in(world, otp=app.at(world.clock.now()))
    assert answer.status_code == 200
    assert (
        await send(world, "GET", "/v1/problems", answer.json()["access_token"])
    ).status_code == 200


async def test_a_code_is_taken_once(world: World) -> None:
    app, _, _ = await enrol(world)
    code = app.at(world.clock.now())
    assert (await sign_in(world, otp=code)).status_code == 200
    assert (await sign_in(world, otp=code)).json()["type"] == "/problems/otp-needed"
    world.clock.forward(seconds=30)
    assert (await sign_in(world, otp=code)).json()["type"] == "/problems/otp-needed"


async def test_a_code_sent_twice_at_once_is_taken_once(world: World) -> None:
    app, codes, _ = await enrol(world)
    for code in (app.at(world.clock.now()), codes[0]):
        answers = await asyncio.gather(*(sign_in(world, otp=code) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401]


async def test_a_step_is_taken_once_whoever_else_has_read_it(world: World) -> None:
    await enrol(world)
    async with world.state.database.reading() as connection:
        assert [
            await take_step(connection, SUPERVISOR, step) for step in (2**40, 2**40, 2**40 - 1)
        ] == [True, False, False]


async def test_a_phone_a_step_off_is_let_in_and_two_steps_off_not(world: World) -> None:
    app, _, _ = await enrol(world)
    world.clock.forward(minutes=5)
    early = world.clock.now() - timedelta(seconds=60)
    assert (await sign_in(world, otp=app.at(early))).status_code == 401
    assert (await sign_in(world, otp=app.at(early + timedelta(seconds=30)))).status_code == 200


async def test_a_recovery_code_is_good_once_however_it_is_typed(world: World) -> None:
    _, codes, _ = await enrol(world)
    typed = codes[0].lower().replace("-", " ").replace("1", "l").replace("0", "o")
    assert (await sign_in(world, otp=typed)).status_code == 200
    assert (await sign_in(world, otp=codes[0])).json()["type"] == "/problems/otp-needed"
    assert (await sign_in(world, otp=codes[1])).status_code == 200
    kept = await world.fetch("SELECT hash FROM one_time_code")
    assert len(kept) == 8
    assert not {row["hash"] for row in kept} & set(codes)


async def test_new_recovery_codes_take_the_place_of_the_old(world: World) -> None:
    app, codes, token = await enrol(world)
    made = await send(
        world, "POST", "/v1/auth/otp/recovery-codes", token, {"otp": app.at(world.clock.now())}
    )
    assert made.status_code == 200, made.text
    assert (await sign_in(world, otp=codes[0])).status_code == 401
    assert (await sign_in(world, otp=made.json()["recovery_codes"][0])).status_code == 200


async def test_codes_cannot_be_gone_through_by_who_knows_the_password(world: World) -> None:
    app, _, _ = await enrol(world)
    statuses = []
    for number in range(12):
        statuses.append((await sign_in(world, otp=f"{number:06}")).status_code)
        world.clock.forward(minutes=2)
    assert statuses == [401] * 10 + [429] * 2
    assert (await sign_in(world, otp=app.at(world.clock.now()))).status_code == 429


async def test_who_has_one_is_asked_for_it_whatever_the_role(world: World) -> None:
    app, _, _ = await enrol(world, WORKER)
    assert (await sign_in(world, WORKER)).json()["type"] == "/problems/otp-needed"
    assert (await sign_in(world, WORKER, otp=app.at(world.clock.now()))).status_code == 200


async def test_a_stolen_token_neither_sets_one_up_nor_takes_it_away(world: World) -> None:
    token = (await sign_in(world, WORKER)).json()["access_token"]
    refused = await send(world, "POST", "/v1/auth/otp", token, {"password": "wrong"})
    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/sign-in-failed")
    _, _, admin = await enrol(world, ADMIN)
    assert (await send(world, "DELETE", f"/v1/cadres/{ADMIN}/otp", admin)).status_code == 403
    again = await send(world, "POST", "/v1/auth/otp", admin, {"password": PASSWORD})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/not-now")


async def test_an_administrator_takes_a_lost_one_away_and_it_stands_in_the_trail(
    world: World,
) -> None:
    app, codes, token = await enrol(world)
    admin = await world.token(ADMIN)
    assert (
        await send(world, "DELETE", f"/v1/cadres/{SUPERVISOR}/otp", await world.token(SECRETARY))
    ).status_code == 403
    assert (await send(world, "DELETE", f"/v1/cadres/{SUPERVISOR}/otp", admin)).json() == {
        "ended": 1
    }
    assert (await send(world, "GET", "/v1/auth/me", token)).status_code == 401
    assert (await sign_in(world)).json()["otp_enrolment_needed"]
    assert await world.fetch("SELECT FROM one_time_code") == []
    actions = {row["action"] for row in await world.fetch("SELECT action FROM audit")}
    assert {"otp-set-up", "otp-reset"} <= actions
    assert app.secret not in str(await world.fetch("SELECT * FROM audit")) + "".join(codes)


async def test_the_secret_lies_encrypted(world: World) -> None:
    app, _, _ = await enrol(world)
    [row] = await world.fetch("SELECT staff_code, secret FROM second_factor")
    assert app.secret not in row["secret"]
    assert (
        world.decrypted("second_factor", "secret", row["staff_code"], row["secret"]) == app.secret
    )


def test_a_role_that_does_not_exist_is_noticed_at_the_start() -> None:
    with pytest.raises(ValidationError, match="there is no role boss"):
        Settings(otp_roles=["boss"])
