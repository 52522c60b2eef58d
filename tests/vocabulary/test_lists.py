"""Lists of words, limits and deadlines as data: edited over REST, delivered to phones, judged at
the stamp.
"""

from datetime import date
from typing import Any

import pytest

from service.vocabulary.terms import LISTS
from sync_protocol import periods
from sync_protocol.cleaning import UnfitFields
from sync_protocol.periods import local_day
from sync_protocol.vocabulary import DUTIES, TAGS
from tests.vocabulary.asking import (
    ADMIN,
    BANNER,
    CITY,
    ask,
    differing,
    due_of,
    go,
    put_term,
    raise_problem,
)
from tests.world import GRID, OTHER_GRID, SECRETARY, WORKER, Phone, World

TODAY = "2026-11-20"


async def listed(world: World, name: str, staff_code: str = WORKER, **query: Any) -> list[Any]:
    answer = await world.get("/v1/vocabulary", staff_code, list=name, **query)
    assert answer.status_code == 200, answer.text
    items: list[Any] = answer.json()["items"]
    return items


async def house(phone: Phone) -> str:
    await phone.sync()
    return phone.records("household", GRID)[0].id


async def tagged(world: World, phone: Phone, id: str, *tags: str) -> None:
    phone.put_unchecked("household", {"tags": {"add": list(tags)}}, grid=GRID, id=id)


async def test_until_somebody_edits_a_list_nothing_changes_for_anybody(world: World) -> None:
    assert [item["code"] for item in await listed(world, "tag")] == list(TAGS)
    assert {item["source"] for item in await listed(world, "duty")} == {"code"}
    limits = {item["code"]: item["attributes"] for item in await listed(world, "limit")}
    assert limits == {
        "ordinary": {"working_days": 7},
        "urgent": {"working_days": 3},
        "emergency": {"hours": 24},
    }
    assert {item["source"] for item in await listed(world, "limit")} == {"settings"}
    everything = (await world.get("/v1/vocabulary", WORKER)).json()["items"]
    assert {item["list"] for item in everything} == LISTS.keys()
    phone = world.phone()
    await phone.sync()
    assert phone.records("vocabulary") == []
    assert await world.fetch("SELECT FROM counter WHERE grid LIKE '#%'") == []


async def test_a_word_reaches_phones_is_offered_and_taken(world: World) -> None:
    phone, other = world.phone(), world.phone(SECRETARY)
    id = await house(phone)
    with pytest.raises(UnfitFields):
        phone.put("household", {"tags": {"add": ["large_family"]}}, grid=GRID, id=id)
    made = await put_term(
        world, "tag", "large_family", name_zh="多子女家庭", name_en="large family"
    )
    assert [item["valid_from"] for item in made["items"]] == [TODAY]
    await phone.sync()
    today = local_day(world.clock.now())
    assert list(phone.offered("tag", today)) == [*TAGS, "large_family"]
    assert phone.offered("tag", today)["large_family"].zh == "多子女家庭"
    assert phone.offered("duty", today) == DUTIES  # of which nothing was edited
    phone.put("household", {"tags": {"add": ["large_family", "veteran"]}}, grid=GRID, id=id)
    await phone.sync()
    assert phone.held() == []
    await other.sync()
    [seen] = [view for view in other.records("household") if view.id == id]
    assert seen.fields["tags"] == ["large_family", "veteran"]
    found = (await world.get("/v1/households", SECRETARY, tag="large_family")).json()["items"]
    assert [item["id"] for item in found] == [id]
    assert await phone.verify() == await other.verify() == []
    phone.put("household", {"tags": {"remove": ["large_family"]}}, grid=GRID, id=id)
    await phone.sync()
    assert phone.held() == []


async def test_a_word_that_no_list_ever_had_is_held_as_before(world: World) -> None:
    phone = world.wire()
    fields = {"visited_at": "2026-11-20T01:00:00Z", "duties": {"add": ["fishing"]}}
    sent = [phone.mutation(1), phone.mutation(2, fields=fields)]
    before = (await phone.send(*sent)).json()["verdicts"]
    assert [verdict["outcome"] for verdict in before] == ["applied", "held"]
    assert before[1]["reason"] == "fields-wrong"
    assert "“fishing”，只能用其中之一：party_building" in before[1]["detail"]
    await put_term(world, "duty", "forestry")
    again = (await phone.send(phone.mutation(3, fields=fields))).json()["verdicts"][0]
    # But for the words that it may be by now.
    assert {**again, "seq": 2, "detail": ""} == {**before[1], "detail": ""}
    assert "forestry" in again["detail"]


async def test_a_word_is_judged_on_the_day_of_the_stamp(world: World) -> None:
    early, late = world.phone(), world.phone(f"W{OTHER_GRID}-1")
    id = await house(early)
    await late.sync()
    mine = late.records("household", OTHER_GRID)[0].id
    await put_term(world, "tag", "large_family", valid_from="2026-11-21")
    too_early = world.phone(SECRETARY)
    await too_early.sync()
    await tagged(world, too_early, id, "large_family")
    await too_early.sync()
    assert [held.reason for held in too_early.held()] == ["fields-wrong"]

    go(world, "2026-11-21T09:00:00")
    await tagged(world, early, id, "large_family")  # and then no coverage for days
    ended = await ask(world, "PATCH", "/v1/vocabulary/tag/large_family", {"valid_to": "2026-11-22"})
    assert ended.status_code == 200, ended.text
    go(world, "2026-11-23T09:00:00")
    late.put_unchecked("household", {"tags": {"add": ["large_family"]}}, grid=OTHER_GRID, id=mine)
    await early.sync()
    await late.sync()
    assert early.held() == []
    [held] = late.held()
    assert (held.reason, "2026-11-23" in held.detail) == ("fields-wrong", True)
    # What a record holds stays readable, and a person may take what was held.
    found = (await world.get("/v1/households", SECRETARY, tag="large_family")).json()["items"]
    assert [item["id"] for item in found] == [id]
    held_ids = (await world.get("/v1/held", SECRETARY, unit=OTHER_GRID)).json()["items"]
    [waiting] = [item["id"] for item in held_ids if item["grid"] == OTHER_GRID]
    released = await world.post(f"/v1/held/{waiting}/release", {"note": "好"}, SECRETARY)
    assert released.status_code == 200, released.text
    found = (await world.get("/v1/households", SECRETARY, tag="large_family")).json()["items"]
    assert {item["id"] for item in found} == {id, mine}
    assert await early.verify() == []


async def test_visits_in_a_bunch_are_judged_like_single_ones(world: World) -> None:
    await put_term(world, "duty", "forestry", valid_from="2026-11-20", valid_to="2026-11-22")
    fields = {"visited_at": "2026-11-20T01:00:00Z", "duties": {"add": ["forestry"]}}
    bunch, ended = world.wire(), world.wire(SECRETARY)
    verdicts = (
        await bunch.send(*(bunch.mutation(seq, fields=fields) for seq in range(1, 6)))
    ).json()["verdicts"]
    assert {verdict["outcome"] for verdict in verdicts} == {"applied"}
    go(world, "2026-11-22T09:00:00")
    verdicts = (
        await ended.send(*(ended.mutation(seq, fields=fields) for seq in range(1, 4)))
    ).json()["verdicts"]
    assert {(verdict["outcome"], verdict["reason"]) for verdict in verdicts} == {
        ("held", "fields-wrong")
    }


async def test_an_added_duty_is_counted_like_the_six(world: World) -> None:
    await put_term(world, "duty", "forestry", name_zh="林草管护", name_en="forestry")
    phone = world.phone()
    await phone.sync()
    visited = {"visited_at": "2026-11-20T01:00:00Z", "duties": {"add": ["forestry", "emergency"]}}
    first = phone.put("visit", visited, grid=GRID)
    phone.put("visit", visited, grid=GRID)
    problem = raise_problem(world, phone, duty="forestry")
    await phone.sync()
    assert phone.held() == []
    assert await differing(world) == []
    summary = (await world.get("/v1/summaries/weekly", unit=GRID, week="2026-W47")).json()
    duties = {one["duty"]: one for one in summary["duties"]}
    assert list(duties) == [*DUTIES, "forestry"]
    assert duties["forestry"] == {
        "duty": "forestry",
        "label": "林草管护",
        "visits": 2,
        "problems_raised": 1,
        "problems_resolved": 0,
    }
    draft = phone.draft(GRID, periods.week("2026-W47"))
    assert (draft.duties["forestry"].visits, draft.duties["forestry"].problems_raised) == (2, 1)
    server = (await world.get("/v1/drafts/weekly", WORKER, grid=GRID, week="2026-W47")).json()
    assert server["duties"]["forestry"]["visits"] == 2
    filtered = await world.get("/v1/problems", unit=GRID, duty="forestry")
    assert [item["id"] for item in filtered.json()["items"]] == [problem]
    phone.put("visit", {"duties": {"remove": ["forestry"]}}, grid=GRID, id=first)
    phone.put("problem", {"duty": "emergency"}, grid=GRID, id=problem)
    await phone.sync()
    assert await differing(world) == []


async def test_a_limit_holds_for_what_is_raised_from_its_day_on(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    go(world, "2026-11-19T10:00:00")
    before = raise_problem(world, phone)
    go(world, "2026-11-20T10:00:00")
    today = raise_problem(world, phone)
    await phone.sync()
    assert await due_of(world, before) == "2026-11-24 10:00"
    assert await due_of(world, today) == "2026-11-25 10:00"

    answer = await put_term(world, "limit", "urgent", attributes={"working_days": 1})

    assert answer["dues_changed"] == 1
    assert await due_of(world, before) == "2026-11-24 10:00"
    assert await due_of(world, today) == "2026-11-23 10:00"
    after = raise_problem(world, phone, severity="emergency")
    await phone.sync()
    assert await due_of(world, after) == "2026-11-21 10:00"
    detail = (await world.get(f"/v1/problems/{today}")).json()
    assert detail["due"].startswith("2026-11-23T02:00:00")
    assert await differing(world) == []
    trail = (await world.get("/v1/audit", ADMIN)).json()["items"]
    lines = [
        (item["action"], item["count"]) for item in trail if "limit/urgent" in item["subjects"]
    ]
    assert sorted(lines) == [("dues-recomputed", 1), ("vocabulary-written", 1)]


async def test_a_limit_for_some_weeks_gives_way_to_the_one_before(world: World) -> None:
    hard = {"attributes": {"hours": 12}, "valid_from": "2026-12-01", "valid_to": "2026-12-11"}
    written = await put_term(world, "limit", "urgent", **hard)
    assert [
        (item["valid_from"], item["valid_to"], item["attributes"]) for item in written["items"]
    ] == [
        (None, "2026-12-01", {"working_days": 3}),
        ("2026-12-01", "2026-12-11", {"hours": 12}),
        ("2026-12-11", None, {"working_days": 3}),
    ]
    shorter = await put_term(world, "limit", "urgent", **hard | {"valid_to": "2026-12-06"})
    assert [(item["valid_from"], item["attributes"]) for item in shorter["items"]] == [
        (None, {"working_days": 3}),
        ("2026-12-01", {"hours": 12}),
        ("2026-12-06", {"working_days": 3}),
        ("2026-12-11", {"working_days": 3}),
    ]
    on = await listed(world, "limit", on="2026-12-05")
    assert {item["code"]: item["attributes"] for item in on}["urgent"] == {"hours": 12}
    phone = world.phone()
    await phone.sync()
    assert len([v for v in phone.records("vocabulary") if v.fields["code"] == "urgent"]) == 4
    assert await phone.verify() == []


async def test_names_change_everywhere_and_the_old_ones_keep_their_days(world: World) -> None:
    go(world, "2026-11-30T10:00:00")
    await put_term(world, "severity", "urgent", name_zh="加急", name_en="pressing")
    phone = world.phone()
    await phone.sync()
    offered = {
        day: phone.offered("severity", day) for day in (date(2026, 11, 29), date(2026, 12, 1))
    }
    assert [labels["urgent"].zh for labels in offered.values()] == ["紧急", "加急"]
    for week, label in (("2026-W47", "紧急"), ("2026-W49", "加急")):
        summary = (await world.get("/v1/summaries/weekly", unit=GRID, week=week)).json()
        labels = {one["severity"]: one["label"] for one in summary["severities"]}
        assert (labels["urgent"], labels["ordinary"]) == (label, "一般")


async def test_ranks_may_be_shown_from_a_day_on(world: World) -> None:
    phone = world.phone()
    phone.put("visit", {"visited_at": "2026-11-20T01:00:00Z"}, grid=GRID)
    await phone.sync()
    await put_term(world, "rank", "cadre_table", attributes={"shown": True})
    for week, ranks in (("2026-W46", []), ("2026-W47", [1])):
        table = (await world.get("/v1/summaries/cadres", unit=GRID, week=week)).json()
        assert [row["rank"] for row in table["items"]] == ranks


async def test_a_phone_cannot_write_the_vocabulary(world: World) -> None:
    made = await put_term(world, "tag", "large_family")
    phone = world.wire()
    id = made["items"][0]["id"]
    sent = phone.mutation(1, "vocabulary", id=id, grid=f"#{CITY}", fields={"name_zh": "改"})
    [verdict] = (await phone.send(sent)).json()["verdicts"]
    assert (verdict["outcome"], verdict["reason"]) == ("held", "kind-unknown")
    assert [item["name_zh"] for item in await listed(world, "tag")][-1] == "large_family"


async def appointed(world: World, unit: str) -> str:
    """An administrator of a unit below the city."""
    await world.fetch(
        "INSERT INTO cadre SELECT 'A' || $1, '旗管理员', '', false, password, true FROM cadre"
        " WHERE staff_code = $2",
        unit,
        WORKER,
    )
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES (gen_random_uuid(), 'A' || $1, 'admin', $1, '2020-01-01')",
        unit,
    )
    return f"A{unit}"


async def test_lists_are_kept_by_administrators_of_the_city_alone(world: World) -> None:
    body = {"name_zh": "多子女家庭", "name_en": "large family"}
    for staff_code in (WORKER, SECRETARY, await appointed(world, BANNER)):
        for method in ("PUT", "PATCH"):
            answer = await ask(world, method, "/v1/vocabulary/tag/veteran", body, staff_code)
            assert answer.status_code == 403, (staff_code, answer.text)
        assert (await world.get("/v1/vocabulary", staff_code)).status_code == 200
    assert (await world.client.get("/v1/vocabulary")).status_code == 401
    assert await world.fetch("SELECT FROM vocabulary_term") == []
    assert (await ask(world, "PUT", "/v1/vocabulary/tag/x", body)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("tag/Veteran", {}),
        ("colour/red", {}),
        ("severity/mild", {}),
        ("limit/urgent", {}),
        ("limit/urgent", {"attributes": {"hours": 3, "working_days": 1}}),
        ("limit/urgent", {"attributes": {"working_days": True}}),
        ("limit/urgent", {"attributes": {"hours": 3}, "valid_from": "2026-11-19"}),
        ("deadline/weekly_analysis", {"attributes": {"days": 1}}),
        ("tag/veteran", {"attributes": {"hours": 3}}),
        ("tag/veteran", {"valid_to": "2026-11-20"}),
        ("tag/veteran", {"colour": "red"}),
        ("tag/veteran", {"name_zh": ""}),
        ("category/roads", {"attributes": {"duty": "fishing"}}),
    ],
)
async def test_what_no_list_can_hold_is_refused(
    world: World, path: str, body: dict[str, Any]
) -> None:
    labels = {"name_zh": "名", "name_en": "name"}
    answer = await ask(world, "PUT", f"/v1/vocabulary/{path}", labels | body)
    assert answer.status_code == 422, answer.text
    assert await world.fetch("SELECT FROM vocabulary_term") == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("tag/veteran", {}, 422),
        ("tag/veteran", {"name_zh": None}, 422),
        ("tag/veteran", {"valid_to": "2026-11-20"}, 422),
        ("severity/urgent", {"valid_to": "2026-12-20"}, 422),
        ("tag/nobody_knows", {"name_zh": "名"}, 404),
    ],
)
async def test_what_cannot_end_or_is_not_there_is_not_changed(
    world: World, path: str, body: dict[str, Any], status: int
) -> None:
    answer = await ask(world, "PATCH", f"/v1/vocabulary/{path}", body)
    assert answer.status_code == status, answer.text
    assert await world.fetch("SELECT FROM vocabulary_term") == []


async def test_a_term_written_twice_is_one(world: World) -> None:
    first = await put_term(world, "tag", "large_family", name_zh="多子女")
    second = await put_term(world, "tag", "large_family", name_zh="多子女家庭")
    assert [item["id"] for item in first["items"]] == [item["id"] for item in second["items"]]
    rows = await world.fetch("SELECT name_zh FROM vocabulary_term WHERE code = 'large_family'")
    assert [row["name_zh"] for row in rows] == ["多子女家庭"]
    ended = await ask(world, "PATCH", "/v1/vocabulary/tag/veteran", {"valid_to": "2026-11-25"})
    assert ended.status_code == 200, ended.text
    again = await ask(world, "PATCH", "/v1/vocabulary/tag/veteran", {"valid_to": None})
    assert [item["valid_to"] for item in again.json()["items"]] == [None]


async def test_the_last_of_all_days_is_a_day(world: World) -> None:
    await put_term(world, "tag", "forever", valid_to="9999-12-31")
    await put_term(world, "limit", "urgent", attributes={"hours": 9}, valid_from="9999-12-31")
    answer = await ask(world, "GET", "/v1/vocabulary", list="tag")
    assert answer.status_code == 200, answer.text
    assert "9999-12-31" in answer.text
    far = await ask(world, "GET", "/v1/calendar?from=9999-12-31")
    assert far.status_code == 422


async def test_a_category_belongs_to_a_duty_of_its_days(world: World) -> None:
    await put_term(world, "duty", "ecology", name_zh="生态", name_en="ecology")
    made = await put_term(world, "category", "dumping", attributes={"duty": "ecology"})
    assert made["items"][0]["attributes"] == {"duty": "ecology"}
    ends = {"valid_to": "2026-11-25"}
    ended = await ask(world, "PATCH", "/v1/vocabulary/duty/ecology", ends)
    assert ended.status_code == 200, ended.text
    body = {"name_zh": "x", "name_en": "x", "attributes": {"duty": "ecology"}}
    later = body | {"valid_from": "2026-11-25"}
    refused = await ask(world, "PUT", "/v1/vocabulary/category/smoke", later)
    assert refused.status_code == 422
    assert refused.json()["detail"].endswith(f"choose one of {', '.join(DUTIES)}.")
    assert (await ask(world, "PUT", "/v1/vocabulary/category/smoke", body)).status_code == 200


async def test_it_is_told_when_a_value_ends_because_another_was_written_before(
    world: World,
) -> None:
    first = await put_term(
        world, "limit", "urgent", attributes={"working_days": 5}, valid_from="2027-01-01"
    )
    assert first["warnings"] == []
    now = await put_term(
        world, "limit", "urgent", attributes={"working_days": 2}, valid_from="2026-12-01"
    )
    [warning] = now["warnings"]
    assert "2027-01-01" in warning
    assert {item["valid_to"] for item in now["items"]} == {"2026-12-01", "2027-01-01", None}


@pytest.mark.parametrize("name", [" ", "\u3000\t", "a\x07b", "两\n行", "\u2028x"])
async def test_a_word_needs_a_name_that_can_be_read(world: World, name: str) -> None:
    body = {"name_zh": name, "name_en": "x"}
    refused = await ask(world, "PUT", "/v1/vocabulary/tag/large_family", body)
    assert refused.status_code == 422, name
    assert "name_zh" in refused.json()["detail"]


async def test_an_unknown_word_is_told_the_words_of_the_day(world: World) -> None:
    await put_term(world, "tag", "large_family", name_zh="多子女家庭", name_en="large family")
    fields = {"head_name": "甲", "tags": {"add": ["rich"]}}
    refused = await world.post("/v1/households", {"grid": GRID, "fields": fields}, WORKER)
    assert refused.status_code == 422
    assert "large_family" in refused.json()["detail"]
