"""Personal data: sealed at rest, masked, audited, exported, corrected, cleared; and the history of
a record.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from service.privacy import purge as purging
from service.privacy.purge import purge
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.world import GRID, SECRETARY, WORKER, World

PHONE = "13812345678"


async def house_with(world: World, **fields: Any) -> str:
    phone = world.wire()
    house = phone.new_id()
    put = phone.mutation(
        1,
        "household",
        id=house,
        fields={"head_name": "苏和", "phone": PHONE, "address": "东组3号", **fields},
    )
    assert (await phone.send(put)).json()["verdicts"][0]["outcome"] == "applied"
    return house


async def everything_kept(world: World) -> str:
    """Every row of every table, as one text."""
    tables = await world.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        await world.fetch(f"SELECT t::text AS row FROM {table['tablename']} t") for table in tables
    ]
    return "\n".join(row["row"] for some in rows for row in some)


async def test_the_database_holds_no_number_or_address_in_plain_text(world: World) -> None:
    house = await house_with(world)
    one, two = world.wire(), world.wire()
    base = (await world.fetch("SELECT rev FROM household WHERE id = $1", house))[0]["rev"]
    edit = {"kind": "household", "id": house, "base": base}
    await one.send(one.mutation(1, **edit, fields={"phone": "13900000001"}))
    await two.send(
        two.mutation(1, **edit, fields={"phone": "13900000002"}),
        two.mutation(2, "household", fields={"phone": "13900000003"}),
    )
    await world.post(
        "/v1/problems",
        {
            "grid": GRID,
            "fields": {"title": "t", "duty": "emergency", "contact": "苏和 13900000004"},
        },
        WORKER,
    )
    text = await everything_kept(world)
    assert "苏和" in text
    for plain in (PHONE, "东组3号", *(f"1390000000{n}" for n in range(1, 5))):
        assert plain not in text, plain


async def test_phones_in_the_field_get_it_whole(world: World) -> None:
    house = await house_with(world)
    phone = world.phone(SECRETARY)
    await phone.sync()
    [view] = [view for view in phone.records("household") if view.id == house]
    assert (view.fields["phone"], view.fields["address"]) == (PHONE, "东组3号")


async def test_a_duplicate_of_a_sealed_mutation_is_still_known(world: World) -> None:
    phone = world.wire()
    put = phone.mutation(1, "household", fields={"head_name": "苏和", "phone": PHONE})
    await phone.send(put)
    assert (await phone.send(put)).json()["verdicts"][0]["outcome"] == "duplicate"
    put["fields"]["phone"] = "2"
    assert (await phone.send(put)).json()["type"] == "/problems/device-forked"


async def test_whoever_only_supervises_sees_it_masked(world: World) -> None:
    house = await house_with(world)
    shown = (await world.get(f"/v1/households/{house}", SUPERVISOR)).json()
    assert (shown["phone"], shown["address"]) == ("138****5678", "东组3***")
    assert (await world.get(f"/v1/households/{house}", WORKER)).json()["phone"] == PHONE
    history = (await world.get(f"/v1/history/household/{house}", SUPERVISOR)).json()["items"]
    assert history[0]["fields"]["phone"] == "138****5678"
    cadres = (await world.get("/v1/cadres", SUPERVISOR, unit=VILLAGE)).json()["items"]
    assert all("****" in item["phone"] for item in cadres)


async def test_locations_are_coarse_outside_the_village(world: World) -> None:
    phone = world.wire()
    place = {"lat": 40.123456, "lon": 109.654321}
    put = phone.mutation(1, fields={"visited_at": world.clock.now().isoformat(), "location": place})
    assert (await phone.send(put)).json()["verdicts"][0]["outcome"] == "applied"
    assert (await world.get("/v1/visits", SUPERVISOR)).json()["items"][0]["location"] == {
        "lat": 40.12,
        "lon": 109.65,
    }
    assert (await world.get("/v1/visits", WORKER)).json()["items"][0]["location"] == place


async def test_reads_of_personal_data_and_exports_leave_a_line_in_the_trail(world: World) -> None:
    house = await house_with(world)
    await world.get("/v1/households", SUPERVISOR, unit=VILLAGE)
    await world.get(f"/v1/households/{house}", SUPERVISOR)
    await world.get("/v1/visits", SUPERVISOR)
    await world.get(f"/v1/history/household/{house}", SUPERVISOR)
    await world.get("/v1/exports/visits.xlsx", SUPERVISOR, unit=TOWNSHIP, week="2026-W47")
    lines = (await world.get(f"/v1/audit?staff_code={SUPERVISOR}", "admin")).json()["items"]
    actions = {line["action"]: line["subjects"] for line in lines}
    assert actions["household"] == [house]
    assert actions["households"] == [VILLAGE]
    assert actions["export-visits"] == [TOWNSHIP, "2026-W47"]
    assert {"visits", "history"} <= actions.keys()
    assert all(line["address"] and line["request_id"] for line in lines)


async def test_the_trail_is_only_added_to(world: World) -> None:
    await world.get("/v1/households", SUPERVISOR)
    for sql in ("DELETE FROM audit", "UPDATE audit SET staff_code = 'x'", "TRUNCATE audit"):
        with pytest.raises(asyncpg.PostgresError, match="only added to"):
            await world.fetch(sql)


async def test_an_auditor_reads_the_trail_and_no_data(world: World) -> None:
    await world.fetch(
        "INSERT INTO cadre SELECT 'AUDIT', '审计员', '', false, password, true FROM cadre"
        " WHERE staff_code = 'admin'"
    )
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES (gen_random_uuid(), 'AUDIT', 'auditor', '1502', '2020-01-01')"
    )
    assert (await world.get("/v1/audit", "AUDIT")).status_code == 200
    for path in ("/v1/households", "/v1/visits", "/v1/problems", "/v1/cadres"):
        assert (await world.get(path, "AUDIT")).status_code == 403


async def test_a_correction_reaches_the_phones_and_the_history(world: World) -> None:
    house = await house_with(world)
    answer = await world.client.patch(
        f"/v1/households/{house}",
        json={"fields": {"phone": "13700000000"}},
        headers={"Authorization": f"Bearer {await world.token(SECRETARY)}"},
    )
    assert answer.json()["phone"] == "13700000000"
    phone = world.phone()
    await phone.sync()
    assert [view.fields["phone"] for view in phone.records("household") if view.id == house] == [
        "13700000000"
    ]
    items = (await world.get(f"/v1/history/household/{house}", SECRETARY)).json()["items"]
    assert [(item["staff_code"], item["fields"].get("phone")) for item in items] == [
        (WORKER, PHONE),
        (SECRETARY, "13700000000"),
    ]


async def test_the_history_shows_what_lost(world: World) -> None:
    house = await house_with(world)
    one, two = world.wire(), world.wire(SECRETARY)
    base = (await world.fetch("SELECT rev FROM household WHERE id = $1", house))[0]["rev"]
    edit = {"kind": "household", "id": house, "base": base}
    await one.send(one.mutation(1, **edit, fields={"members": 3}))
    world.clock.forward(minutes=1)
    await two.send(two.mutation(1, **edit, fields={"members": 4}))
    last = (await world.get(f"/v1/history/household/{house}", SECRETARY)).json()["items"][-1]
    assert (last["outcome"], last["staff_code"], last["device"]) == (
        "merged",
        SECRETARY,
        two.device,
    )
    assert [(item["field"], item["kept"], item["lost"]) for item in last["lost"]] == [
        ("members", 4, 3)
    ]


async def test_pages_of_a_history_join(world: World) -> None:
    phone = world.wire()
    house = phone.new_id()
    edits = [
        phone.mutation(n, "household", id=house, fields={"head_name": "苏和", "members": n})
        for n in range(1, 8)
    ]
    await phone.send(*edits)
    seen: list[int] = []
    after: dict[str, str] = {}
    while True:
        page = (await world.get(f"/v1/history/household/{house}", limit=3, **after)).json()
        seen += [item["seq"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == list(range(1, 8))


async def test_a_household_gets_all_that_is_kept_of_it(world: World) -> None:
    house = await house_with(world)
    phone = world.wire()
    visit = phone.mutation(
        1,
        fields={
            "visited_at": world.clock.now().isoformat(),
            "household_id": house,
            "content": "送煤",
        },
    )
    await phone.send(visit)
    whole = (await world.get(f"/v1/households/{house}/export", SECRETARY)).json()
    assert whole["household"]["fields"]["phone"] == PHONE
    assert [item["fields"]["content"] for item in whole["visits"]] == ["送煤"]
    assert whole["history"][0]["fields"]["phone"] == PHONE


async def test_a_cadre_gets_all_that_is_kept_of_the_cadre_but_no_secret(world: World) -> None:
    await house_with(world)
    # Over REST it is the server's device that writes; it is nobody's phone.
    await world.post(
        "/v1/problems", {"grid": GRID, "fields": {"title": "t", "duty": "emergency"}}, WORKER
    )
    answer = await world.get(f"/v1/cadres/{WORKER}/export", WORKER)
    whole = answer.json()
    phones = await world.fetch(
        "SELECT id::text, platform FROM device WHERE staff_code = $1", WORKER
    )
    assert sorted(row["platform"] for row in phones) == ["", "server"]
    assert [item["id"] for item in whole["devices"]] == [
        row["id"] for row in phones if row["platform"] != "server"
    ]
    assert whole["cadre"]["phone"].startswith("100")
    assert [item["kind"] for item in whole["written"]] == ["household", "problem"]
    assert "argon2" not in answer.text
    assert (await world.get(f"/v1/cadres/{SECRETARY}/export", WORKER)).status_code == 404


# -------------------------------------------------------------------------------------- keys, purge


async def test_purging_clears_old_places_and_leaves_the_visit(world: World) -> None:
    phone = world.wire()
    place = {"lat": 40.1, "lon": 109.6}
    fields = {"visited_at": world.clock.now().isoformat(), "content": "x", "location": place}
    await phone.send(phone.mutation(1, fields=fields))
    settings, database = world.state.settings, world.state.database
    now = world.clock.now()
    assert ("locations of visits", "180 days", 0) in await purge(
        database, settings, now + timedelta(days=179)
    )
    later = now + timedelta(days=181)
    assert ("locations of visits", "180 days", 1) in await purge(
        database, settings, later, dry_run=True
    )
    report = await purge(database, settings, later)
    assert report[:2] == [
        ("locations of visits", "180 days", 1),
        ("locations in the mutation log", "180 days", 1),
    ]
    [row] = await world.fetch("SELECT location, content FROM visit")
    assert tuple(row) == (None, "x")
    assert "40.1" not in await everything_kept(world)
    assert ("locations of visits", "180 days", 0) in await purge(database, settings, later)


async def test_purging_looks_as_often_as_it_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "AT_A_LOOK", 3)
    monkeypatch.setattr(purging, "AT_ONCE", 2)
    phone = world.wire()
    fields = {
        "visited_at": world.clock.now().isoformat(),
        "content": "x",
        "location": {"lat": 40.1, "lon": 109.6},
    }
    await phone.send(*(phone.mutation(seq, fields=fields) for seq in range(1, 8)))
    later = world.clock.now() + timedelta(days=181)
    report = await purge(world.state.database, world.state.settings, later)
    assert report[0] == ("locations of visits", "180 days", 7)
    rows = await world.fetch("SELECT count(*) AS n, count(location) AS located FROM visit")
    assert tuple(rows[0]) == (7, 0)


async def test_purging_finds_places_in_what_no_table_could_take(world: World) -> None:
    phone = world.wire()
    place = {"lat": 40.1, "lon": 109.6}
    visited_at = world.clock.now().isoformat()
    held = phone.mutation(
        1, fields={"visited_at": visited_at, "content": "half \ud83d", "location": place}
    )
    newer = phone.mutation(
        2,
        fields={
            "visited_at": visited_at,
            "content": '"location":{',
            "camera": {"location": {"lens": 3}},
        },
    )
    envelope = {"protocol": 1, "sent_at": visited_at, "mutations": [held, newer]}
    assert (await phone.post(json.dumps(envelope).encode())).status_code == 200
    later = world.clock.now() + timedelta(days=181)
    settings, database = world.state.settings, world.state.database
    for dry_run, done in ((True, 1), (False, 1), (False, 0)):
        report = await purge(database, settings, later, dry_run)
        assert report[1] == ("locations in the mutation log", "180 days", done)
    bodies = [body["fields"] for body in await world.logged("device = $1::uuid", phone.device)]
    assert [fields.get("location") for fields in bodies] == [None, None]
    assert bodies[0]["content"] == "half �"
    assert bodies[1]["camera"] == {"location": {"lens": 3}}


async def test_purging_lets_the_trail_go_only_after_its_time(world: World) -> None:
    """By the database's own clock: its guard believes nobody else's."""
    for days in (179, 364, 366):
        await world.fetch(
            "INSERT INTO audit SELECT gen_random_uuid(), now() - make_interval(days => $1),"
            " 'admin', 'visits', '{}', 1, '', ''",
            days,
        )
    settings, database = world.state.settings, world.state.database
    for dry_run, count in ((True, 1), (False, 1), (False, 0)):
        assert ("lines of the trail", "365 days", count) in await purge(
            database, settings, datetime.now(UTC), dry_run
        )
    # A clock that is years ahead takes nothing that the floor of 180 days protects.
    assert ("lines of the trail", "365 days", 1) in await purge(
        database, settings, datetime.now(UTC) + timedelta(days=3_000)
    )
    assert len(await world.fetch("SELECT FROM audit WHERE at < now() - interval '178 days'")) == 1


async def test_purging_without_the_owner_keeps_the_trail_and_clears_the_rest(world: World) -> None:
    await world.fetch(
        "INSERT INTO audit SELECT gen_random_uuid(), now() - interval '400 days', 'admin',"
        " 'visits', '{}', 1, '', ''"
    )
    alone = world.state.settings.model_copy(update={"owner_database_url": None})
    report = await purge(world.state.database, alone, datetime.now(UTC))
    assert (purging.TRAIL_KEPT, "365 days", 0) in report
    assert len(report) > 3
    assert len(await world.fetch("SELECT FROM audit WHERE at < now() - interval '399 days'")) == 1
