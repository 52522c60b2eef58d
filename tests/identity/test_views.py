"""What a phone is shown follows the same table of views as REST, and a changed view is sent
anew.
"""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from service.identity.rights import PostHeld
from service.writes.snapshot import Assignment, Snapshot
from simulator.places import NOW, SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.device import Device
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

PHONE, ADDRESS = "10087654321", "东组12号"
PLACE = {"lat": 40.654321, "lon": 109.876543, "accuracy": 8.0}
AT = "2026-11-20T09:00:00+08:00"
SOMEBODY = "SOMEBODY"


async def appoint(world: World, role: str, unit: str, code: str = SOMEBODY) -> str:
    """Somebody with a post, from long ago on."""
    await world.fetch(
        "INSERT INTO cadre SELECT $1, '某人', '', false, password, true FROM cadre"
        " WHERE staff_code = $2 ON CONFLICT DO NOTHING",
        code,
        WORKER,
    )
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from) VALUES ($1, $2, $3, $4, $5)",
        str(uuid.uuid4()), code, role, unit, NOW - timedelta(days=1000),
    )  # fmt: skip
    return code


async def household(world: World) -> str:
    """A household with everything, its visit and its problem with a step."""
    phone = world.wire()
    fields = {
        "head_name": "王秀兰",
        "phone": PHONE,
        "address": ADDRESS,
        "location": PLACE,
        "note": "门口有狗",
        "nickname": "王婶",
    }
    house = phone.mutation(1, "household", fields=fields | {"tags": {"add": ["elderly_alone"]}})
    about = {"household_id": house["id"], "location": PLACE}
    problem = phone.mutation(
        3,
        "problem",
        fields={"title": "水管", "duty": "emergency", "raised_at": AT, "contact": PHONE} | about,
    )
    answer = await phone.send(
        house,
        phone.mutation(2, fields={"visited_at": AT, "content": "看望"} | about),
        problem,
        phone.mutation(
            4, "step", fields={"problem_id": problem["id"], "action": "accept", "at": AT}
        ),
    )
    assert {verdict["outcome"] for verdict in answer.json()["verdicts"]} == {"applied"}
    return str(house["id"])


async def everything(world: World, staff_code: str) -> tuple[Device, dict[str, Any]]:
    """A phone that has pulled all, and the fields of what it holds by id."""
    phone = world.phone(staff_code)
    await phone.sync()
    return phone, {view.id: view.fields for view in phone.records()}


@pytest.mark.parametrize(
    ("unit", "tags"), [(TOWNSHIP, True), (TOWNSHIP[:6], False), (TOWNSHIP[:4], False)]
)
@pytest.mark.parametrize("role", ["supervisor", "admin"])
async def test_a_supervisors_phone_gets_no_personal_fields(
    world: World, role: str, unit: str, tags: bool
) -> None:
    house = await household(world)
    phone, held = await everything(world, await appoint(world, role, unit))
    assert held[house]["head_name"] == "王秀兰"
    assert held[house]["note"] == "门口有狗"
    assert ("tags" in held[house]) is tags
    assert not held[house].keys() & {"phone", "address", "location", "nickname"}
    whole = repr(held)
    assert PHONE not in whole
    assert ADDRESS not in whole
    assert "109.87" not in whole
    assert await phone.verify() == []


async def test_every_pull_from_outside_the_village_leaves_one_line_a_day_and_phone(
    world: World,
) -> None:
    await household(world)
    phone = world.phone(SUPERVISOR)
    for _ in range(3):
        await phone.sync()
        world.clock.forward(hours=1)
    world.clock.forward(days=1)
    other = world.phone(WORKER)
    other.put("visit", {"visited_at": AT}, grid=GRID)
    await other.sync()
    await phone.sync()
    lines = await world.fetch(
        "SELECT staff_code, subjects, at FROM audit WHERE action = 'sync-pull' ORDER BY at"
    )
    assert [line["staff_code"] for line in lines] == [SUPERVISOR, SUPERVISOR]
    assert lines[0]["subjects"] == [TOWNSHIP, phone.id]
    assert lines[1]["at"] - lines[0]["at"] > timedelta(hours=20)


async def test_a_workers_phone_gets_everything_of_its_grid(world: World) -> None:
    house = await household(world)
    _, held = await everything(world, WORKER)
    assert (held[house]["phone"], held[house]["address"], held[house]["location"]) == (
        PHONE,
        ADDRESS,
        PLACE,
    )
    assert held[house]["nickname"] == "王婶"
    assert await world.fetch("SELECT FROM audit WHERE action = 'sync-pull'") == []


async def test_a_contact_members_phone_gets_the_tied_households_and_what_is_about_them(
    world: World,
) -> None:
    house = await household(world)
    member = await appoint(world, "contact_member", VILLAGE)
    phone = world.phone(member)
    await phone.sync()
    assert phone.records() == []

    secretary = world.phone(SECRETARY)
    await secretary.sync()
    secretary.put("household", {"contact_member": member}, grid=GRID, id=house)
    await secretary.sync()
    await phone.sync()

    kinds = sorted(view.kind for view in phone.records())
    assert kinds == ["household", "problem", "step", "visit"]
    assert next(view.fields["phone"] for view in phone.records("household")) == PHONE
    assert await phone.verify() == []

    own = phone.put("visit", {"visited_at": AT, "household_id": house}, grid=GRID)
    await phone.sync()
    assert own in {view.id for view in phone.records("visit")}
    assert await phone.verify() == []

    await secretary.sync()
    secretary.put("household", {"contact_member": None}, grid=GRID, id=house)
    await secretary.sync()
    await phone.sync()
    assert {view.id for view in phone.records()} == {own}
    assert await phone.verify() == []


async def test_a_contact_member_reads_the_same_over_rest(world: World) -> None:
    house = await household(world)
    member = await appoint(world, "contact_member", VILLAGE)
    for path in ("/v1/households", "/v1/visits", "/v1/problems"):
        assert (await world.get(path, member)).json()["items"] == [], path
    assert (await world.get(f"/v1/households/{house}", member)).status_code == 404
    problem = (await world.fetch("SELECT id::text FROM problem"))[0]["id"]
    assert (await world.get(f"/v1/problems/{problem}", member)).status_code == 404

    await world.fetch("UPDATE household SET contact_member = $2 WHERE id = $1", house, member)
    assert [
        item["phone"] for item in (await world.get("/v1/households", member)).json()["items"]
    ] == [PHONE]
    assert [
        item["head_name"] for item in (await world.get("/v1/visits", member)).json()["items"]
    ] == ["王秀兰"]
    assert [item["id"] for item in (await world.get("/v1/problems", member)).json()["items"]] == [
        problem
    ]
    assert (await world.get(f"/v1/problems/{problem}", member)).json()["fields"]["contact"] == PHONE


async def test_a_promotion_drops_the_grid_and_sends_it_as_the_new_post_sees_it(
    world: World,
) -> None:
    house = await household(world)
    wire = world.wire(WORKER)
    before = (await wire.send()).json()
    assert (
        next(change["fields"]["phone"] for change in before["changes"] if change["id"] == house)
        == PHONE
    )
    world.clock.forward(minutes=1)
    await world.fetch(
        "UPDATE post SET role = 'supervisor', unit = $2 WHERE staff_code = $1", WORKER, TOWNSHIP
    )

    first = (await wire.send()).json()
    assert GRID in first["dropped_grids"]
    assert first["more"] is True
    assert first["pending"] > 0
    assert all(change["grid"] != GRID for change in first["changes"])
    again = (await wire.send()).json()
    assert GRID not in again["dropped_grids"]
    assert (
        next(change["fields"] for change in again["changes"] if change["id"] == house)["head_name"]
        == "王秀兰"
    )
    assert PHONE not in repr(again)


async def test_a_reduced_copy_never_counts_as_whole(world: World) -> None:
    house = await household(world)
    code = await appoint(world, "supervisor", VILLAGE)
    phone = world.phone(code)
    await phone.sync()
    await world.fetch(
        "UPDATE post SET role = 'grid_worker', unit = $2 WHERE staff_code = $1", code, GRID
    )
    await phone.sync()
    assert (
        next(view.fields["phone"] for view in phone.records("household") if view.id == house)
        == PHONE
    )
    assert await phone.verify() == []


async def test_a_phone_with_the_cursor_of_an_older_server_loses_what_it_must_not_hold(
    world: World,
) -> None:
    """Older servers showed supervisors everything, and their cursors name no view."""
    house = await household(world)
    code = await appoint(world, "grid_worker", VILLAGE)
    phone = world.phone(code)
    await phone.sync()
    await world.fetch("UPDATE post SET role = 'supervisor' WHERE staff_code = $1", code)
    await phone.sync()
    assert "phone" not in next(
        view.fields for view in phone.records("household") if view.id == house
    )


async def test_masks_follow_a_field_into_history_conflicts_held_and_timelines(world: World) -> None:
    house = await household(world)
    one, two = world.wire(), world.wire()
    await one.send(
        one.mutation(
            1, "household", id=house, base=1, fields={"phone": "10011112222", "location": PLACE}
        )
    )
    await two.send(
        two.mutation(1, "household", id=house, base=1, fields={"phone": "10033334444"}),
        two.mutation(2, "household", id=house, base=1, fields={"phone": PHONE, "members": "viele"}),
        two.mutation(3, "telegram", fields={"tel": PHONE}),
    )
    problem = (await world.fetch("SELECT id::text FROM problem"))[0]["id"]
    paths = [
        "/v1/conflicts",
        "/v1/held",
        f"/v1/history/household/{house}",
        f"/v1/problems/{problem}",
        f"/v1/households/{house}/export",
    ]
    for path in [*paths, "/v1/households", "/v1/visits"]:
        seen = (await world.get(path, SUPERVISOR)).text
        for secret in (PHONE, "10011112222", "10033334444", ADDRESS, "109.876543"):
            assert secret not in seen, (path, secret)
    wrong = world.wire()
    await wrong.send(
        wrong.mutation(1, "household", id=house, base=1, fields={"tags": {"add": [PHONE]}})
    )
    assert (
        PHONE
        not in (await world.get("/v1/held", await appoint(world, "supervisor", TOWNSHIP[:6]))).text
    )
    assert (
        PHONE
        in next(
            item
            for item in (await world.get("/v1/held", SECRETARY)).json()["items"]
            if item["seq"] == 1
        )["detail"]
    )
    whole = "".join([(await world.get(path, SECRETARY)).text for path in paths])
    for secret in (PHONE, "10011112222", "10033334444", ADDRESS, "109.876543"):
        assert secret in whole


async def test_tags_are_counted_only_above_the_township(world: World) -> None:
    await household(world)
    city = (await world.get("/v1/households", "S1502", unit=GRID)).json()["items"]
    assert {tuple(item["tags"]) for item in city} == {()}
    assert (
        await world.get("/v1/households", "S1502", unit=GRID, tag="elderly_alone")
    ).status_code == 403
    township = (
        await world.get("/v1/households", SUPERVISOR, unit=GRID, tag="elderly_alone")
    ).json()["items"]
    assert any(item["head_name"] == "王秀兰" for item in township)


# ----------------------------------------------------------------------------------------- assigned


async def assigned(world: World, **to: str) -> tuple[str, str]:
    """A problem of the village that its secretary has assigned elsewhere; problem and household."""
    house = await household(world)
    problem = (await world.fetch("SELECT id::text FROM problem"))[0]["id"]
    answer = await world.post(
        f"/v1/problems/{problem}/steps", {"action": "assign", "fields": to}, SECRETARY
    )
    assert answer.status_code == 201, answer.text
    return str(problem), house


async def neighbour(world: World) -> str:
    """Another village of the township."""
    sql = "SELECT code FROM unit WHERE parent = $1 AND code <> $2 ORDER BY code LIMIT 1"
    return str((await world.fetch(sql, TOWNSHIP, VILLAGE))[0]["code"])


@pytest.mark.parametrize("by", ["unit", "cadre"])
async def test_an_assigned_problem_becomes_visible_elsewhere_until_the_assignment_is_superseded(
    world: World, by: str
) -> None:
    village = await neighbour(world)
    handler = f"C{village}-1"
    problem, house = await assigned(
        world, **({"to_unit": village} if by == "unit" else {"to_cadre": handler})
    )

    seen = (await world.get(f"/v1/problems/{problem}", handler)).json()
    assert seen["title"] == "水管"
    assert PHONE not in repr(seen)
    assert [item["id"] for item in (await world.get("/v1/problems", handler)).json()["items"]] == [
        problem
    ]
    assert (await world.get(f"/v1/households/{house}", handler)).status_code == 404

    phone = world.phone(handler)
    await phone.sync()
    records = [view for view in phone.records() if view.grid == GRID]
    assert sorted(view.kind for view in records) == ["problem", "step", "step"]
    assert PHONE not in repr(records)
    assert await phone.verify() == []

    phone.put("step", {"problem_id": problem, "action": "handle", "at": AT}, grid=GRID)
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"]
    done = await world.post(f"/v1/problems/{problem}/steps", {"action": "resolve"}, handler)
    assert (done.status_code, done.json()["state"]) == (201, "resolved")
    await phone.sync()
    assert await phone.verify() == []

    world.clock.forward(minutes=1)
    back = await world.post(f"/v1/problems/{problem}/steps", {"action": "return"}, SECRETARY)
    assert back.json()["state"] == "returned"
    report = await phone.sync()
    assert GRID in report.dropped_grids
    assert [view for view in phone.records() if view.grid == GRID] == []
    assert (await world.get(f"/v1/problems/{problem}", handler)).status_code == 404
    late = phone.put("step", {"problem_id": problem, "action": "note", "at": AT}, grid=GRID)
    report = await phone.sync()
    assert [(verdict.outcome, verdict.reason) for verdict in report.verdicts] == [
        ("held", "not-allowed")
    ], late


@pytest.mark.parametrize("action", ["return", "assign", "escalate", "reject", "close", "reopen"])
async def test_who_ends_an_assignment_by_a_step_is_answered_also_again_and_then_sees_nothing(
    world: World, action: str
) -> None:
    village = await neighbour(world)
    handler = f"C{village}-1"
    problem, _ = await assigned(world, to_cadre=handler)
    path = f"/v1/problems/{problem}/steps"
    headers = {"Authorization": f"Bearer {await world.token(handler)}", "Idempotency-Key": action}
    for earlier in ["resolve"] if action in ("close", "reopen") else []:
        world.clock.forward(minutes=1)
        assert (await world.post(path, {"action": earlier}, handler)).status_code == 201
    world.clock.forward(minutes=1)
    to = (
        {"to_cadre": SECRETARY}
        if action == "assign"
        else {"reason": "unfounded"}
        if action == "reject"
        else {}
    )
    body = {"action": action, "fields": to}
    first = await world.client.post(path, json=body, headers=headers)
    assert first.status_code == 201, first.text
    assert [
        item["action"]
        for item in first.json()["steps"]
        if item["by"] == handler and not item["ineffective"]
    ][-1] == action
    assert PHONE not in first.text
    again = await world.client.post(path, json=body, headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")

    steps = [item["id"] for item in first.json()["steps"]]
    step = steps[-1]
    world.clock.forward(hours=1)
    repeated = await world.post(path, body | {"id": step}, handler)
    assert (repeated.status_code, [item["id"] for item in repeated.json()["steps"]]) == (201, steps)
    for refused in (
        await world.get(f"/v1/problems/{problem}", handler),
        await world.post(path, {"action": "note"}, handler),
        await world.post(path, body | {"id": step}, f"C{village}-2"),
    ):
        assert refused.status_code == 404
    world.clock.forward(days=1)
    assert (await world.post(path, body | {"id": step}, handler)).status_code == 404


async def steps_of(world: World, problem: str, *taken: tuple[str, str]) -> None:
    """Steps over REST, each a minute after the one before."""
    for staff_code, action in taken:
        world.clock.forward(minutes=1)
        fields = {"reason": "unfounded"} if action == "reject" else {}
        answer = await world.post(
            f"/v1/problems/{problem}/steps", {"action": action, "fields": fields}, staff_code
        )
        assert answer.status_code == 201, answer.text


async def test_who_verified_the_own_work_keeps_no_right_when_the_problem_is_returned(
    world: World,
) -> None:
    await world.fetch("UPDATE server SET own_work_from = $1", world.clock.now())
    handler = f"C{await neighbour(world)}-1"
    problem, _ = await assigned(world, to_cadre=handler)
    await steps_of(
        world, problem, (handler, "resolve"), (handler, "verify"), (SUPERVISOR, "return")
    )
    assert (await world.get(f"/v1/problems/{problem}", handler)).status_code == 404
    world.clock.forward(minutes=1)
    wire = world.wire(handler)
    verdict = (
        await wire.send(
            wire.mutation(1, "step", fields={"problem_id": problem, "action": "resolve", "at": AT})
        )
    ).json()["verdicts"][0]
    assert (verdict["outcome"], verdict.get("reason")) == ("held", "not-allowed")


async def test_an_assignee_from_elsewhere_is_offered_what_an_assignee_can_take(
    world: World,
) -> None:
    handler = f"C{await neighbour(world)}-1"
    problem, _ = await assigned(world, to_cadre=handler)
    offered = (await world.get(f"/v1/problems/{problem}", handler)).json()["next_actions"]
    assert set(offered) == {"assign", "handle", "resolve", "return", "escalate", "reject", "note"}
    assert "join" in (await world.get(f"/v1/problems/{problem}", SECRETARY)).json()["next_actions"]
    world.clock.forward(minutes=1)
    other = await world.post(
        "/v1/problems", {"grid": GRID, "fields": {"title": "近", "duty": "emergency"}}, SECRETARY
    )
    body = {"action": "join", "fields": {"duplicate_of": other.json()["id"]}}
    assert (await world.post(f"/v1/problems/{problem}/steps", body, handler)).status_code == 422
    world.clock.forward(minutes=1)
    ended = await world.post(f"/v1/problems/{problem}/steps", {"action": "return"}, handler)
    assert (ended.status_code, ended.json()["next_actions"]) == (201, [])


@pytest.mark.parametrize("ends", [("resolve", "close"), ("reject",)], ids="-".join)
async def test_an_assignment_ends_with_its_problem_and_what_was_written_before_counts(
    world: World, ends: tuple[str, ...]
) -> None:
    handler = f"C{await neighbour(world)}-1"
    problem, _ = await assigned(world, to_cadre=handler)
    phone = world.phone(handler)
    await phone.sync()
    world.clock.forward(minutes=1)
    phone.put("step", {"problem_id": problem, "action": "note", "at": AT}, grid=GRID)
    await steps_of(world, problem, *((SUPERVISOR, action) for action in ends))
    world.clock.forward(minutes=1)
    phone.put("step", {"problem_id": problem, "action": "reopen", "at": AT}, grid=GRID)
    report = await phone.sync()
    assert [(verdict.outcome, verdict.reason) for verdict in report.verdicts] == [
        ("applied", None),
        ("held", "not-allowed"),
    ]


async def test_a_step_that_ends_an_assignment_ends_it_for_the_rest_of_its_push(
    world: World,
) -> None:
    handler = f"C{await neighbour(world)}-1"
    problem, _ = await assigned(world, to_cadre=handler)
    world.clock.forward(minutes=1)
    wire = world.wire(handler)
    steps = [
        wire.mutation(seq, "step", fields={"problem_id": problem, "action": action, "at": AT})
        for seq, action in enumerate(["handle", "return", "handle"], 1)
    ]
    verdicts = (await wire.send(*steps)).json()["verdicts"]
    assert [verdict["outcome"] for verdict in verdicts] == ["applied", "applied", "held"]


async def test_the_id_of_an_own_step_opens_no_other_problem(world: World) -> None:
    problem, _ = await assigned(world, to_unit=await neighbour(world))
    [step] = await world.fetch("SELECT id::text FROM step WHERE created_by = $1", SECRETARY)
    body = {"action": "assign", "id": step["id"]}
    far = await world.post(
        "/v1/problems",
        {"grid": FAR_GRID, "fields": {"title": "远", "duty": "emergency"}},
        f"W{FAR_GRID}-1",
    )
    near = await world.post(
        "/v1/problems", {"grid": GRID, "fields": {"title": "近", "duty": "emergency"}}, SECRETARY
    )
    assert (
        await world.post(f"/v1/problems/{far.json()['id']}/steps", body, SECRETARY)
    ).status_code == 404
    other = await world.post(f"/v1/problems/{near.json()['id']}/steps", body, SECRETARY)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/invalid")
    assert (await world.post(f"/v1/problems/{problem}/steps", body, SECRETARY)).status_code == 201


async def test_a_step_written_while_the_assignment_stood_counts_though_it_comes_later(
    world: World,
) -> None:
    village = await neighbour(world)
    problem, _ = await assigned(world, to_unit=village)
    phone = world.phone(f"C{village}-1")
    await phone.sync()
    world.clock.forward(minutes=1)
    phone.put("step", {"problem_id": problem, "action": "handle", "at": AT}, grid=GRID)
    world.clock.forward(minutes=1)
    await world.post(f"/v1/problems/{problem}/steps", {"action": "return"}, SECRETARY)
    world.clock.forward(minutes=1)
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"]


async def test_nobody_else_takes_steps_of_a_problem_that_is_out_of_reach(world: World) -> None:
    problem, _ = await assigned(world, to_unit=await neighbour(world))
    stranger = f"W{FAR_GRID}-1"
    assert (
        await world.post(f"/v1/problems/{problem}/steps", {"action": "note"}, stranger)
    ).status_code == 404
    wire = world.wire(stranger)
    step = wire.mutation(1, "step", fields={"problem_id": problem, "action": "note", "at": AT})
    [verdict] = (await wire.send(step)).json()["verdicts"]
    assert (verdict["outcome"], verdict["reason"]) == ("held", "not-allowed")


async def test_pending_counts_what_is_shown_of_a_grid(world: World) -> None:
    problem, _ = await assigned(world, to_unit=await neighbour(world))
    busy = world.wire()
    await busy.send(*(busy.mutation(seq, fields={"visited_at": AT}) for seq in range(1, 40)))
    village = await neighbour(world)
    wire = world.wire(f"C{village}-1")
    seen: list[str] = []
    last = None
    while last is None or last["more"]:
        last = (await wire.send(limit=1)).json()
        seen += [change["id"] for change in last["changes"] if change["grid"] == GRID]
        assert last["pending"] < 20
    assert problem in seen
    assert len(seen) == 3
    assert OTHER_GRID not in repr(last)


# ----------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("role", "unit"), [("supervisor", TOWNSHIP), ("admin", TOWNSHIP), ("admin", TOWNSHIP[:4])]
)
async def test_a_write_that_loses_shows_its_author_no_more_than_the_view(
    world: World, role: str, unit: str
) -> None:
    """A stale edit of nothing changes nothing, and would read everything."""
    await household(world)
    problem = (await world.fetch("SELECT id::text FROM problem"))[0]["id"]
    phone = world.wire(await appoint(world, role, unit))
    stale = phone.mutation(
        1,
        "problem",
        id=problem,
        fields={"contact": "z", "location": {"lat": 1, "lon": 1}, "title": "x", "x_new": 1},
    )
    stale["stamp"] = f"{int((NOW - timedelta(hours=1)).timestamp() * 1000):012x}0000"
    answers = [await phone.send(stale), await phone.send(stale)]
    for answer in answers:
        assert answer.json()["verdicts"][0]["outcome"] in ("merged", "duplicate")
        kept = {item["field"]: item["kept"] for item in answer.json()["verdicts"][0]["conflicts"]}
        assert kept == {"contact": None, "location": None, "title": "水管"}
        for secret in (PHONE, "109.876543", "40.654321"):
            assert secret not in answer.text


async def test_a_write_repeated_after_a_promotion_shows_no_more_than_the_new_post(
    world: World,
) -> None:
    house = await household(world)
    phone = world.wire(WORKER)
    stale = phone.mutation(1, "household", id=house, fields={"phone": "1"})
    stale["stamp"] = f"{int((NOW - timedelta(hours=1)).timestamp() * 1000):012x}0000"
    assert (await phone.send(stale)).json()["verdicts"][0]["conflicts"][0]["kept"] == PHONE
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", WORKER, world.clock.now()
    )
    await appoint(world, "supervisor", TOWNSHIP, WORKER)
    answer = (await phone.send(stale)).json()["verdicts"][0]
    assert (answer["outcome"], answer["conflicts"][0]["kept"]) == ("duplicate", None)


async def test_the_release_of_a_stale_edit_shows_its_decider_no_more_than_the_view(
    world: World,
) -> None:
    house = await household(world)
    phone = world.wire(await appoint(world, "grid_worker", GRID, "FORMER"))
    stale = phone.mutation(1, "household", id=house, fields={"phone": "10099998888"})
    stale["stamp"] = f"{int((NOW - timedelta(days=200)).timestamp() * 1000):012x}0000"
    assert (await phone.send(stale)).json()["verdicts"][0]["outcome"] == "held"
    [held] = (await world.get("/v1/held")).json()["items"]
    answer = await world.post(f"/v1/held/{held['id']}/release", {}, SUPERVISOR)
    assert answer.status_code == 200
    assert [item["field"] for item in answer.json()["conflicts"]] == ["phone"]
    assert PHONE not in answer.text
    assert "10099998888" not in answer.text


# ------------------------------------------------------------------------------- masks and ties


async def test_a_mask_never_becomes_the_data(world: World) -> None:
    house = await household(world)
    one, two = world.wire(), world.wire()
    await one.send(
        one.mutation(
            1, "household", id=house, base=1, fields={"phone": "10011112222", "location": PLACE}
        )
    )
    other = {"lat": 40.111111, "lon": 109.222222, "accuracy": 5.0}
    await two.send(
        two.mutation(
            1, "household", id=house, base=1, fields={"phone": "10033334444", "location": other}
        )
    )
    shown = {item["field"]: item for item in (await world.get("/v1/conflicts")).json()["items"]}
    assert set(shown) == {"phone", "location"}
    for item in shown.values():
        for value in (item["kept"], item["lost"]):
            response = await world.post(
                f"/v1/conflicts/{item['id']}/resolution", {"choice": "value", "value": value}
            )
            assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid"), (
                item["field"]
            )
    admin = await appoint(world, "admin", TOWNSHIP)
    seen = (await world.get(f"/v1/households/{house}", admin)).json()
    for name in ("phone", "address"):
        headers = {"Authorization": f"Bearer {await world.token(admin)}"}
        response = await world.client.patch(
            f"/v1/households/{house}", json={"fields": {name: seen[name]}}, headers=headers
        )
        assert response.status_code == 422, name
    assert (await world.get(f"/v1/households/{house}", SECRETARY)).json()["address"] == ADDRESS
    decided = await world.post(
        f"/v1/conflicts/{shown['phone']['id']}/resolution", {"choice": "lost"}
    )
    assert decided.status_code == 200


async def test_a_contact_member_writes_only_of_the_tied_households(world: World) -> None:
    """Who knows an id must not come to the record by changing what it is about."""
    house = await household(world)
    ids = {
        kind: (await world.fetch(f"SELECT id::text FROM {kind}"))[0]["id"]
        for kind in ("visit", "problem")
    }
    phone = world.wire(await appoint(world, "contact_member", VILLAGE))
    attempts = [
        phone.mutation(1, "problem", id=ids["problem"], base=99_999, fields={"title": "mine"}),
        phone.mutation(2, "visit", id=ids["visit"], base=99_999, op="delete", fields={}),
        phone.mutation(
            3, "step", fields={"problem_id": ids["problem"], "action": "accept", "at": AT}
        ),
        phone.mutation(
            4,
            "problem",
            fields={"title": "x", "duty": "emergency", "raised_at": AT, "visit_id": ids["visit"]},
        ),
        phone.mutation(5, fields={"visited_at": AT, "content": "看望", "household_id": house}),
    ]
    verdicts = (await phone.send(*attempts)).json()["verdicts"]
    assert [verdict["outcome"] for verdict in verdicts] == ["held"] * 5
    assert [verdict["reason"] for verdict in verdicts] == ["not-allowed"] * 3 + [
        "reference-outside"
    ] * 2
    own = phone.mutation(
        6, "problem", fields={"title": "own", "duty": "emergency", "raised_at": AT}
    )
    change = phone.mutation(7, "problem", id=own["id"], fields={"detail": "more"})
    step = phone.mutation(8, "step", fields={"problem_id": own["id"], "action": "accept", "at": AT})
    assert [
        verdict["outcome"] for verdict in (await phone.send(own, change, step)).json()["verdicts"]
    ] == ["applied"] * 3
    await world.fetch(
        "UPDATE household SET contact_member = $2 WHERE id = $1", house, phone.staff_code
    )
    again = [
        phone.mutation(9, "problem", id=ids["problem"], base=99_999, fields={"detail": "tied now"}),
        phone.mutation(
            10, "step", fields={"problem_id": ids["problem"], "action": "accept", "at": AT}
        ),
    ]
    # Nobody can have seen that base: what others did counts as unseen.
    assert [verdict["outcome"] for verdict in (await phone.send(*again)).json()["verdicts"]] == [
        "merged",
        "applied",
    ]


async def test_a_new_phone_does_not_reach_a_household_that_moved_before(world: World) -> None:
    house = await household(world)
    old = world.wire()
    await old.send()
    await world.fetch("UPDATE post SET valid_to = NULL WHERE staff_code = $1", WORKER)
    admin = await appoint(world, "admin", TOWNSHIP[:4])
    mover = world.wire(admin)
    world.clock.forward(minutes=10)
    moved = await mover.send(
        mover.mutation(
            1, "household", id=house, grid=OTHER_GRID, base_grid=GRID, base=99_999, fields={}
        )
    )
    assert (
        moved.json()["verdicts"][0]["outcome"] == "merged"
    )  # with a base that nobody can have seen
    world.clock.forward(minutes=10)
    new = world.wire()
    await new.send()
    answer = await new.send(
        new.mutation(1, "household", id=house, grid=GRID, base=0, fields={"phone": "1"})
    )
    verdict = answer.json()["verdicts"][0]
    assert (verdict["outcome"], verdict["reason"]) == ("held", "not-allowed")
    assert PHONE not in answer.text


async def test_a_contact_member_reads_numbers_and_no_titles_in_summaries(world: World) -> None:
    await household(world)
    phone = world.wire()
    problem = (await world.fetch("SELECT id::text FROM problem"))[0]["id"]
    await phone.send(
        phone.mutation(1, "step", fields={"problem_id": problem, "action": "escalate", "at": AT})
    )
    member = await appoint(world, "contact_member", VILLAGE)
    path = f"/v1/summaries/weekly?unit={VILLAGE}&week=2026-W47"
    whole, seen = (await world.get(path, SECRETARY)).json(), (await world.get(path, member)).json()
    assert [item["id"] for item in whole["decisions"]["escalated"]] == [problem]
    assert seen["decisions"] == whole["decisions"] | {"escalated": []}


def test_who_is_assigned_a_problem_does_not_depend_on_whose_pull_is_read_with_it() -> None:
    """The rows of a batch hold what is assigned to others, too: a unit inside of one's own is not
    elsewhere.
    """
    post = PostHeld("contact_member", VILLAGE, NOW - timedelta(days=1), None)
    look = Snapshot(
        posts={"MEMBER": [post]},
        assignments=[
            Assignment("inside", OTHER_GRID, GRID),
            Assignment("elsewhere", FAR_GRID, GRID),
        ],
    )
    assert look.assigned_to("MEMBER", NOW) == {FAR_GRID: ["elsewhere"]}
