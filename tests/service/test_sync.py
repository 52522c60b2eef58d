"""The sync endpoint end to end: phones, the app, PostgreSQL."""

import gzip
import json
from typing import Any

import pytest

from sync_protocol.ids import weekly_analysis_id
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, SUPERVISOR, WORKER, World


async def test_what_one_phone_writes_offline_another_reads(world: World) -> None:
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    visit = worker.put("visit", {"visited_at": "2026-11-20T09:00:00+08:00", "content": "看望独居老人"}, grid=GRID)

    await worker.sync()
    await secretary.sync()

    [seen] = secretary.records("visit")
    assert (seen.id, seen.fields["content"], seen.by) == (visit, "看望独居老人", WORKER)


async def test_both_phones_end_with_equal_records_after_editing_the_same_household(world: World) -> None:
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    await worker.sync()
    await secretary.sync()
    house = worker.records("household", GRID)[0].id
    worker.put("household", {"phone": "10000000001"}, grid=GRID, id=house)
    world.clock.forward(minutes=5)
    secretary.put("household", {"phone": "10000000002", "members": 4}, grid=GRID, id=house)

    for phone in (secretary, worker, secretary):
        await phone.sync()

    def mine(phone: Any) -> Any:
        return next(view.fields for view in phone.records("household") if view.id == house)

    assert mine(worker) == mine(secretary)
    assert mine(worker)["phone"] == "10000000002"
    [conflict] = (await world.get("/v1/conflicts")).json()["items"]
    assert (conflict["field"], conflict["kept"], conflict["lost"], conflict["lost_by"]) == ("phone", "10000000002", "10000000001", WORKER)


async def test_a_pending_edit_shows_over_the_pulled_record(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    house = phone.records("household", GRID)[0]
    phone.put("household", {"members": 9}, grid=GRID, id=house.id)
    shown = next(view for view in phone.records("household") if view.id == house.id)
    assert shown.pending
    assert shown.fields == {**house.fields, "members": 9}


async def test_verdicts_name_applied_and_duplicate_with_the_first_outcome(world: World) -> None:
    phone = world.wire()
    mutation = phone.mutation(1)
    first = (await phone.send(mutation)).json()
    again = (await phone.send(mutation)).json()
    assert first["verdicts"] == [{"seq": 1, "outcome": "applied", "rev": first["verdicts"][0]["rev"]}]
    assert again["verdicts"] == [{"seq": 1, "outcome": "duplicate", "rev": first["verdicts"][0]["rev"], "first": "applied"}]
    assert again["acked"] == 1
    assert len(await world.fetch("SELECT FROM visit")) == 1


async def test_own_mutations_applied_as_sent_are_not_sent_back(world: World) -> None:
    phone = world.wire()
    answer = (await phone.send(phone.mutation(1))).json()
    assert [change["kind"] for change in answer["changes"]] == ["household"] * 3


async def test_one_bad_mutation_is_held_and_the_rest_go_through(world: World) -> None:
    phone = world.wire()
    answer = (
        await phone.send(
            phone.mutation(1),
            phone.mutation(2, fields={"visited_at": "昨天", "content": 7}),
            phone.mutation(3, kind="telegram"),
            phone.mutation(4, grid=FAR_GRID),
            phone.mutation(5, fields={"visited_at": "2026-11-20T09:00:00+08:00", "household_id": phone.new_id()}),
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
    held = (await world.get("/v1/held", SUPERVISOR)).json()["items"]
    assert {item["seq"] for item in held} >= {2, 3, 5}
    assert next(item for item in held if item["seq"] == 2)["mutation"]["fields"] == {"visited_at": "昨天", "content": 7}


async def test_a_held_mutation_comes_to_its_author_with_the_feed(world: World) -> None:
    phone = world.wire()
    answer = (await phone.send(phone.mutation(1, fields={"visited_at": "昨天"}))).json()
    [notice] = [change for change in answer["changes"] if change["kind"] == "held"]
    assert notice["fields"]["seq"] == 1
    assert notice["fields"]["reason"] == "fields-wrong"


async def test_a_gap_in_seq_is_refused_with_the_expected_number(world: World) -> None:
    phone = world.wire()
    response = await phone.send(phone.mutation(2))
    assert response.status_code == 409
    assert response.json()["type"] == "/problems/seq-gap"
    assert response.json()["expected"] == 1
    assert not await world.fetch("SELECT FROM visit")


async def test_other_content_under_a_used_number_means_a_forked_device(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1))
    response = await phone.send(phone.mutation(1, fields={"visited_at": "2026-11-19T09:00:00+08:00"}))
    assert (response.status_code, response.json()["type"]) == (409, "/problems/device-forked")


async def test_a_feed_larger_than_a_page_comes_in_pages_without_repeats(world: World) -> None:
    writer = world.wire()
    await writer.send(*[writer.mutation(seq) for seq in range(1, 41)])
    reader = world.wire(SECRETARY)
    ids: list[str] = []
    pendings = []
    while True:
        answer = (await reader.send(limit=7)).json()
        ids += [change["id"] for change in answer["changes"]]
        pendings.append(answer["pending"])
        if not answer["more"]:
            break
    visits = {str(row["id"]) for row in await world.fetch("SELECT id FROM visit")}
    assert len(ids) == len(set(ids))
    assert visits <= set(ids)
    assert pendings == sorted(pendings, reverse=True)
    assert pendings[-1] == 0


async def test_a_forged_or_foreign_cursor_counts_as_none(world: World) -> None:
    phone, other = world.wire(), world.wire()
    full = (await phone.send()).json()["changes"]
    await other.send()
    for cursor in ("nonsense", "AAAA", other.cursor, (phone.cursor or "")[:-2] + "xx", "é"):
        phone.cursor = cursor
        assert (await phone.send()).json()["changes"] == full


async def test_two_phones_write_the_same_analysis_offline_as_one_record(world: World) -> None:
    one, two = world.phone(WORKER), world.phone(SECRETARY)
    for phone, field in ((one, "situation"), (two, "measures")):
        phone.put("weekly_analysis", {"week": "2026-W47", field: phone.account.staff_code}, grid=GRID)
    for phone in (one, two, one):
        await phone.sync()
    [mine], [theirs] = one.records("weekly_analysis"), two.records("weekly_analysis", GRID)
    assert mine.id == weekly_analysis_id(GRID, "2026-W47")
    assert mine.fields == theirs.fields == {"week": "2026-W47", "situation": WORKER, "measures": SECRETARY}
    assert (await world.get("/v1/conflicts")).json()["items"] == []


async def test_unknown_fields_of_newer_apps_are_kept_and_given_back(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, fields={"visited_at": "2026-11-20T09:00:00+08:00", "mood": {"level": 3}}))
    reader = world.wire(SECRETARY)
    [visit] = [change for change in (await reader.send()).json()["changes"] if change["kind"] == "visit"]
    assert visit["fields"]["mood"] == {"level": 3}


async def test_a_clock_two_days_ahead_is_corrected_and_comes_back(world: World) -> None:
    phone = world.phone(ahead_ms=48 * 3600 * 1000)
    phone.put("visit", {"visited_at": "2026-11-22T09:30:00+08:00"}, grid=GRID)
    await phone.sync()
    [visit] = phone.records("visit")
    assert visit.fields["visited_at"] == "2026-11-20T01:30:00.000Z"
    [row] = await world.fetch("SELECT offset_ms FROM visit")
    assert row["offset_ms"] == -48 * 3600 * 1000


async def test_mongolian_names_survive_the_round_trip(world: World) -> None:
    name = "ᠪᠠᠲᠤ\u202fᠶᠢᠨ\u180e\u180b"
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    house = worker.put("household", {"head_name": "\u3000" + name + " "}, grid=GRID)
    await worker.sync()
    await secretary.sync()
    assert next(view for view in secretary.records("household") if view.id == house).fields["head_name"] == name


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"{", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b'{"protocol": 1}', 422, "invalid"),
        (b'{"protocol": "one", "sent_at": "2026-11-20T10:00:00+08:00"}', 422, "invalid"),
        (b'{"protocol": 1, "sent_at": "2026-11-20T10:00:00"}', 422, "invalid"),
        (b'{"protocol": 1, "sent_at": "2026-11-20T10:00:00+08:00", "mutations": [{"kind": "visit"}]}', 422, "invalid"),
        (b'{"protocol": 1, "sent_at": "2026-11-20T10:00:00+08:00", "limit": 0}', 422, "invalid"),
        (b" " * (2 * 1024 * 1024 + 1), 413, "too-large"),
        (b"[" * 100_000, 400, "malformed"),
    ],
)
async def test_a_broken_envelope_is_refused_whole(world: World, body: bytes, status: int, slug: str) -> None:
    response = await world.wire().post(body)
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{slug}")
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_gzip_bomb_is_refused_before_it_unfolds(world: World) -> None:
    phone = world.wire()
    token = await world.token(phone.staff_code, phone.device)
    headers = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 50_000_000)
    response = await world.client.post("/v1/sync", content=bomb, headers=headers)
    assert response.status_code == 413


async def test_half_characters_and_nul_are_held_not_lost(world: World) -> None:
    phone = world.wire()
    bad = phone.mutation(1, fields={"visited_at": "2026-11-20T09:00:00+08:00", "content": "\ud83d 半个"})
    nul = phone.mutation(2, fields={"visited_at": "2026-11-20T09:00:00+08:00", "content": "a\0b"})
    envelope = {"protocol": 1, "sent_at": world.clock.now().isoformat(), "mutations": [bad, nul, phone.mutation(3)]}
    response = await phone.post(json.dumps(envelope).encode())
    assert [verdict["outcome"] for verdict in response.json()["verdicts"]] == ["held", "held", "applied"]
    assert (await world.get("/v1/held")).status_code == 200


async def test_too_many_mutations_are_refused_whole(world: World) -> None:
    phone = world.wire()
    response = await phone.send(*[phone.mutation(seq) for seq in range(1, 1002)])
    assert response.status_code == 413
    assert not await world.fetch("SELECT FROM visit")


async def test_a_grid_out_of_scope_is_dropped(world: World) -> None:
    phone = world.phone(SECRETARY)
    await phone.sync()
    assert {view.grid for view in phone.records()} >= {GRID, OTHER_GRID}
    await world.fetch("UPDATE post SET unit = $1 WHERE staff_code = $2", GRID, SECRETARY)
    report = await phone.sync()
    assert OTHER_GRID in report.dropped_grids
    assert {view.grid for view in phone.records()} == {GRID}


async def test_every_copy_proves_itself_and_a_spoilt_one_is_healed(world: World) -> None:
    phone = world.phone()
    phone.put("visit", {"visited_at": "2026-11-20T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    assert await phone.verify() == []
    phone.store._db.execute("DELETE FROM record WHERE kind = 'household'")
    phone.doubt()
    report = await phone.sync()
    assert report.healed == [GRID]
    assert await phone.verify() == []
    assert len(phone.records("household")) == 3
