"""Large ledgers are made in the background, and kept for a day for who asked for them."""

import io
from typing import Any

import httpx
import openpyxl
import pytest

from service.ledgers.jobs import LEDGER
from simulator.places import SUPERVISOR, TOWNSHIP
from tests.jobs.builders import runner_of
from tests.world import FAR_GRID, GRID, SECRETARY, World

ASKED: dict[str, Any] = {"unit": TOWNSHIP, "week": "2026-W47"}


async def ask(
    world: World, which: str, staff_code: str = SUPERVISOR, key: str = "", **query: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {await world.token(staff_code)}"}
    if key:
        headers["Idempotency-Key"] = key
    path = f"/v1/exports/{which}.xlsx"
    return await world.client.post(path, params=query, headers=headers)


def cells(content: bytes) -> list[list[Any]]:
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    return [[cell.value for cell in row] for row in sheet.iter_rows()]  # type: ignore[union-attr]


@pytest.fixture
async def visited(world: World) -> World:
    """A township with some visits in the week."""
    phone = world.phone()
    await phone.sync()
    for hour in range(9, 14):
        visit = {"visited_at": f"2026-11-19T{hour:02}:30:00+08:00", "content": f"第{hour}次"}
        phone.put("visit", visit, grid=GRID)
    await phone.sync()
    return world


@pytest.mark.parametrize("which", ["visits", "weekly", "loop"])
async def test_a_ledger_of_the_background_is_the_one_that_is_answered_at_once(
    visited: World, which: str
) -> None:
    response = await ask(visited, which, **ASKED)
    assert response.status_code == 202, response.text
    address = response.headers["Location"]
    assert address == f"/v1/jobs/{response.json()['id']}"
    await runner_of(visited, LEDGER).drain()
    done = (await visited.get(address)).json()
    assert (done["state"], done["done"] > 0) == ("done", True)
    made = await visited.get(f"{address}/content")
    at_once = await visited.get(f"/v1/exports/{which}.xlsx", **ASKED)
    assert cells(made.content) == cells(at_once.content)
    names = [one.headers["Content-Disposition"].partition("UTF-8''")[2] for one in (made, at_once)]
    assert names[0] == names[1]
    assert (await visited.get(f"{address}/content", SECRETARY)).status_code == 404


async def test_an_interval_of_days_is_made_as_it_was_asked_for(visited: World) -> None:
    days = {"unit": TOWNSHIP, "from": "2026-11-18", "to": "2026-11-19"}
    address = (await ask(visited, "visits", **days)).headers["Location"]
    await runner_of(visited, LEDGER).drain()
    made = await visited.get(f"{address}/content")
    assert cells(made.content) == cells(
        (await visited.get("/v1/exports/visits.xlsx", **days)).content
    )


async def test_what_cannot_be_asked_for_is_said_at_once_and_makes_no_job(world: World) -> None:
    week = {"week": "2026-W47"}
    for which, query, status in (
        ("monthly", ASKED, 422),
        ("visits", {**ASKED, "not_visited_days": 30}, 422),
        ("visits", {"unit": FAR_GRID[:6], **week}, 404),
        ("visits", {"unit": "1502999", **week}, 404),
    ):
        response = await ask(world, which, **query)
        assert response.status_code == status, response.text
    assert await world.fetch("SELECT FROM job_result") == []
    assert await world.fetch("SELECT FROM job WHERE entrypoint = 'ledger'") == []


async def test_asked_for_again_with_the_same_key_it_is_one_job(world: World) -> None:
    first, again = [await ask(world, "weekly", key="monday", **ASKED) for _ in range(2)]
    assert first.headers["Location"] == again.headers["Location"]
    assert len(await world.fetch("SELECT FROM job WHERE entrypoint = 'ledger'")) == 1


async def test_who_has_lost_the_post_meanwhile_gets_no_ledger(world: World) -> None:
    id = (await ask(world, "visits", **ASKED)).json()["id"]
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", SUPERVISOR, world.clock.now()
    )
    world.clock.forward(seconds=1)
    await runner_of(world, LEDGER).drain()
    [row] = await world.fetch("SELECT state, size FROM job_result WHERE id = $1", id)
    assert (row["state"], row["size"]) == ("failed", None)
    assert await world.fetch("SELECT FROM job_result_part") == []
