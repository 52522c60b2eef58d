"""Requests of those who keep lists and calendars, and what follows from the records."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx

from service.tallies.recount import differences
from tests.world import GRID, Phone, World

ADMIN = "admin"  # of the city
CITY, BANNER = GRID[:4], GRID[:6]


def go(world: World, text: str) -> None:
    """Moves the clock to a moment in Baotou."""
    world.clock.stand_at(datetime.fromisoformat(text + "+08:00").astimezone(UTC))


async def ask(
    world: World,
    method: str,
    path: str,
    body: Any = None,
    staff_code: str = ADMIN,
    csv: bytes | None = None,
    **query: Any,
) -> httpx.Response:
    """A request as a cadre, a moment after whatever came before."""
    world.clock.forward(milliseconds=1)
    headers = {"Authorization": f"Bearer {await world.token(staff_code)}"}
    if csv is not None:
        headers["Content-Type"] = "text/csv"
    return await world.client.request(
        method, path, json=body, content=csv, params=query or None, headers=headers
    )


async def put_term(world: World, name: str, code: str, **body: Any) -> Any:
    """Writes a term as the city's administrator."""
    labels = {"name_zh": code, "name_en": code}
    answer = await ask(world, "PUT", f"/v1/vocabulary/{name}/{code}", labels | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def upload(world: World, year: int, text: str, unit: str | None = None) -> Any:
    """Uploads a list of days as the city's administrator."""
    query = {} if unit is None else {"unit": unit}
    answer = await ask(world, "PUT", f"/v1/calendar/{year}", csv=text.encode(), **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def raise_problem(world: World, phone: Phone, grid: str = GRID, **fields: Any) -> str:
    """Raises an urgent problem on a phone, now."""
    now = world.clock.now().isoformat(timespec="milliseconds")
    given = {"title": "水管冻裂", "duty": "emergency", "severity": "urgent", "raised_at": now}
    return phone.put("problem", given | fields, grid=grid)


async def due_of(world: World, problem: str) -> str:
    """When a problem is due, in Baotou, as it is filed."""
    [row] = await world.fetch(
        "SELECT to_char(due AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI') AS due"
        " FROM case_file WHERE problem = $1",
        problem,
    )
    return str(row["due"])


async def differing(world: World) -> list[Any]:
    """Where what is kept differs from a recount."""
    connection = await asyncpg.connect(str(world.state.settings.database_url))
    try:
        return await differences(connection, world.state.settings)
    finally:
        await connection.close()
