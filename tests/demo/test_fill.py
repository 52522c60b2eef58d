"""What `gridloop fill` makes up is what real pushes would have left: records, tallies, devices, and
the log with its blocks.
"""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.app import create_app
from service.demo.fill import Filled, fill
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.runtime.postgres import as_role
from service.tallies.recount import differences
from simulator.places import NOW
from simulator.throwaway import ROLES
from sync_protocol.cleaning import clean_fields
from sync_protocol.periods import local_day
from sync_protocol.records import KINDS
from tests.conftest import cloned, running
from tests.world import Clock, World

VISITS, PROBLEMS, DAYS = 4_000, 90, 40


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def filled(
    server: str, template: str, clock: Clock, tmp_path: Path
) -> AsyncIterator[tuple[World, Filled]]:
    """A service over a database that was filled."""
    async with cloned(server, template) as url:
        settings = Settings(
            database_url=as_role(url, ROLES.service),
            owner_database_url=as_role(url, ROLES.owner),
            demo=True,
            households_per_grid=3,
        )
        pool = await open_pool(settings.owner_url, 2)
        shown: dict[str, tuple[int, int]] = {}
        last = local_day(NOW) - timedelta(days=1)
        made = await fill(
            Database(pool),
            settings,
            VISITS,
            PROBLEMS,
            last,
            DAYS,
            lambda what, done, total: shown.update({what: (done, total)}),
        )
        await pool.close()
        assert shown["visit"] == (VISITS, VISITS)
        app = create_app(settings, clock.now)
        async with running(app) as client:
            world = World(app, client, clock, tmp_path)
            yield world, made
            await world.close()


async def test_the_log_of_a_made_up_year_is_what_pushes_would_have_left(
    filled: tuple[World, Filled],
) -> None:
    world, made = filled
    # The households come of the roster.
    [counts] = await world.fetch(
        "SELECT count(*) AS lines, count(body) AS plain FROM mutation WHERE kind <> 'household'"
    )
    assert (
        counts["lines"] == made.mutations == made.visits + made.problems + made.steps + made.texts
    )
    assert counts["plain"] == 0
    # Every record has the line that made it, by device, seq, revision, stamp and moment; no device
    # has a gap.
    for kind in ("visit", "problem", "step", "weekly_analysis", "monthly_summary"):
        wrong = await world.fetch(
            f"SELECT FROM {kind} r LEFT JOIN mutation m ON m.device = r.device AND m.seq = r.seq"
            " AND m.id = r.id::text AND m.rev = r.rev"
            " AND m.grid = r.grid AND m.stamp = r.stamp AND m.received_at = r.received_at"
            " AND m.staff_code = r.by WHERE m.device IS NULL"
        )
        assert wrong == [], kind
    gaps = await world.fetch(
        "SELECT d.id FROM device d JOIN mutation m ON m.device = d.id GROUP BY d.id"
        " HAVING min(seq) <> 1 OR max(seq) <> d.acked_seq OR count(*) <> d.acked_seq OR"
        " max(m.stamp) <> d.last_stamp"
    )
    assert gaps == []
    disorder = await world.fetch(
        "SELECT FROM (SELECT stamp - lag(stamp) OVER w AS later, received_at - lag(received_at)"
        " OVER w AS after FROM mutation"
        " WINDOW w AS (PARTITION BY device ORDER BY seq)) AS t WHERE later <= 0"
        " OR after < interval '0'"
    )
    assert disorder == []
    assert (
        await world.fetch(
            "SELECT FROM mutation WHERE received_at > $1 OR stamp >> 16 > $2", NOW, world.clock.ms()
        )
        == []
    )


async def test_the_bodies_of_a_made_up_log_can_be_read_and_are_what_an_app_sends(
    filled: tuple[World, Filled],
) -> None:
    world, made = filled
    bodies = await world.logged("kind <> 'household'")
    assert len(bodies) == made.mutations
    for body in bodies:
        kind = KINDS[body["kind"]]
        _, as_sent = clean_fields(kind, body["fields"])
        assert as_sent, body
        assert not set(kind.required) - body["fields"].keys(), body
    assert json.dumps(bodies[0], ensure_ascii=False)


async def test_check_and_a_phone_that_proves_its_copy_find_nothing_wrong(
    filled: tuple[World, Filled],
) -> None:
    world, _ = filled
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []
    phone = world.phone()
    await phone.sync()
    assert phone.records("visit")
    assert await phone.verify() == []


async def test_a_phone_of_the_made_up_year_that_sends_again_is_known(
    filled: tuple[World, Filled],
) -> None:
    world, _ = filled
    [line] = await world.fetch(
        "SELECT device::text, seq, staff_code FROM mutation WHERE kind = 'visit' AND seq = 1"
        " ORDER BY device LIMIT 1"
    )
    [body] = await world.logged("device = $1::uuid AND seq = 1", line["device"])
    wire = world.wire(line["staff_code"])
    wire.device = line["device"]
    answer = await wire.send({"seq": 1, **body})
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdicts"][0]["outcome"] == "duplicate"
