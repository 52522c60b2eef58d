"""Promise 11: newer apps' fields are kept and given back; outdated apps get no data, but their work is taken in."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.inbox.again import release_unknown_kinds
from service.sync import exchange
from sync_protocol import records
from sync_protocol.ids import weekly_analysis_id
from tests.world import GRID, SECRETARY, World

AT = "2026-11-20T09:00:00+08:00"


@contextmanager
def server_without(*kinds: str) -> Iterator[None]:
    """A server that is too old to know these kinds."""
    every = dict(records.KINDS)
    for kind in kinds:
        del records.KINDS[kind]
    try:
        yield
    finally:
        records.KINDS.clear()
        records.KINDS.update(every)


async def test_unknown_fields_of_newer_apps_are_kept_and_given_back(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, fields={"visited_at": AT, "mood": {"level": 3}}))
    reader = world.wire(SECRETARY)
    [visit] = [change for change in (await reader.send()).json()["changes"] if change["kind"] == "visit"]
    assert visit["fields"]["mood"] == {"level": 3}
    # An older app edits something else: the newer app's field stays.
    await reader.send(reader.mutation(1, id=visit["id"], base=visit["rev"], fields={"content": "补充"}))
    [visit] = [change for change in (await phone.send()).json()["changes"] if change["kind"] == "visit"]
    assert (visit["fields"]["mood"], visit["fields"]["content"]) == ({"level": 3}, "补充")


async def test_an_app_below_the_minimum_gets_no_data_but_its_work_is_taken_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MINIMUM", 2)
    phone = world.wire()
    response = await phone.send(phone.mutation(1), phone.mutation(2, kind="telegram"))
    problem = response.json()
    assert (response.status_code, problem["type"], problem["minimum"]) == (426, "/problems/upgrade-needed", 2)
    assert problem["acked"] == 2
    assert [verdict["outcome"] for verdict in problem["verdicts"]] == ["applied", "held"]
    assert "changes" not in problem
    assert len(await world.fetch("SELECT FROM visit")) == 1


async def test_a_kind_that_the_server_learns_later_is_released_by_the_upgrade(world: World) -> None:
    phone = world.phone()
    with server_without("weekly_analysis"):
        # The phone is newer than the server.
        phone.put_unchecked("weekly_analysis", {"week": "2026-W47", "situation": "甲"}, grid=GRID, id=records_id("2026-W47"))
        phone.put_unchecked("weekly_analysis", {"situation": "乙"}, grid=GRID, id=records_id("2026-W47"))
        phone.put_unchecked("weekly_analysis", {"week": "nonsense"}, grid=GRID, id=records_id("2026-W46"))
        report = await phone.sync()
        assert [verdict.reason for verdict in report.verdicts] == ["kind-unknown"] * 3

    world.clock.forward(days=1)
    released = await release_unknown_kinds(world.state.database, world.state.settings, world.clock.now())

    assert released == 2
    await phone.sync()
    [analysis] = phone.records("weekly_analysis")
    assert analysis.fields["situation"] == "乙"
    assert [item.reason for item in phone.held() if item.id == records_id("2026-W46")]
    [still] = (await world.get("/v1/held")).json()["items"]
    assert still["reason"] == "fields-wrong"


async def test_of_kinds_that_the_server_learns_later_one_may_name_what_was_written_after_it(world: World) -> None:
    phone = world.wire()
    visit = phone.mutation(2)
    problem = {"title": "水管", "duty": "emergency", "raised_at": AT, "visit_id": visit["id"]}
    with server_without("visit", "problem"):
        answer = (await phone.send(phone.mutation(1, "problem", fields=problem), visit)).json()
        assert [verdict["reason"] for verdict in answer["verdicts"]] == ["kind-unknown"] * 2

    world.clock.forward(days=1)
    await release_unknown_kinds(world.state.database, world.state.settings, world.clock.now())

    assert await world.fetch("SELECT FROM held WHERE state = 'open'") == []
    [row] = await world.fetch("SELECT visit_id::text FROM problem")
    assert row["visit_id"] == visit["id"]


def records_id(week: str) -> str:
    return weekly_analysis_id(GRID, week)
