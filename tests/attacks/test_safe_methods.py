"""What a link, an image or a preview could trigger changes nothing."""

from simulator.places import VILLAGE
from tests.attacks.test_attacks import RECORDS
from tests.identity.test_rights import ask, calls, populate
from tests.world import GRID, WORKER, World

KEPT = (*RECORDS, "cadre", "post", "device", "unit", "server", "tally")


async def contents(world: World) -> dict[str, str]:
    """A digest of every row of every table that a reader must leave alone."""
    sql = "SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') AS digest FROM {} t"
    return {name: (await world.fetch(sql.format(name)))[0]["digest"] for name in KEPT}


async def test_no_get_changes_a_record(world: World) -> None:
    place = await populate(world, VILLAGE, GRID, WORKER)
    reads = [call for _, call in calls(place) if call.method == "GET"]
    token = await world.token("admin")
    before = await contents(world)
    answers = [(await ask(world, call, token)).status_code for call in reads]
    assert await contents(world) == before
    assert answers.count(200) > 20
    assert max(answers) < 500
