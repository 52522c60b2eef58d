"""Promise 2: one bad mutation never blocks the rest, and is never thrown away."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from service.inbox import retry_held
from service.inbox.retry_held import release_overdue
from service.jobs.queue import add
from service.kit.database import Database
from service.kit.settings import Settings
from service.runtime import failpoints
from simulator.places import SUPERVISOR
from sync_protocol.clock import make_stamp
from sync_protocol.records import KINDS
from tests.jobs.builders import runner_of
from tests.world import (
    FAR_GRID,
    GRID,
    OTHER_GRID,
    SECRETARY,
    WORKER,
    World,
    first_held_at,
)

AT = "2026-11-20T09:00:00+08:00"


async def held_of(world: World, staff_code: str = SUPERVISOR, **query: Any) -> list[Any]:
    items: list[Any] = (await world.get("/v1/held", staff_code, **query)).json()["items"]
    return items


async def test_one_bad_mutation_is_held_and_the_rest_go_through(world: World) -> None:
    phone = world.wire()
    answer = (
        await phone.send(
            phone.mutation(1),
            phone.mutation(2, fields={"visited_at": "昨天", "content": 7}),
            phone.mutation(3, kind="telegram"),
            phone.mutation(4, grid=FAR_GRID),
            phone.mutation(5, fields={"visited_at": AT, "household_id": phone.new_id()}),
            phone.mutation(6, id="nonsense"),
            phone.mutation(7),
        )
    ).json()
    outcomes = [(verdict["outcome"], verdict.get("reason")) for verdict in answer["verdicts"]]
    assert outcomes == [
        ("applied", None),
        ("held", "fields-wrong"),
        ("held", "kind-unknown"),
        ("held", "not-allowed"),
        ("held", "reference-missing"),
        ("held", "unreadable"),
        ("applied", None),
    ]
    assert answer["acked"] == 7
    held = await held_of(world)
    assert {item["seq"] for item in held} >= {2, 3, 5}
    assert next(item for item in held if item["seq"] == 2)["mutation"]["fields"] == {
        "visited_at": "昨天",
        "content": 7,
    }


async def test_half_characters_and_nul_are_held_not_lost(world: World) -> None:
    phone = world.wire()
    bad = phone.mutation(1, fields={"visited_at": AT, "content": "\ud83d 半个"})
    nul = phone.mutation(2, fields={"visited_at": AT, "content": "a\0b"})
    envelope = {
        "protocol": 1,
        "sent_at": world.clock.now().isoformat(),
        "mutations": [bad, nul, phone.mutation(3)],
    }
    response = await phone.post(json.dumps(envelope).encode())
    assert [verdict["outcome"] for verdict in response.json()["verdicts"]] == [
        "held",
        "held",
        "applied",
    ]
    assert (await world.get("/v1/held")).status_code == 200


async def test_a_held_mutation_comes_to_its_author_with_the_feed(world: World) -> None:
    phone = world.wire()
    answer = (await phone.send(phone.mutation(1, fields={"visited_at": "昨天"}))).json()
    [notice] = [change for change in answer["changes"] if change["kind"] == "held"]
    assert notice["fields"]["seq"] == 1
    assert notice["fields"]["reason"] == "fields-wrong"


async def test_what_is_held_stays_in_the_phones_view_of_its_work(world: World) -> None:
    """A mutation does not count as done because the server acknowledged it."""
    phone = world.phone()
    phone.put_unchecked(
        "visit",
        {"visited_at": "昨天", "content": "写了半天"},
        grid=GRID,
        id=phone.id_for("visit", {}, GRID),
    )
    await phone.sync()
    world.clock.forward(days=60)
    await phone.sync()
    [mine] = phone.held()
    assert (mine.reason, mine.fields["content"]) == ("fields-wrong", "写了半天")


async def test_a_release_with_corrected_fields_is_judged_at_the_original_stamp(
    world: World,
) -> None:
    phone = world.wire()
    wrong = phone.mutation(1, fields={"visited_at": "昨天", "content": "看望"})
    await phone.send(wrong)
    world.clock.forward(days=2)
    # The worker is transferred meanwhile: it was written while the post was held.
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", WORKER, world.clock.now()
    )
    [item] = await held_of(world)

    answer = await world.post(
        f"/v1/held/{item['id']}/release",
        {"fields": {"visited_at": AT, "content": "看望"}},
        SECRETARY,
    )

    assert answer.json()["outcome"] == "applied"
    [visit] = await world.fetch("SELECT created_by, stamp, content FROM visit")
    assert (visit["created_by"], visit["content"], f"{visit['stamp']:016x}") == (
        WORKER,
        "看望",
        wrong["stamp"],
    )
    [kept] = await held_of(world, state="released")
    assert (kept["decided_by"], kept["mutation"]["fields"]["visited_at"]) == (SECRETARY, "昨天")


async def test_a_release_that_still_has_a_flaw_stays_held_with_the_newest_reason(
    world: World,
) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, fields={"visited_at": "昨天"}))
    [item] = await held_of(world)
    answer = await world.post(
        f"/v1/held/{item['id']}/release",
        {"fields": {"visited_at": AT, "household_id": phone.new_id()}},
        SECRETARY,
    )
    assert (answer.json()["outcome"], answer.json()["reason"]) == ("held", "reference-missing")
    [again] = await held_of(world)
    assert (again["id"], again["reason"]) == (item["id"], "reference-missing")


async def test_steps_of_a_held_problem_follow_it_in_the_order_they_were_written(
    world: World,
) -> None:
    phone = world.wire()
    problem = phone.mutation(
        1, "problem", fields={"title": "水管", "duty": "nonsense", "raised_at": AT}
    )
    steps = [
        phone.mutation(
            seq, "step", fields={"problem_id": problem["id"], "action": action, "at": AT}
        )
        for seq, action in ((2, "accept"), (3, "handle"), (4, "resolve"))
    ]
    answer = (await phone.send(problem, *steps)).json()
    assert [verdict.get("reason") for verdict in answer["verdicts"]] == ["fields-wrong"] + [
        "reference-missing"
    ] * 3
    [item] = [item for item in await held_of(world) if item["seq"] == 1]

    await world.post(
        f"/v1/held/{item['id']}/release",
        {"fields": problem["fields"] | {"duty": "emergency"}},
        SECRETARY,
    )

    assert await held_of(world) == []
    [case] = await world.fetch("SELECT state, resolved_by FROM case_file")
    assert tuple(case) == ("resolved", WORKER)
    revs = await world.fetch("SELECT action FROM step ORDER BY rev")
    assert [row["action"] for row in revs] == ["accept", "handle", "resolve"]


async def test_what_comes_before_its_reference_is_released_by_itself(world: World) -> None:
    """Another phone syncs first: its edit of a record that is not here yet waits for the record."""
    maker, editor = world.wire(), world.wire(SECRETARY)
    visit = maker.mutation(1)
    early = editor.mutation(
        1, id=visit["id"], base=9, stamp=make_stamp(world.clock.ms(), 2), fields={"content": "补充"}
    )
    assert (await editor.send(early)).json()["verdicts"][0]["reason"] == "record-missing"
    await maker.send(visit)
    [row] = await world.fetch("SELECT content FROM visit")
    assert row["content"] == "补充"
    answer = (await editor.send()).json()
    [notice] = [change for change in answer["changes"] if change["kind"] == "held"]
    assert notice["fields"]["state"] == "released"


async def test_what_waits_for_two_records_waits_for_the_second_when_the_first_has_come(
    world: World,
) -> None:
    maker, early = world.wire(), world.wire(SECRETARY)
    household, visit = (
        maker.mutation(1, "household", fields={"head_name": "王秀兰"}),
        maker.mutation(2),
    )
    named = {"household_id": household["id"], "visit_id": visit["id"]}
    problem = {"title": "水管", "duty": "emergency", "raised_at": AT, **named}
    [verdict] = (await early.send(early.mutation(1, "problem", fields=problem))).json()["verdicts"]
    assert verdict["reason"] == "reference-missing"

    await maker.send(household if household["id"] in verdict["detail"] else visit | {"seq": 1})
    [item] = await held_of(world)
    assert item["reason"] == "reference-missing"
    assert item["detail"] != verdict["detail"]
    world.clock.forward(seconds=1)
    await maker.send((visit if household["id"] in verdict["detail"] else household) | {"seq": 2})

    assert await held_of(world) == []
    [row] = await world.fetch("SELECT household_id::text, visit_id::text FROM problem")
    assert dict(row) == named


async def test_what_is_released_for_one_record_and_then_waits_for_another_that_is_released_too(
    world: World,
) -> None:
    """A problem waits for a household, and so does the visit that it names, which was written after
    it.
    """
    maker, early = world.wire(), world.wire(SECRETARY)
    household = maker.mutation(1, "household", fields={"head_name": "王秀兰"})
    visit = early.mutation(2, fields={"visited_at": AT, "household_id": household["id"]})
    named = {"household_id": household["id"], "visit_id": visit["id"]}
    problem = early.mutation(
        1, "problem", fields={"title": "水管", "duty": "emergency", "raised_at": AT} | named
    )
    verdicts = (await early.send(problem, visit)).json()["verdicts"]
    assert [verdict["outcome"] for verdict in verdicts] == ["held", "held"]

    await maker.send(household)

    assert await held_of(world) == []
    assert len(await world.fetch("SELECT FROM problem")) == 1


async def test_what_is_released_does_not_wait_for_the_record_that_it_makes(world: World) -> None:
    phone = world.wire()
    wrong = phone.mutation(1, fields={"content": "看望"})
    assert (await phone.send(wrong)).json()["verdicts"][0]["reason"] == "fields-missing"
    [item] = await held_of(world)
    answer = await world.post(
        f"/v1/held/{item['id']}/release",
        {"fields": {"visited_at": AT, "content": "看望老人"}},
        SECRETARY,
    )
    assert answer.json()["outcome"] == "applied"
    log = await world.logged("origin IS NOT NULL")
    assert [body["fields"]["content"] for body in log] == ["看望老人"]
    [kept] = await held_of(world, state="released")
    assert kept["decided_by"] == SECRETARY


async def _held_while_its_household_is_made(world: World) -> str:
    """A visit in one grid is held for a household in another, which is made between the look and
    the commit; the household's id.
    """
    visitor, maker = world.wire(SECRETARY), world.wire(SECRETARY)
    await maker.send()
    household = maker.mutation(1, "household", grid=OTHER_GRID, fields={"head_name": "王秀兰"})
    with first_held_at(failpoints.PUSH_WRITTEN) as (written, go_on):
        held = asyncio.create_task(
            visitor.send(
                visitor.mutation(1, fields={"visited_at": AT, "household_id": household["id"]})
            )
        )
        await written.wait()
        [made] = (await maker.send(household)).json()["verdicts"]
        go_on.set()
        [verdict] = (await held).json()["verdicts"]
    assert (made["outcome"], verdict["reason"]) == ("applied", "reference-missing")
    assert len(await held_of(world)) == 1
    return str(household["id"])


async def test_what_was_held_while_its_reference_was_made_is_released_soon(world: World) -> None:
    household = await _held_while_its_household_is_made(world)
    world.clock.forward(minutes=1)
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) == 1
    assert await held_of(world) == []
    [visit] = await world.fetch("SELECT household_id::text FROM visit")
    assert visit["household_id"] == household
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) == 0


async def test_the_service_itself_releases_what_is_overdue_and_outlives_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _held_while_its_household_is_made(world)
    world.clock.forward(minutes=1)
    tries = []

    async def fail_once(database: Database, settings: Settings, now: datetime) -> int:
        tries.append(now)
        if len(tries) == 1:
            raise RuntimeError("at the first try")
        return await release_overdue(database, settings, now)

    monkeypatch.setattr(retry_held, "release_overdue", fail_once)
    release = replace(retry_held.RELEASE, delay=lambda _: timedelta(0))
    async with world.state.database.transaction() as connection:
        await add(connection, release)
    await runner_of(world, release).drain()
    assert len(tries) == 2
    assert await held_of(world) == []
    assert len(await world.fetch("SELECT FROM visit")) == 1


async def test_what_waits_for_an_id_of_another_kind_is_not_tried_for_ever(world: World) -> None:
    phone = world.wire()
    visit = phone.mutation(1)
    problem = {"title": "水管", "duty": "emergency", "raised_at": AT, "household_id": visit["id"]}
    await phone.send(
        visit,
        phone.mutation(2, fields={"visited_at": AT, "household_id": visit["id"]}),
        phone.mutation(3, "problem", fields=problem),
    )
    assert len(await held_of(world)) == 2
    tried = "SELECT FROM mutation WHERE origin IS NOT NULL"
    before = len(await world.fetch(tried))
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) == 0
    assert len(await world.fetch(tried)) == before


async def test_what_somebody_is_discarding_is_not_released_meanwhile(world: World) -> None:
    """Its record comes just then: the discard counts."""
    phone, maker = world.wire(), world.wire(SECRETARY)
    household = maker.mutation(1, "household", fields={"head_name": "王秀兰"})
    await phone.send(phone.mutation(1, fields={"visited_at": AT, "household_id": household["id"]}))
    [item] = await held_of(world)
    async with world.state.database.transaction() as connection:
        await connection.execute("UPDATE held SET state = 'discarded' WHERE id = $1", item["id"])
        [verdict] = (await maker.send(household)).json()["verdicts"]
    assert verdict["outcome"] == "applied"
    assert await world.fetch("SELECT FROM visit") == []
    [row] = await world.fetch("SELECT state FROM held")
    assert row["state"] == "discarded"


async def test_a_discard_needs_a_reason_and_is_told_to_the_author(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, kind="telegram"))
    [item] = await held_of(world)
    path = f"/v1/held/{item['id']}/discard"
    assert (await world.post(path, {"reason": ""}, SECRETARY)).status_code == 422
    assert (await world.post(path, {"reason": "试写"}, SECRETARY)).json()["outcome"] == "discarded"
    [notice] = [
        change for change in (await phone.send()).json()["changes"] if change["kind"] == "held"
    ]
    assert (notice["fields"]["state"], notice["fields"]["decision"]) == ("discarded", "试写")
    assert (await world.post(path, {"reason": "再"}, SECRETARY)).status_code == 409
    [kept] = await held_of(world, state="discarded")
    assert kept["mutation"]["kind"] == "telegram"


async def test_who_may_decide_on_a_held_mutation(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, kind="telegram"))
    [item] = await held_of(world)
    path = f"/v1/held/{item['id']}/discard"
    assert (await world.post(path, {"reason": "x"}, f"W{OTHER_GRID}-1")).status_code == 404
    assert (await world.post(path, {"reason": "x"}, f"S{FAR_GRID[:9]}")).status_code == 404
    assert await held_of(world, f"S{FAR_GRID[:9]}") == []
    assert [row["id"] for row in await held_of(world, WORKER)] == [item["id"]]
    assert (await world.post(path, {"reason": "x"}, SUPERVISOR)).status_code == 200


async def test_the_author_may_discard_an_own_held_mutation_and_not_release_it(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, kind="telegram"))
    [item] = await held_of(world)
    assert (await world.post(f"/v1/held/{item['id']}/release", {}, WORKER)).status_code == 403
    answer = await world.post(f"/v1/held/{item['id']}/discard", {"reason": "写错了"}, WORKER)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "discarded")
    [kept] = await held_of(world, state="discarded")
    assert (kept["decided_by"], kept["decision"]) == (WORKER, "写错了")


async def test_a_held_mutation_of_a_sibling_grid_is_not_shown(world: World) -> None:
    phone = world.wire(f"W{OTHER_GRID}-1")
    await phone.send(phone.mutation(1, kind="telegram", grid=OTHER_GRID))
    assert await held_of(world, WORKER) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_new_record_names_what_it_lacks(world: World, kind: str) -> None:
    author = SECRETARY if kind in ("tie", "visit_check") else WORKER
    phone = world.wire(author)
    [verdict] = (await phone.send(phone.mutation(1, kind, fields={}))).json()["verdicts"]
    assert (verdict["outcome"], verdict["reason"]) == ("held", "fields-missing")
    for name in KINDS[kind].required:
        assert KINDS[kind].by_name[name].zh in verdict["detail"]
    [item] = (await world.client.get("/v1/held", headers=await english(world, author))).json()[
        "items"
    ]
    for name in KINDS[kind].required:
        assert name in item["detail"]


async def english(world: World, staff_code: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {await world.token(staff_code)}", "Accept-Language": "en"}


async def test_a_cadre_without_a_post_hears_of_held_mutations_by_the_verdict_and_reads_nothing(
    world: World,
) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, kind="telegram"))
    token = await world.token(WORKER)
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", WORKER, world.clock.now()
    )
    [verdict] = (await phone.send(phone.mutation(2, kind="telegram"))).json()["verdicts"]
    assert (verdict["outcome"], verdict["reason"]) == ("held", "kind-unknown")
    response = await world.client.get("/v1/held", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json()["type"]) == (403, "/problems/posts-ended")
    assert sorted(item["seq"] for item in await held_of(world, SECRETARY)) == [1, 2]
