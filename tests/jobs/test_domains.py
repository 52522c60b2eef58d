"""The jobs of the domains."""

from service.privacy.purge_job import purge_job
from tests.jobs.builders import added, runner_of
from tests.world import World


async def test_the_nightly_purge_clears_places_and_leaves_a_line_in_the_trail(world: World) -> None:
    phone = world.wire()
    place = {"location": {"lat": 40.65, "lon": 109.84}, "visited_at": "2026-11-20T09:00:00+08:00"}
    assert (await phone.send(phone.mutation(1, fields=place))).status_code == 200
    world.clock.forward(days=world.state.settings.location_days + 1)
    purging = purge_job(world.state.settings)
    await added(world, purging)
    await runner_of(world, purging).drain()
    assert await world.fetch("SELECT FROM visit WHERE location IS NOT NULL") == []
    lines = await world.fetch("SELECT subjects FROM audit WHERE action = 'purged'")
    assert ["locations of visits"] in [row["subjects"] for row in lines]


def test_the_purge_comes_at_its_hour_in_shanghai_or_not_at_all(world: World) -> None:
    settings = world.state.settings
    assert purge_job(settings).every == "23 19 * * *"
    assert purge_job(settings.model_copy(update={"purge_hour": -1})).every is None
