"""Promise 11: newer apps' fields are kept and given back; outdated apps get no data, but their work
is taken in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from service.identity.views import View
from service.inbox.retry_held import release_unknown_kinds
from service.sync import feed_sql, refusals
from sync_protocol import records
from sync_protocol.device import Refused, device
from sync_protocol.ids import weekly_analysis_id
from tests.world import GRID, SECRETARY, WORKER, World

AT = "2026-11-20T09:00:00+08:00"


@contextmanager
def server_without(*kinds: str) -> Iterator[None]:
    """A server that is too old to know these kinds."""
    every = dict(records.KINDS)
    feed_sql.feed_sql(
        frozenset({View.FULL})
    )  # put together before, or PostgreSQL does not know the types of what it never uses
    for kind in kinds:
        del records.KINDS[kind]
    try:
        yield
    finally:
        records.KINDS.clear()
        records.KINDS.update(every)
        # Statements that were put together meanwhile lack the kinds.
        feed_sql.feed_sql.cache_clear()
        feed_sql.copies_sql.cache_clear()


async def test_unknown_fields_of_newer_apps_are_kept_and_given_back(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, fields={"visited_at": AT, "mood": {"level": 3}}))
    reader = world.wire(SECRETARY)
    [visit] = [
        change for change in (await reader.send()).json()["changes"] if change["kind"] == "visit"
    ]
    assert visit["fields"]["mood"] == {"level": 3}
    # An older app edits something else: the newer app's field stays.
    await reader.send(
        reader.mutation(1, id=visit["id"], base=visit["rev"], fields={"content": "补充"})
    )
    [visit] = [
        change for change in (await phone.send()).json()["changes"] if change["kind"] == "visit"
    ]
    assert (visit["fields"]["mood"], visit["fields"]["content"]) == ({"level": 3}, "补充")


async def test_an_app_below_the_minimum_gets_no_data_but_its_work_is_taken_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MINIMUM", 2)
    phone = world.wire()
    response = await phone.send(phone.mutation(1), phone.mutation(2, kind="telegram"))
    problem = response.json()
    assert (response.status_code, problem["type"], problem["minimum"]) == (
        426,
        "/problems/upgrade-needed",
        2,
    )
    assert problem["acked"] == 2
    assert [verdict["outcome"] for verdict in problem["verdicts"]] == ["applied", "held"]
    assert "changes" not in problem
    assert len(await world.fetch("SELECT FROM visit")) == 1


async def test_a_kind_that_the_server_learns_later_is_released_by_the_upgrade(world: World) -> None:
    phone = world.phone()
    with server_without("weekly_analysis"):
        # The phone is newer than the server.
        phone.put_unchecked(
            "weekly_analysis",
            {"week": "2026-W47", "situation": "甲"},
            grid=GRID,
            id=records_id("2026-W47"),
        )
        phone.put_unchecked(
            "weekly_analysis", {"situation": "乙"}, grid=GRID, id=records_id("2026-W47")
        )
        phone.put_unchecked(
            "weekly_analysis", {"week": "nonsense"}, grid=GRID, id=records_id("2026-W46")
        )
        report = await phone.sync()
        assert [verdict.reason for verdict in report.verdicts] == ["kind-unknown"] * 3

    world.clock.forward(days=1)
    released = await release_unknown_kinds(
        world.state.database, world.state.settings, world.clock.now()
    )

    assert released == 2
    await phone.sync()
    [analysis] = phone.records("weekly_analysis")
    assert analysis.fields["situation"] == "乙"
    assert [item.reason for item in phone.held() if item.id == records_id("2026-W46")]
    [still] = (await world.get("/v1/held")).json()["items"]
    assert still["reason"] == "fields-wrong"


async def test_of_kinds_that_the_server_learns_later_one_may_name_what_was_written_after_it(
    world: World,
) -> None:
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


# ----------------------------------------------------------------------- apps newer than the server


NEWER: dict[str, dict[str, Any]] = {
    "of a known form": {},
    "of a form that nobody here knows": {"mutations": {"1": "?"}, "sent_at": 7},
    "with too many": {},
}


@pytest.mark.parametrize("what", NEWER)
async def test_an_app_newer_than_the_server_is_refused_by_name_and_nothing_is_taken_in(
    world: World, what: str
) -> None:
    phone = world.wire()
    mutations = [phone.mutation(seq) for seq in range(1, 1_002 if what == "with too many" else 3)]
    response = await phone.send(*mutations, **{"protocol": 2, **NEWER[what]})
    problem = response.json()
    assert (response.status_code, problem["type"]) == (400, "/problems/protocol-unknown")
    assert (problem["protocol"], problem["speaks"]) == (2, [1])
    assert "acked" not in problem
    assert await world.fetch("SELECT FROM mutation WHERE device = $1", phone.device) == []
    # The same in a protocol that the server speaks is new to it.
    answer = (await phone.send(phone.mutation(1))).json()
    assert [verdict["outcome"] for verdict in answer["verdicts"]] == ["applied"]


async def test_the_refusal_of_a_newer_app_says_in_both_languages_what_to_do(world: World) -> None:
    phone = world.wire()
    token = await world.token(WORKER, phone.device)
    for language, wanted in (("en", "keep everything"), ("zh", "请保留手机上的全部内容")):
        headers = {"Authorization": f"Bearer {token}", "Accept-Language": language}
        body = {"protocol": 7, "sent_at": world.clock.now().isoformat()}
        assert (
            wanted
            in (await world.client.post("/v1/sync", json=body, headers=headers)).json()["detail"]
        )


@pytest.mark.parametrize("protocol", [0, -1, 2**31, 2**63, 2**80, 1.5, True, "1", None, [1], {}])
async def test_what_is_no_protocol_is_a_broken_envelope(world: World, protocol: object) -> None:
    phone = world.wire()
    claims: dict[str, object] = {"grids": [], "protocol": protocol}
    for response in (
        await phone.send(phone.mutation(1), protocol=protocol),
        await phone.post(claims, "/v1/sync/verify"),
    ):
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid"), (
            protocol
        )
    assert await world.fetch("SELECT FROM mutation WHERE device = $1", phone.device) == []


async def test_a_protocol_may_be_written_as_a_whole_float(world: World) -> None:
    phone = world.wire()
    assert (await phone.send(phone.mutation(1), protocol=1.0)).status_code == 200
    assert (await phone.send(phone.mutation(2), protocol=2.0)).json()["protocol"] == 2


async def test_a_proof_of_a_copy_that_names_a_protocol_is_answered_in_that_or_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = world.wire()
    known: list[dict[str, Any]] = [{}, {"protocol": 1}, {"protocol": 1.0}]
    for member in known:
        assert (await phone.post({"grids": []} | member, "/v1/sync/verify")).json() == {
            "mismatched": []
        }
    newer = await phone.post({"grids": "in another form", "protocol": 2}, "/v1/sync/verify")
    assert (newer.status_code, newer.json()["type"], newer.json()["speaks"]) == (
        400,
        "/problems/protocol-unknown",
        [1],
    )
    monkeypatch.setattr(refusals, "MINIMUM", 2)
    older = await phone.post({"grids": [], "protocol": 1}, "/v1/sync/verify")
    assert (older.status_code, older.json()["type"], older.json()["minimum"]) == (
        426,
        "/problems/upgrade-needed",
        2,
    )


async def test_a_phone_newer_than_the_server_keeps_everything_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = world.phone()
    await phone.sync()
    phone.put("visit", {"visited_at": AT, "content": "甲"}, grid=GRID)
    before = (phone.records(), phone.store.unsent(10), phone.store.get("cursor"))
    with monkeypatch.context() as newer:
        newer.setattr(device, "PROTOCOL", 2)
        with pytest.raises(Refused, match="protocol-unknown"):
            await phone.sync()
    assert (phone.records(), phone.store.unsent(10), phone.store.get("cursor")) == before
    assert [verdict.outcome for verdict in (await phone.sync()).verdicts] == ["applied"]
