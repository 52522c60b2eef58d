"""Rights that are tried where another post of the same person would give them."""

from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World


async def gets_post(world: World, role: str, unit: str) -> None:
    """The worker gets another post."""
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES (gen_random_uuid(), $1, $2, $3, '2020-01-01')",
        WORKER,
        role,
        unit,
    )


async def test_an_export_follows_the_unit_of_the_post_that_gives_the_right(world: World) -> None:
    house = (await world.get("/v1/households", SECRETARY, unit=GRID, limit=1)).json()["items"][0][
        "id"
    ]
    assert (await world.get(f"/v1/households/{house}/export", WORKER)).status_code == 403
    await gets_post(
        world, "village_secretary", FAR_GRID[:12]
    )  # who exports there does not export here
    assert (await world.get(f"/v1/households/{house}/export", WORKER)).status_code == 404
    await gets_post(world, "village_secretary", GRID[:12])
    assert (await world.get(f"/v1/households/{house}/export", WORKER)).status_code == 200
