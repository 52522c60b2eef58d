"""The trail: every route that reads or changes personal data or accounts leaves its line, and each
is shown where it was done."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyotp
import pytest

from service.app import create_app
from service.audit.sign_ins import NOTE_SIGN_INS, note_counted
from service.identity.client_queries import add_client
from service.identity.passwords import hasher
from service.identity.rights import ROUTES, SCOPES
from service.jobs.asking import ask
from service.jobs.kinds import Job, JobKind
from service.jobs.queue import add
from service.kit.settings import Settings
from service.privacy.purge import purge
from simulator.places import PASSWORD, SUPERVISOR, TOWNSHIP, VILLAGE
from tests.encrypted import FAR_WORKER
from tests.identity.test_rights import PLACELESS, Call, Place, calls, populate
from tests.jobs.builders import runner_of
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, WirePhone, World

EVERYBODY = "EVERYBODY"
NEW = "纸船 钟表 麦田 九月"
SINCE = datetime(2020, 1, 1, tzinfo=UTC)

# Routes without a line, each with the reason: they show and change nothing of anybody.
WITHOUT = {
    "list_keys": "public keys",
    "list_units": "names of units",
    "list_levels": "names of levels",
    "list_vocabulary": "words, limits and deadlines",
    "get_calendar": "working days",
    "list_indicators": "what is reported by units, and no value of it",
    "count_article_reads": "how often an article was read in a unit, without who read it",
    "loop": "grids and days, of nobody in particular",
    "village_statistics": "numbers of a village at the least, of nobody in particular",
    "list_imports": "when who imported for which units, with no rows",
    "list_jobs": "how far the caller's own jobs are, shown to the caller",
    "get_job": "how far the caller's own job is, shown to the caller",
    "who_am_i": "the caller's own name and posts, shown to the caller",
    "list_own_sessions": "the caller's own sign-ins, shown to the caller",
    "sync": "what is handed in stays in the mutation log with its author; who pulls from outside"
    " the village leaves a line a day",
    "verify_copy": "names of grids whose copies differ",
    "healthz": "whether the process lives",
    "readyz": "whether it can serve",
    "metrics": "counts of the process",
}


async def lines(world: World) -> list[Any]:
    return await world.fetch(
        "SELECT id, staff_code, action, subjects, units FROM audit ORDER BY at, id"
    )


async def post_of(world: World, staff_code: str, role: str, unit: str) -> None:
    sql = "INSERT INTO post (id, staff_code, role, unit, valid_from) VALUES ($1, $2, $3, $4, $5)"
    await world.fetch(sql, str(uuid.uuid4()), staff_code, role, unit, SINCE)


async def somebody(world: World, staff_code: str, *roles: str, unit: str = VILLAGE) -> str:
    """A cadre with posts, and a token."""
    await world.fetch(
        "INSERT INTO cadre SELECT $1, '某人', '', false, password, true FROM cadre"
        " WHERE staff_code = $2",
        staff_code,
        WORKER,
    )
    for role in roles:
        await post_of(world, staff_code, role, unit)
    return await world.token(staff_code)


async def app_token(world: World) -> str:
    """A token of an app that may do everything an app may."""
    async with world.state.database.transaction() as connection:
        await add_client(
            connection,
            "app-1",
            "包头农牧",
            hasher.hash("secret-of-the-app"),
            sorted(SCOPES),
            VILLAGE,
            world.clock.now(),
        )
    form = {
        "grant_type": "client_credentials",
        "client_id": "app-1",
        "client_secret": "secret-of-the-app",
    }
    answer = await world.client.post("/v1/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


class Walk:
    """Calls routes one after the other, and notes which left a line."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.left: dict[str, list[Any]] = {}

    async def call(self, name: str, token: str | None, method: str, path: str, **given: Any) -> Any:
        """One request, which must succeed."""
        self.world.clock.forward(milliseconds=1)
        before = {line["id"] for line in await lines(self.world)}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = await self.world.client.request(method, path, headers=headers, **given)
        assert response.status_code < 300, (name, response.status_code, response.text)
        self.left[name] = [line for line in await lines(self.world) if line["id"] not in before]
        return response

    async def ask(self, name: str, token: str, call: Call) -> Any:
        """A request of the walk through the rights."""
        return await self.call(
            name, token, call.method, call.path, params=call.query, json=call.body
        )


async def walk_sign_ins(walk: Walk) -> None:
    """The routes of signing in, which are about no place."""
    world = walk.world
    form = {"grant_type": "password", "username": WORKER, "password": PASSWORD}
    token = (await walk.call("issue_token", None, "POST", "/v1/auth/token", data=form)).json()[
        "access_token"
    ]
    body = {"password": PASSWORD, "new_password": NEW}
    await walk.call("change_password", token, "POST", "/v1/auth/password", json=body)
    secret = (
        await walk.call("start_otp", token, "POST", "/v1/auth/otp", json={"password": NEW})
    ).json()["secret"]
    app = pyotp.TOTP(secret)
    await walk.call(
        "confirm_otp",
        token,
        "POST",
        "/v1/auth/otp/confirmation",
        json={"otp": app.at(world.clock.now())},
    )
    world.clock.forward(seconds=60)
    await walk.call(
        "renew_otp_codes",
        token,
        "POST",
        "/v1/auth/otp/recovery-codes",
        json={"otp": app.at(world.clock.now())},
    )
    await walk.call("end_own_sessions", token, "DELETE", "/v1/auth/sessions")
    other = await world.token(SUPERVISOR)
    await walk.call("sign_out", other, "POST", "/v1/auth/sign-out")


async def walk_imports(walk: Walk, token: str) -> None:
    """The routes of imports, by who administers a village."""
    sheet = {"files": ("农牧户.csv", "网格编码,户主\n".encode() + f"{GRID},新户\n".encode())}
    tried = {"dry_run": "true"}
    made = await walk.call("create_import", token, "POST", "/v1/imports", files=sheet, data=tried)
    path = f"/v1/imports/{made.json()['id']}"

    async def until(state: str) -> None:
        async with asyncio.timeout(30):
            while (await walk.call("get_import", token, "GET", path)).json()["state"] != state:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    await until("checked")
    await walk.call("apply_import", token, "POST", f"{path}/apply", json={})
    await until("done")
    await walk.call("undo_import", token, "POST", f"{path}/undo")


async def walk_webhooks(walk: Walk, token: str) -> None:
    """The routes of a webhook, by who administers its unit."""
    hook = {"name": "w", "unit": VILLAGE, "events": ["period.closed"], "address": "https://8.8.8.8"}
    made = await walk.call("create_webhook", token, "POST", "/v1/webhooks", json=hook)
    path = f"/v1/webhooks/{made.json()['id']}"
    await walk.call("change_webhook", token, "PATCH", path, json={"name": "v"})
    sent = await walk.call("test_webhook", token, "POST", f"{path}/test")
    await walk.call("list_webhook_deliveries", token, "GET", f"{path}/deliveries")
    await walk.call("replay_webhook", token, "POST", f"{path}/replay")
    one = f"{path}/deliveries/{sent.json()['id']}/replay"
    await walk.call("replay_webhook_delivery", token, "POST", one)
    await walk.call("delete_webhook", token, "DELETE", path)


async def walk_app_accounts(walk: Walk, token: str) -> None:
    """The accounts of apps, by who administers the whole city."""
    app = {"client_id": "app-2", "name": "a", "unit": VILLAGE, "scopes": ["villages:read"]}
    await walk.call("create_app", token, "POST", "/v1/apps", json=app)
    await walk.call("list_apps", token, "GET", "/v1/apps")
    await walk.call("renew_app_secret", token, "POST", "/v1/apps/app-2/secret")
    await walk.call("end_app", token, "POST", "/v1/apps/app-2/end")


async def walk_jobs(walk: Walk, world: World, token: str) -> None:
    """What a job made that one has asked for."""

    async def make(job: Job) -> None:
        async def nothing() -> AsyncIterator[bytes]:
            yield b""

        assert job.result is not None
        await job.result.keep("empty", "text/plain", nothing())

    kind, id = JobKind("walked", make), str(uuid.uuid4())
    async with world.state.database.transaction() as connection:
        await ask(connection, kind, id, EVERYBODY, {}, world.clock.now())
    await runner_of(world, kind).drain()
    await walk.call("get_job_content", token, "GET", f"/v1/jobs/{id}/content")


async def walk_app(walk: Walk, token: str) -> None:
    """The routes of apps."""
    made = await walk.call(
        "create_request", token, "POST", "/v1/requests", json={"unit": VILLAGE, "title": "t"}
    )
    path = f"/v1/requests/{made.json()['receipt']}"
    await walk.call("get_request", token, "GET", path)
    await walk.call("list_requests", token, "GET", "/v1/requests")
    problem = await walk.world.fetch(
        "SELECT problem::text FROM receipt WHERE number = $1", path.rpartition("/")[2]
    )
    step = {"action": "resolve", "fields": {}}
    await walk.world.post(f"/v1/problems/{problem[0]['problem']}/steps", step, EVERYBODY)
    rating = {"satisfied": True}
    await walk.call("rate_request", token, "POST", f"{path}/satisfaction", json=rating)
    await walk.call("list_villages", token, "GET", "/v1/villages")


async def test_every_route_that_touches_personal_data_or_accounts_leaves_a_line(
    world: World,
) -> None:
    walk = Walk(world)
    place = await populate(world, VILLAGE, GRID, WORKER)
    another = await held_of(world, world.wire())
    token = await somebody(world, EVERYBODY, "village_secretary", "admin", "auditor")
    mover = await somebody(world, "MOVER", "admin", unit="1502")
    late = ("erase_household", "erase_cadre", "discard_held")
    every = dict(calls(place))
    await world.fetch(
        "INSERT INTO second_factor (staff_code, secret, created_at, confirmed_at)"
        " VALUES ($1, '', now(), now())",
        WORKER,
    )
    for name, call in every.items():
        if (
            name not in late
            and name not in WITHOUT
            and name not in ("create_request", "list_villages", "move_unit")
        ):
            await walk.ask(name, token, call)
    await walk.ask(
        "discard_held", token, Call("POST", f"/v1/held/{another}/discard", {}, {"reason": "x"})
    )
    body = {"to": FAR_GRID[:9], "from": str(world.clock.now().date() + timedelta(days=2))}
    await walk.ask("move_unit", mover, Call("POST", f"/v1/units/{VILLAGE}/move", {}, body))
    levels = {"levels": (await world.get("/v1/levels", "MOVER")).json()}
    await walk.ask("set_levels", mover, Call("PUT", "/v1/levels", {}, levels))
    keeper = await world.token("admin")
    for name, method in (("put_term", "PUT"), ("change_term", "PATCH")):
        names = {"name_zh": "退役军人", "name_en": "veteran"}
        await walk.ask(name, keeper, Call(method, "/v1/vocabulary/tag/veteran", {}, names))
    indicator = {
        "name_zh": "服务群",
        "name_en": "groups",
        "measure": "个",
        "period": "year",
        "level": "village",
        "aggregate": "sum",
        "reporters": ["village_secretary"],
    }
    await walk.ask(
        "put_indicator", keeper, Call("PUT", "/v1/indicators/chat_groups", {}, indicator)
    )
    await walk_app_accounts(walk, keeper)
    await walk_app(walk, await app_token(world))
    code = (await walk.ask("make_recovery_code", token, every["make_recovery_code"])).json()["code"]
    body = {"staff_code": WORKER, "code": code, "new_password": PASSWORD + " 九月 麦田"}
    await walk.call("recover_password", None, "POST", "/v1/auth/recover", json=body)
    await world.fetch(
        "UPDATE cadre SET password = $2, must_change = false WHERE staff_code = $1",
        WORKER,
        hasher.hash(PASSWORD),
    )
    await walk_imports(walk, token)
    await walk_jobs(walk, world, token)
    await walk_webhooks(walk, token)
    await walk_sign_ins(walk)
    for name in ("erase_household", "erase_cadre"):
        await walk.ask(name, token, every[name])
    silent = {name for name, left in walk.left.items() if not left}
    assert silent == set()
    assert set(walk.left) | set(WITHOUT) == set(ROUTES)
    assert not set(walk.left) & set(WITHOUT)
    for name, left in walk.left.items():
        assert all(line["units"] for line in left), name


async def held_of(world: World, phone: WirePhone) -> str:
    put = phone.mutation(1, "telegram", id=phone.new_id())
    await phone.send(put)
    [row] = await world.fetch("SELECT id::text FROM held WHERE device = $1", phone.device)
    return str(row["id"])


def test_a_route_is_either_walked_or_has_its_reason() -> None:
    place = Place(VILLAGE, GRID, WORKER, *["0" * 36] * 7)
    named = {name for name, _ in calls(place)} | PLACELESS
    assert named == set(ROUTES)
    assert WITHOUT.keys() <= set(ROUTES)
    assert create_app(Settings()).openapi()["paths"]


# ------------------------------------------------------------------------------ whose acts one sees


async def seen_by(world: World, staff_code: str) -> set[tuple[str, str]]:
    response = await world.get("/v1/audit", staff_code, limit=1000)
    assert response.status_code == 200, response.text
    return {(line["staff_code"], line["action"]) for line in response.json()["items"]}


async def test_an_administrator_sees_the_acts_of_the_own_unit_and_below(world: World) -> None:
    await somebody(world, "HERE", "admin")
    await somebody(world, "TOWN", "admin", unit=TOWNSHIP)
    await somebody(world, "FAR", "admin", unit=FAR_GRID[:12])
    await world.get("/v1/households", SECRETARY)
    await world.get("/v1/households", SUPERVISOR)
    await world.get("/v1/households", FAR_WORKER)
    here, town, far, city = [await seen_by(world, who) for who in ("HERE", "TOWN", "FAR", "admin")]
    assert (SECRETARY, "households") in here & town & city
    assert (SUPERVISOR, "households") not in here | far
    assert (SUPERVISOR, "households") in town & city
    assert (FAR_WORKER, "households") in far & city
    assert (FAR_WORKER, "households") not in here | town


async def test_an_auditor_sees_the_trail_of_the_auditor_post_and_not_of_another_post(
    world: World,
) -> None:
    await somebody(world, "AUDIT", "auditor")
    await post_of(world, "AUDIT", "supervisor", TOWNSHIP)
    await world.get("/v1/households", SECRETARY)
    await world.get("/v1/households", SUPERVISOR)
    seen = await seen_by(world, "AUDIT")
    assert (SECRETARY, "households") in seen
    assert (SUPERVISOR, "households") not in seen


async def test_lines_of_no_unit_are_for_the_top(world: World) -> None:
    await somebody(world, "HERE", "admin")
    form = {"grant_type": "password", "username": "NOBODY", "password": "x"}
    assert (await world.client.post("/v1/auth/token", data=form)).status_code == 401
    [line] = [line for line in await lines(world) if line["action"] == "sign-in-failed"]
    assert line["units"] == []
    assert ("", "sign-in-failed") in await seen_by(world, "admin")
    assert ("", "sign-in-failed") not in await seen_by(world, "HERE")


async def test_a_failed_sign_in_is_seen_where_the_cadre_works(world: World) -> None:
    await somebody(world, "HERE", "admin")
    form = {"grant_type": "password", "username": WORKER, "password": "x"}
    assert (await world.client.post("/v1/auth/token", data=form)).status_code == 401
    assert (WORKER, "sign-in-failed") in await seen_by(world, "HERE")


@pytest.mark.parametrize(
    "path",
    ["/v1/households", "/v1/visits", "/v1/problems", "/v1/held", "/v1/analyses?week=2026-W47"],
)
async def test_a_list_leaves_one_line_a_request(world: World, path: str) -> None:
    await world.token(SECRETARY)
    before = len(await lines(world))
    assert (await world.get(path, SECRETARY)).status_code == 200
    assert len(await lines(world)) == before + 1


async def test_the_trail_names_no_data(world: World) -> None:
    await populate(world, VILLAGE, GRID, WORKER)
    await world.get("/v1/households", SECRETARY)
    await world.get("/v1/cadres", SECRETARY)
    text = "\n".join(row["row"] for row in await world.fetch("SELECT a::text AS row FROM audit a"))
    assert "苏和" not in text
    names = [
        row["name"]
        for row in await world.fetch("SELECT name FROM cadre WHERE staff_code = $1", WORKER)
    ]
    assert names[0] not in text


# ---------------------------------------------------------------------------- nothing done, no line


async def actions(world: World, action: str) -> list[Any]:
    return await world.fetch(
        "SELECT staff_code, subjects, count FROM audit WHERE action = $1 ORDER BY at, id", action
    )


async def send(
    world: World, method: str, path: str, staff_code: str = "admin", body: Any = None
) -> Any:
    headers = {"Authorization": f"Bearer {await world.token(staff_code)}"}
    return await world.client.request(method, path, json=body, headers=headers)


async def test_taking_a_second_factor_away_that_is_not_there_ends_nothing_and_leaves_no_line(
    world: World,
) -> None:
    mine = await world.token(WORKER)
    for _ in range(2):
        answer = await send(world, "DELETE", f"/v1/cadres/{WORKER}/otp")
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-now")
    assert await actions(world, "otp-reset") == []
    assert (
        await world.client.get("/v1/auth/me", headers={"Authorization": f"Bearer {mine}"})
    ).status_code == 200


async def test_a_revoked_phone_is_named_once(world: World) -> None:
    phone = world.wire()
    await phone.send()
    for _ in range(2):
        assert (
            await send(world, "POST", f"/v1/devices/{phone.device}/revocation")
        ).status_code == 200
    assert [
        (line["subjects"], line["count"]) for line in await actions(world, "device-revoked")
    ] == [([WORKER, phone.device], 1)]


async def test_ending_sign_ins_that_are_not_there_leaves_no_line(world: World) -> None:
    await world.token(WORKER)
    assert [
        (await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions")).json()["ended"]
        for _ in range(2)
    ] == [1, 0]
    assert len(await actions(world, "sessions-ended")) == 1


async def test_an_erasure_that_finds_nothing_new_leaves_no_second_line(world: World) -> None:
    for repeated in (False, True):
        answer = await send(world, "POST", f"/v1/cadres/{WORKER}/erasure", body={"reason": "x"})
        assert (answer.status_code, answer.json().get("repeated")) == (200, repeated), answer.text
    assert len(await actions(world, "cadre-erased")) == 1


async def test_a_sign_in_says_how(world: World) -> None:
    token = await world.token(WORKER)
    headers = {"Authorization": f"Bearer {token}"}
    begun = await world.client.post("/v1/auth/otp", json={"password": PASSWORD}, headers=headers)
    app = pyotp.TOTP(begun.json()["secret"])
    confirmed = await world.client.post(
        "/v1/auth/otp/confirmation", json={"otp": app.at(world.clock.now())}, headers=headers
    )
    [first, *_] = confirmed.json()["recovery_codes"]
    world.clock.forward(minutes=1)
    form = {"grant_type": "password", "username": WORKER, "password": PASSWORD}
    for code in (first, app.at(world.clock.now())):
        assert (
            await world.client.post("/v1/auth/token", data=form | {"otp": code})
        ).status_code == 200
        world.clock.forward(seconds=1)
    device = world.wire(SECRETARY)
    await device.send()
    await app_token(world)
    found = {tuple(line["subjects"]) for line in await actions(world, "signed-in")}
    assert found == {
        ("password",),
        ("recovery-code",),
        ("otp",),
        (device.device, "password"),
        ("client-secret",),
    }


# ------------------------------------------------------------------------ failures, to the last one


async def tries(world: World, count: int) -> None:
    form = {"grant_type": "password", "username": WORKER, "password": "wrong"}
    for _ in range(count):
        await world.client.post("/v1/auth/token", data=form)


async def counted(world: World) -> list[Any]:
    return [(line["staff_code"], line["count"]) for line in await actions(world, "sign-in-failed")]


async def test_failures_are_all_counted_when_the_attack_ends_within_its_minute(
    world: World,
) -> None:
    await tries(world, 13)
    assert await counted(world) == [(WORKER, 1)]
    assert (
        await note_counted(world.state.database, world.clock.now()) == 0
    )  # its minute is not over
    world.clock.forward(seconds=61)
    assert await note_counted(world.state.database, world.clock.now()) == 1
    assert await note_counted(world.state.database, world.clock.now()) == 0
    assert await counted(world) == [(WORKER, 1), (WORKER, 12)]
    [line] = await world.fetch(
        "SELECT address, subjects, units FROM audit WHERE action = 'sign-in-failed' AND count = 12"
    )
    assert (line["address"], line["subjects"], line["units"]) == ("127.0.0.1", [WORKER], [GRID])
    world.clock.forward(hours=1)
    await tries(world, 1)
    assert await counted(world) == [(WORKER, 1), (WORKER, 12), (WORKER, 1)]


async def test_a_running_service_writes_the_counts_itself(world: World) -> None:
    await tries(world, 3)
    world.clock.forward(seconds=61)
    async with world.state.database.transaction() as connection:
        await add(connection, NOTE_SIGN_INS)
    await asyncio.gather(*(runner_of(world, NOTE_SIGN_INS).drain() for _ in range(3)))
    assert await counted(world) == [(WORKER, 1), (WORKER, 2)]


async def test_purging_loses_no_count(world: World) -> None:
    await tries(world, 3)
    await purge(world.state.database, world.state.settings, world.clock.now() + timedelta(days=3))
    assert await counted(world) == [(WORKER, 1), (WORKER, 2)]
