"""The keys outside the database: never a new one for what another encrypted, and nothing is written
by a key that is not its own.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.identity.tokens import Tokens
from service.kit.encryption import KeyMissing
from service.kit.key_file import make_key_file, new_key, read_keys
from service.kit.settings import Settings
from service.privacy.reencrypt import reencrypt
from service.runtime.postgres import as_role
from simulator.throwaway import ROLES
from tests.conftest import cloned, running
from tests.encrypted import another_key, own_key, use_keys
from tests.world import WORKER, Clock, World

PHONE = {"phone": "13812345678"}


@pytest.fixture
async def empty_url(server: str, empty_template: str) -> AsyncIterator[str]:
    """A migrated database without rows, as the service connects to it."""
    async with cloned(server, empty_template) as url:
        yield as_role(url, ROLES.service)


def with_keys(url: str, file: Path) -> Settings:
    """Settings whose keys lie in a file."""
    return Settings(database_url=url, secret_keys=None, secret_file=file)


async def started(settings: Settings, clock: Clock) -> int:
    async with running(create_app(settings, clock.now)) as client:
        return (await client.get("/readyz")).status_code


async def test_a_new_database_gets_a_first_key(
    empty_url: str, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "secret.key"
    assert await started(with_keys(empty_url, file), clock) == 200
    kept = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert await started(with_keys(empty_url, file), clock) == 200
    assert file.read_text() == kept


async def test_where_something_is_encrypted_a_missing_key_file_is_named_and_no_new_key_is_made(
    settings: Settings, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "secret.key"
    with pytest.raises(KeyMissing, match="no new key was made") as refused:
        await started(with_keys(str(settings.database_url), file), clock)
    assert str(file) in str(refused.value)
    assert "GRIDLOOP_SECRET_FILE" in str(refused.value)
    assert not file.exists()


async def test_a_service_with_another_key_does_not_start(world: World, clock: Clock) -> None:
    await world.token(WORKER)  # the first sign-in makes a signing key
    for given in (Settings(secret_keys=new_key()), with_keys("", Path("/nowhere/secret.key"))):
        with pytest.raises(KeyMissing):
            await started(
                given.model_copy(update={"database_url": world.state.settings.database_url}), clock
            )


async def test_nothing_is_written_that_the_unknown_key_of_a_database_would_not_open(
    world: World,
) -> None:
    admin, phone = await world.token("admin"), world.wire()
    assert (await phone.send()).status_code == 200
    [key] = await world.fetch("SELECT private_pem FROM signing_key")
    [before] = await world.fetch("SELECT phone FROM cadre WHERE staff_code = $1", WORKER)

    async def correct() -> Any:
        headers = {"Authorization": f"Bearer {admin}", "Accept-Language": "zh"}
        return await world.client.patch(f"/v1/cadres/{WORKER}", json=PHONE, headers=headers)

    await world.fetch("UPDATE signing_key SET private_pem = $1", "gl2.0badc0de." + "A" * 60)
    world.state.of(Tokens).reloaded_every_s = -1
    for answer in (await correct(), await phone.send()):
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable"), (
            answer.text
        )
        # Anybody may read this: neither where the keys lie nor which one is missing.
        assert "0badc0de" not in answer.text
        assert "GRIDLOOP" not in answer.text
    assert "The server lacks" not in (await correct()).json()["detail"]
    assert (await world.fetch("SELECT phone FROM cadre WHERE staff_code = $1", WORKER))[0][
        "phone"
    ] == before["phone"]
    read = await world.client.get("/v1/cadres", headers={"Authorization": f"Bearer {admin}"})
    assert read.status_code == 200
    await world.fetch("UPDATE signing_key SET private_pem = $1", key["private_pem"])
    world.state.of(Tokens).reloaded_every_s = -1
    assert (await correct()).status_code == 200
    assert (await phone.send()).status_code == 200


async def test_a_key_that_is_lost_for_good_is_given_up_by_a_new_signing_key(world: World) -> None:
    await world.token(WORKER)
    await world.fetch("UPDATE signing_key SET private_pem = $1", "gl2.0badc0de." + "A" * 60)
    with pytest.raises(KeyMissing, match="0badc0de"):
        await world.state.of(Tokens).rotate(world.clock.now())
    world.clock.forward(seconds=1)
    await world.state.of(Tokens).rotate(world.clock.now(), at_once=True)
    world.state.of(Tokens).reloaded_every_s = -1
    assert (await world.client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no key in the key file"),
        ("\n\nc2hvcnQ=\n", "line 3"),
        ("A" * 43 + "=\n$\n", "line 2"),
        ("密钥", "line 1"),
    ],
)
def test_what_is_no_key_is_refused_by_its_line(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "secret.key"
    file.write_text(text)
    with pytest.raises(KeyMissing, match=named) as refused:
        read_keys(None, file)
    assert str(file) in str(refused.value)
    assert "c2hvcnQ" not in str(refused.value)


def test_what_is_no_key_in_the_setting_is_refused_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="key 2 of GRIDLOOP_SECRET_KEYS"):
        read_keys(f"{new_key()},not-a-key", tmp_path / "k")
    with pytest.raises(KeyMissing, match="in GRIDLOOP_SECRET_KEYS"):
        read_keys(" ", tmp_path / "k")


def test_two_that_make_the_key_file_at_once_have_one_key(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    make_key_file(file)
    first = read_keys(None, file)
    make_key_file(file)
    assert read_keys(None, file) == first


# --------------------------------------------------------------------------------- a change of keys


async def code_for(world: World, staff_code: str = WORKER) -> str:
    headers = {"Authorization": f"Bearer {await world.token('admin')}"}
    return str(
        (await world.client.post(f"/v1/cadres/{staff_code}/recovery-code", headers=headers)).json()[
            "code"
        ]
    )


async def recovers(world: World, code: str, staff_code: str = WORKER) -> bool:
    body = {"staff_code": staff_code, "code": code, "new_password": "纸船 钟表 麦田 九月"}
    answer = await world.client.post("/v1/auth/recover", json=body)
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


# As docs/operations/running.md says: the new key last, then first, then everything anew, then
# without the old one.
STEPS: list[tuple[str, ...]] = [
    ("old",),
    ("old", "new"),
    ("new", "old"),
    ("new", "old", "anew"),
    ("new", "old", "anew", "gone"),
]


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
@pytest.mark.parametrize("form", ["present", "before"])
async def test_one_time_codes_outlive_every_step_of_a_change_of_keys(
    world: World, step: tuple[str, ...], form: str
) -> None:
    settings = world.state.settings
    keys = {"old": own_key(world), "new": another_key()}
    code = await code_for(world)
    if form == "before":
        derived = hmac.digest(settings.keyring.log_key, b"gridloop one-time codes", "sha256")
        kept = hmac.new(
            derived, f"password\0{WORKER}\0{code.replace('-', '')}".encode(), "sha256"
        ).hexdigest()
        await world.fetch("UPDATE one_time_code SET hash = $1", kept)
    use_keys(world, *(keys[name] for name in step if name in keys))
    if "anew" in step:
        outcome = await reencrypt(world.state.database, settings)
        assert (outcome.lost, outcome.missing) == (0, set())
        assert (await reencrypt(world.state.database, settings)).changed == 0
    if "gone" in step:
        use_keys(world, keys["new"])
    assert not await recovers(world, "00000-00000")
    assert await recovers(world, code)
    assert not await recovers(world, code)


async def test_a_code_that_two_use_at_once_is_taken_once(world: World) -> None:
    code = await code_for(world)
    assert sorted(await asyncio.gather(*(recovers(world, code) for _ in range(3)))) == [
        False,
        False,
        True,
    ]


async def test_a_copy_of_the_database_does_not_tell_a_code(world: World) -> None:
    code = (await code_for(world)).replace("-", "")
    [row] = await world.fetch("SELECT hash FROM one_time_code")
    assert row["hash"].startswith("gl2.")
    assert hashlib.sha256(f"password\0{WORKER}\0{code}".encode()).hexdigest() not in row["hash"]
