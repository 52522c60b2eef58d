"""The OpenAPI document makes good clients: one is generated, and syncs and reads with it."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from simulator.places import SUPERVISOR, TOWNSHIP
from tests.openapi.test_openapi import EXPORTED
from tests.world import GRID, WORKER, World

DEVICE = "0192f3a1-0000-7000-8000-00000000c11e"


# In an environment of its own beside the one that runs the tests; the Makefile makes it.
GENERATOR = Path(sys.prefix) / "client" / "bin" / "openapi-python-client"


def generator_or_skip() -> str:
    """The program; without it the tests are skipped, and where GRIDLOOP_NO_SKIPS is set (in CI)
    they fail.
    """
    if not GENERATOR.exists():
        why = f"{GENERATOR} is not there; run `make test`, which makes it"
        if os.environ.get("GRIDLOOP_NO_SKIPS"):
            pytest.fail(why)
        pytest.skip(why)
    return str(GENERATOR)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The generated client, as a package."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yml"
    config.write_text("post_hooks: []\n")
    command = [
        generator_or_skip(),
        "generate",
        "--path",
        str(EXPORTED),
        "--meta",
        "none",
    ]
    command += ["--output-path", str(folder / "gridloop_client"), "--config", str(config)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    said = made.stdout + made.stderr
    assert made.returncode == 0, said
    # The answers that are no JSON are left out: a ledger and the roster are files.
    files = [f"WARNING parsing GET /v1/exports/{name}.xlsx" for name in ("{which}", "roster")]
    assert said.count("WARNING") == sum(map(said.count, files)) == 2, said
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("gridloop_client")
    finally:
        sys.path.remove(str(folder))


async def client(api: ModuleType, world: World, staff_code: str, device: str | None = None) -> Any:
    """A client of the generated package with somebody's token, over the app under test."""
    transport = httpx.ASGITransport(world.app)
    token = await world.token(staff_code, device)
    return api.AuthenticatedClient(
        base_url="http://gridloop.test", token=token, httpx_args={"transport": transport}
    )


async def test_a_generated_client_syncs(api: ModuleType, world: World) -> None:
    models = importlib.import_module("gridloop_client.models")
    sync = importlib.import_module("gridloop_client.api.sync.sync")
    phone = await client(api, world, WORKER, DEVICE)
    wire = world.wire()
    mutation = models.Mutation.from_dict(wire.mutation(1))
    body = models.SyncRequest(
        protocol=1, sent_at=world.clock.now().isoformat(), mutations=[mutation]
    )
    answer = await sync.asyncio(client=phone, body=body)
    assert isinstance(answer, models.SyncAnswer)
    assert [(verdict.seq, verdict.outcome) for verdict in answer.verdicts] == [(1, "applied")]
    households = [change for change in answer.changes if isinstance(change, models.HouseholdChange)]
    assert len(households) == len(answer.changes) == 3
    assert all(
        isinstance(change.fields, models.HouseholdFields) and change.fields.head_name
        for change in households
    )
    gap = models.SyncRequest(
        protocol=1,
        sent_at=world.clock.now().isoformat(),
        mutations=[models.Mutation.from_dict(wire.mutation(9))],
    )
    refused = await sync.asyncio(client=phone, body=gap)
    assert isinstance(refused, models.Problem)
    assert (refused.status, refused["expected"]) == (409, 2)


async def test_a_generated_client_reads_a_summary(api: ModuleType, world: World) -> None:
    models = importlib.import_module("gridloop_client.models")
    weekly = importlib.import_module("gridloop_client.api.summaries.weekly_summary")
    wire = world.wire()
    await wire.send(wire.mutation(1))
    summary = await weekly.asyncio(
        client=await client(api, world, SUPERVISOR), unit=TOWNSHIP, week="2026-W47"
    )
    assert isinstance(summary, models.Summary)
    assert (summary.totals.visits, summary.unit.code) == (1, TOWNSHIP)
    assert GRID.startswith(summary.unit.code)
