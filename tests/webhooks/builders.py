"""Builders for tests of webhooks."""

from typing import Any

from service.webhooks.delivering import Deliveries
from service.webhooks.events import TYPES, collect
from service.webhooks.sending import Sender
from tests.webhooks.receiver import Receiver
from tests.world import GRID, SECRETARY, World

ADMIN = "admin"


async def a_webhook(world: World, receiver: Receiver, by: str = ADMIN, **given: Any) -> Any:
    """A webhook for all that happens in a village, as its maker sees it."""
    body = {
        "name": "app",
        "unit": GRID[:12],
        "events": [*TYPES],
        "address": receiver.address,
    } | given
    made = await world.post("/v1/webhooks", body, by)
    assert made.status_code == 201, made.text
    return made.json()


async def a_problem(world: World, grid: str = GRID, by: str = SECRETARY, **fields: Any) -> str:
    """A problem; its id."""
    body = {"grid": grid, "fields": {"title": "苏和家的水管冻裂", "duty": "emergency", **fields}}
    made = await world.post("/v1/problems", body, by)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def tell(world: World, sender: Sender | None = None) -> int:
    """Looks for events, and sends what is due; how many events were new."""
    state = world.state
    count = await collect(state.database, world.clock.now())
    await Deliveries(state.database, state.settings, world.clock.now, sender).deliver_due()
    return count


async def deliveries(world: World, id: str, **query: Any) -> list[Any]:
    """The deliveries of a webhook, the newest first."""
    answer = await world.get(f"/v1/webhooks/{id}/deliveries", ADMIN, **query)
    assert answer.status_code == 200, answer.text
    items: list[Any] = answer.json()["items"]
    return items
