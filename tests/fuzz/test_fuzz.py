"""schemathesis over the whole document with the tokens of three roles: no 5xx, and every answer as
documented.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from simulator.places import PASSWORD, SUPERVISOR, VILLAGE
from tests.identity.test_rights import FAR_WORKER, populate
from tests.openapi.test_openapi import EXPORTED
from tests.world import FAR_GRID, GRID, WORKER, World

# `make fuzz` gives more of both.
SECONDS = int(os.environ.get("FUZZ_SECONDS", "8"))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "3"))
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)


@pytest.fixture
async def peopled(world: World, database_url: str) -> str:
    """A database with something of everything in it."""
    await populate(world, VILLAGE, GRID, WORKER)
    await populate(world, FAR_GRID[:12], FAR_GRID, FAR_WORKER)
    return database_url


@pytest.fixture
def service(peopled: str, tmp_path: Path) -> Iterator[str]:
    """A service process over it: its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "GRIDLOOP_DATABASE_URL": peopled,
        "GRIDLOOP_DATA": str(tmp_path),
        "GRIDLOOP_LOG_LEVEL": "error",
    }
    # However many wrong passwords are made up, the sign-in goes on being tried.
    env |= {"GRIDLOOP_ATTEMPTS_ADDRESS": "1000000/hour"}
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "serve.log").open("wb") as log:
        command = [sys.executable, "-m", "service", "serve", "--demo", "--port", str(port)]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(300):
                assert process.poll() is None, (tmp_path / "serve.log").read_text()[-3000:]
                if is_ready(url):
                    break
                time.sleep(0.1)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("staff_code", [WORKER, SUPERVISOR, "admin"])
def test_whatever_is_sent_gets_a_documented_answer(
    service: str, staff_code: str, tmp_path: Path
) -> None:
    form = {
        "grant_type": "password",
        "username": staff_code,
        "password": PASSWORD,
        "device_id": "0192f3a1-0000-7000-8000-0000000f0221",
    }
    token = httpx.post(f"{service}/v1/auth/token", data=form).json()["access_token"]
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(EXPORTED),
        "--url",
        service,
        "--checks",
        CHECKS,
    ]
    command += [
        "--header",
        f"Authorization: Bearer {token}",
        "--phases",
        "examples,fuzzing",
        "--max-examples",
        str(EXAMPLES),
    ]
    command += [
        "--max-time",
        str(SECONDS),
        "--seed",
        "20261125",
        "--continue-on-failure",
        "--no-color",
        "--warnings",
        "off",
    ]
    # These end the sign-in that the rest of the run needs.
    command += ["--exclude-operation-id", "sign_out", "--exclude-operation-id", "revoke_device"]
    command += ["--exclude-operation-id", "end_own_sessions"]
    command += ["--generation-with-security-parameters", "false", "--generation-database", "none"]
    env = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        "PYTHONPATH": str(EXPORTED.parents[1]),
    }
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
        check=False,
        timeout=SECONDS * 4 + 120,
    )
    errors = [
        line for line in (tmp_path / "serve.log").read_text().splitlines() if '"error"' in line
    ]
    assert ran.returncode == 0, ran.stdout[-6000:] + "\n".join(errors)[-3000:]
    assert errors == []
    tested = re.search(r"Tested: (\d+)", ran.stdout)
    assert tested, ran.stdout
    assert int(tested[1]) > 0
