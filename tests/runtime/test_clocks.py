"""A wrong clock: nothing is stored by it, and somebody is told."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.app import create_app
from service.kit.errors import Problem
from service.kit.settings import Settings
from service.runtime.clocks import ClockWatch
from simulator.places import SUPERVISOR
from sync_protocol import clock as clocks
from sync_protocol.ids import server_device_id
from tests.commands import run_command
from tests.conftest import running
from tests.pages.browsing import Browser
from tests.world import WORKER, Clock, World

DAY = timedelta(days=1)
LINE = """
    INSERT INTO audit (id, at, staff_code, action, subjects, count, address, request_id, units)
    VALUES (gen_random_uuid(), $1, '', 'x', '{}', 1, '', '', '{}')
"""


class MachineClock(Clock):
    """The clock of a machine, which is wrong by `wrong_by`."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))
        self.wrong_by = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.wrong_by


@pytest.fixture
def machine() -> MachineClock:
    return MachineClock()


@pytest.fixture
async def watched(
    settings: Settings, machine: MachineClock, tmp_path: Path
) -> AsyncIterator[World]:
    """A service by the clock of a machine, which it watches; the clock of everybody else is
    right.
    """
    app = create_app(settings, machine.now, ClockWatch(machine.now))
    async with running(app) as client:
        world = World(app, client, MachineClock(), tmp_path)
        yield world
        await world.close()


async def look(world: World) -> None:
    """What the service does once a minute."""
    await world.app.state.clock.look_if_possible(world.state.database)


def is_wrong(response: httpx.Response) -> bool:
    """Whether a request was refused for the clock, and asked to come again."""
    if response.status_code != 503:
        return False
    assert response.json()["type"] == "/problems/unavailable"
    assert "clock is wrong" in response.json()["detail"]
    assert int(response.headers["retry-after"]) >= 30
    return True


async def test_a_clock_a_day_off_stores_nothing_and_says_so_until_it_is_right(
    watched: World, machine: MachineClock, caplog: pytest.LogCaptureFixture
) -> None:
    phone = watched.wire()
    assert (await phone.send(phone.mutation(1))).status_code == 200
    await watched.token(SUPERVISOR)
    for wrong_by in (DAY, -DAY, timedelta(seconds=90)):
        caplog.clear()
        machine.wrong_by = wrong_by
        # The clock was set while the service ran: the very next exchange is refused, nobody has
        # looked before.
        assert is_wrong(await phone.send(phone.mutation(2)))
        assert is_wrong(
            await watched.client.post(
                "/v1/auth/token",
                data={"grant_type": "password", "username": WORKER, "password": "x"},
            )
        )
        assert is_wrong(await watched.client.request("DELETE", "/v1/seals/x"))
        assert (await watched.client.get("/healthz")).status_code == 200
        ready = await watched.client.get("/readyz", headers={"Accept-Language": "en"})
        assert ready.status_code == 503
        assert int(ready.headers["retry-after"]) > 0
        figures = (await watched.client.get("/metrics")).text
        assert "gridloop_clock_wrong 1.0" in figures
        [refused] = re.findall(r"^gridloop_clock_refusals_total (.+)$", figures, re.MULTILINE)
        assert float(refused) >= 3
        for moment in (machine.now(), datetime.now(UTC)):
            assert f"{moment:%Y-%m-%dT%H:}" in ready.json()["detail"]
        assert [
            record.levelname
            for record in caplog.records
            if "they are more than a minute apart" in record.message
        ] == ["ERROR"]
        machine.wrong_by = timedelta(0)
        assert (await watched.client.get("/readyz")).status_code == 200
        assert "the service's clock is right again" in caplog.text
    assert (await watched.client.post("/v1/sync", json={})).status_code == 401
    assert await watched.fetch("SELECT seq FROM mutation WHERE device = $1", phone.device) == [(1,)]
    assert await watched.fetch("SELECT FROM attempt WHERE count > 0") == []
    assert (await phone.send(phone.mutation(2))).status_code == 200


async def test_nothing_is_read_by_a_wrong_clock_so_that_the_trail_has_no_line_of_a_wrong_time(
    watched: World, machine: MachineClock
) -> None:
    headers = {"Authorization": f"Bearer {await watched.token(SUPERVISOR)}"}

    async def lines() -> int:
        [row] = await watched.fetch("SELECT count(*) FROM audit")
        return int(row["count"])

    async def read(path: str) -> httpx.Response:
        return await watched.client.get(path, headers=headers)

    before = await lines()
    paths = (
        "/v1/problems",
        "/v1/households",
        "/v1/conflicts",
        "/v1/exports/problems.xlsx?unit=150202100&week=2026-W46",
        "/v1/auth/me",
    )
    # Also one by which the token would still be good, and before anybody has looked.
    for wrong_by in (timedelta(minutes=5), -DAY):
        machine.wrong_by = wrong_by
        for path in paths:
            assert is_wrong(await read(path)), path
        assert (await watched.client.get("/healthz")).status_code == 200
        assert (await watched.client.options("/v1/problems")).status_code != 503
    assert await lines() == before
    machine.wrong_by = timedelta(0)
    for path in paths:
        assert (await read(path)).status_code == 200, path
    [row] = await watched.fetch(
        "SELECT count(*), max(abs(extract(epoch FROM at - now()))) AS off FROM audit"
        " WHERE action <> 'signed-in'"
    )
    assert row["count"] == len(paths) - 1
    assert row["off"] < 60


async def test_pages_wait_for_a_right_clock_as_rest_does(
    watched: World, machine: MachineClock
) -> None:
    browser = Browser(watched, "http://localhost")
    await browser.sign_in(SUPERVISOR)
    page = await browser.get("/week", unit="150202100", week="2026-W20")
    before = await watched.fetch("SELECT count(*) FROM audit")
    machine.wrong_by = DAY
    sealed = await browser.send(page, "seal")
    for answer in (sealed, await browser.get("/problems"), await browser.sign_in(SUPERVISOR)):
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/html")
        assert int(answer.headers["retry-after"]) >= 30
    assert await watched.fetch("SELECT FROM seal") == []
    assert await watched.fetch("SELECT count(*) FROM audit") == before
    machine.wrong_by = timedelta(0)
    assert (await browser.get("/problems")).status_code == 200


async def test_a_refusal_is_in_the_language_that_was_asked_for_and_has_an_id(
    watched: World, machine: MachineClock
) -> None:
    machine.wrong_by = DAY
    refused = await watched.client.post("/v1/sync", json={}, headers={"Accept-Language": "zh"})
    assert "时钟有误" in refused.json()["detail"]
    assert refused.headers["x-request-id"]
    assert refused.headers["x-content-type-options"] == "nosniff"


async def test_a_service_that_starts_by_a_wrong_clock_refuses_from_its_first_request(
    settings: Settings, machine: MachineClock
) -> None:
    machine.wrong_by = -DAY
    async with running(create_app(settings, machine.now, ClockWatch(machine.now))) as client:
        assert is_wrong(await client.post("/v1/sync", json={}))
        assert (await client.get("/readyz")).status_code == 503


async def test_what_the_service_does_by_itself_waits_for_a_right_clock(
    watched: World, machine: MachineClock
) -> None:
    watch: ClockWatch = watched.app.state.clock
    assert watch.stamp() <= datetime.now(UTC)
    machine.wrong_by = DAY
    with pytest.raises(Problem):
        watch.stamp()
    await look(watched)
    with pytest.raises(Problem):
        watch.stamp()
    machine.wrong_by = timedelta(0)
    await look(watched)
    assert watch.stamp() <= datetime.now(UTC)


async def synced_lately(world: World, count: int, ahead: timedelta) -> None:
    """So many phones, whose clocks are wrong, sync."""
    for _ in range(count):
        phone = world.wire()
        sent_at = (world.clock.now() + ahead).isoformat()
        assert (await phone.send(sent_at=sent_at)).status_code == 200


async def test_phones_that_agree_on_another_time_are_a_warning_and_never_a_refusal(
    watched: World, machine: MachineClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def warnings() -> list[str]:
        await look(watched)
        ready = await watched.client.get("/readyz", headers={"Accept-Language": "en"})
        assert ready.status_code == 200
        return list(ready.json()["warnings"])

    await synced_lately(watched, 4, timedelta(minutes=20))
    # What counts for no phone: the server's own device, one that was revoked, and one that was not
    # seen for long.
    await watched.fetch(
        "INSERT INTO device (id, staff_code, name, platform, app_version, acked_seq, last_stamp,"
        " queued, clock_offset_ms, created_at,"
        " last_seen, revoked_at) SELECT v.id::uuid, $1, '', v.platform, '', 0, 0, 0, -1200000,"
        " now(), v.seen, v.revoked"
        " FROM (VALUES ($2, 'server', now(), NULL), ('00000000-0000-4000-8000-000000000001', '',"
        " now(), now()),"
        " ('00000000-0000-4000-8000-000000000002', '', now() - interval '2 hours', NULL)) AS v(id,"
        " platform, seen, revoked)",
        WORKER,
        server_device_id(WORKER),
    )
    assert await warnings() == []
    await synced_lately(watched, 1, timedelta(minutes=20))
    [warning] = await warnings()
    assert "5 phones" in warning
    assert f"{datetime.now(UTC) + timedelta(minutes=20):%H:%M}"[:4] in warning
    assert "5 phones" in caplog.text
    figures = (await watched.client.get("/metrics")).text
    [line] = [
        line
        for line in figures.splitlines()
        if line.startswith('gridloop_clock_ahead_seconds{of="phones"}')
    ]
    assert -1201 < float(line.split()[1]) < -1190
    # One phone in the middle of right ones moves no median.
    await synced_lately(watched, 6, timedelta(0))
    assert await warnings() == []


async def test_a_clock_that_was_put_back_while_the_service_runs_is_told_and_goes_on(
    watched: World,
) -> None:
    """The database is on the same machine and agrees; to end a service that runs would keep phones
    from handing in.
    """
    await watched.fetch(LINE, datetime.now(UTC) + DAY)
    ready = await watched.client.get("/readyz", headers={"Accept-Language": "en"})
    assert ready.status_code == 200
    assert "the newest stamp in the database" in ready.json()["warnings"][0]


@pytest.mark.parametrize("where", ["audit", "last_seen", "last_stamp"])
async def test_commands_refuse_a_clock_behind_the_newest_stamp(
    watched: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    urls = {
        "DATABASE_URL": watched.state.settings.database_url,
        "OWNER_DATABASE_URL": watched.state.settings.owner_database_url,
    }
    phone = watched.wire()
    await phone.send(phone.mutation(1))
    assert (await run_command(monkeypatch, ["purge"], urls)).exit_code == 0
    newest = datetime.now(UTC) + DAY
    if where == "audit":
        await watched.fetch(LINE, newest)
    elif where == "last_seen":
        await watched.fetch("UPDATE device SET last_seen = $1", newest)
    else:
        await watched.fetch(
            "UPDATE device SET last_stamp = $1",
            int(clocks.make_stamp(int(newest.timestamp() * 1000)), 16),
        )
    for command in (["purge"], ["keys", "rotate"], ["check", "--mend"]):
        refused = await run_command(monkeypatch, command, urls)
        assert refused.exit_code == 1, refused.output
        assert f"{newest:%Y-%m-%dT%H:%M}" in refused.output
        assert "GRIDLOOP_TRUST_CLOCK=1" in refused.output
    assert (await run_command(monkeypatch, ["check"], urls)).exit_code == 0  # it stores nothing
    assert (await run_command(monkeypatch, ["purge"], urls | {"TRUST_CLOCK": "1"})).exit_code == 0


# ----------------------------------------------------------------------------------- real processes

WRONG = """
from datetime import timedelta
from service.kit import now
right = now.utc_now
now.utc_now = lambda: right() + timedelta(days=1)
from service.cli.app import app
app()
"""


def environment_of(settings: Settings) -> dict[str, str]:
    """Variables with which a command serves the database of the settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GRIDLOOP_") or name == "GRIDLOOP_SECRET_KEYS"
    }
    return kept | {"GRIDLOOP_DATABASE_URL": str(settings.database_url), "COLUMNS": "500"}


def served(settings: Settings, begun: list[str]) -> "subprocess.CompletedProcess[str]":
    """`gridloop serve`, which should end by itself."""
    command = [sys.executable, *begun, "serve", "--port", "0"]
    return subprocess.run(
        command,
        env=environment_of(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_start_by_a_clock_that_differs_from_the_databases_is_refused(settings: Settings) -> None:
    ended = served(settings, ["-c", WRONG])
    assert ended.returncode == 3, ended.stdout + ended.stderr
    said = " ".join(ended.stdout.split())
    for moment in (datetime.now(UTC), datetime.now(UTC) + DAY):
        assert f"{moment:%Y-%m-%dT%H:}" in said
    assert "more than a minute apart" in said
    assert "超过一分钟" in said


async def test_a_start_behind_the_newest_stamp_is_refused_unless_told(settings: Settings) -> None:
    owner = await asyncpg.connect(settings.owner_url)
    newest = datetime.now(UTC) + DAY
    await owner.execute(LINE, newest)
    await owner.close()
    ended = await asyncio.to_thread(served, settings, ["-m", "service"])
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert f"{newest:%Y-%m-%dT%H:%M}" in ended.stdout
    assert "--trust-clock" in ended.stdout
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "serve", "--port", str(port), "--trust-clock"),
        env=environment_of(settings),
    )
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
            asyncio.timeout(60),
        ):
            while True:
                try:
                    ready = await client.get("/readyz", headers={"Accept-Language": "en"})
                    break
                except httpx.HTTPError:
                    assert process.returncode is None
                    await asyncio.sleep(0.1)
        assert ready.status_code == 200
        assert "the newest stamp in the database" in ready.json()["warnings"][0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
