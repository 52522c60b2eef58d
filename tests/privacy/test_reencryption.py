"""From the previous release's form to the present one, and from key to key: side by side,
resumable, and without any loss.
"""

import asyncio
import hashlib
import json
import re
from datetime import timedelta
from typing import Any

import pytest

from service.inbox.retry_held import release_overdue
from service.kit import encryption_v1
from service.kit.encryption import MARKER, Place
from service.kit.keyring import Keyring
from service.privacy import reencrypt as reencrypting
from service.privacy.purge import purge
from service.privacy.reencrypt import reencrypt
from service.privacy.reencrypted_values import Outcome
from tests.encrypted import (
    another_key,
    as_text,
    everything_kept,
    house_with,
    own_key,
    read_all,
    use_keys,
)
from tests.world import GRID, SECRETARY, WORKER, WirePhone, World

NUMBER = "13812345678"
VISITED = "2026-11-20T09:00:00+08:00"


class Written:
    """A little of everything that is encrypted, with the phones that wrote it and what they
    sent.
    """

    def __init__(self) -> None:
        self.house = ""
        self.problem = ""
        self.sent: list[tuple[WirePhone, dict[str, Any]]] = []


async def write_everything(world: World) -> Written:
    """Fields, conflicts, held mutations, verdicts, texts in all columns that are encrypted."""
    made = Written()
    phone = world.wire()
    made.house = phone.new_id()
    missing = phone.new_id()
    some = [
        phone.mutation(
            1,
            "household",
            id=made.house,
            fields={"head_name": "苏和", "phone": NUMBER, "address": "东组3号", "weather": "晴"},
        ),
        phone.mutation(
            2,
            fields={
                "visited_at": VISITED,
                "content": "走访\\n",
                "household_id": made.house,
                "weather": {"a": [1, None]},
            },
        ),
        phone.mutation(3, "telegram", fields={"phone": NUMBER}),
        phone.mutation(4, "household", fields={"phone": NUMBER}),
        phone.mutation(5, fields={"visited_at": VISITED, "household_id": missing}),
        phone.mutation(
            6,
            "problem",
            fields={
                "title": "t",
                "duty": "emergency",
                "raised_at": VISITED,
                "contact": f"王 {NUMBER}",
            },
        ),
        phone.mutation(7, "household", fields=[NUMBER]),
    ]
    assert (await phone.send(*some)).status_code == 200
    made.sent += [(phone, item) for item in some]
    made.problem = some[5]["id"]
    for staff_code, number in ((WORKER, "1"), (SECRETARY, "2")):
        other = world.wire(staff_code)
        world.clock.forward(minutes=1)
        edit = other.mutation(
            1,
            "household",
            id=made.house,
            fields={"phone": number, "weather": number, "members": int(number)},
        )
        await other.send(edit)
        made.sent.append((other, edit))
    items = (await world.get("/v1/conflicts", SECRETARY)).json()["items"]
    for item in items:
        if item["field"] == "phone":
            settled = {"choice": "value", "value": "13700000000"}
            assert (
                await world.post(f"/v1/conflicts/{item['id']}/resolution", settled, SECRETARY)
            ).status_code == 200
    return made


async def everything_read(world: World, made: Written) -> dict[str, Any]:
    return await read_all(world, [made.house], [made.problem])


async def compatible(world: World) -> None:
    """As a database is that was migrated from the previous release: nothing in the present form."""
    await world.fetch("UPDATE server SET encryption = 'compatible'")
    v1 = world.state.settings.keyring.v1
    cipher = world.state.settings.keyring.cipher("complete")
    for row in await world.fetch("SELECT id::text, phone, address FROM household"):
        cells = {
            name: cipher.decrypt(Place("household", name, row["id"]), row[name])
            for name in ("phone", "address")
        }
        values = [encryption_v1.encrypt(v1, plain) for plain in cells.values()]
        await world.fetch(
            "UPDATE household SET phone = $2, address = $3 WHERE id = $1", row["id"], *values
        )
    phones = {
        row["staff_code"]: encryption_v1.encrypt(v1, "10000000000")
        for row in await world.fetch("SELECT staff_code FROM cadre")
    }
    await world.fetch(
        "UPDATE cadre c SET phone = n.phone FROM unnest($1::text[], $2::text[]) AS n(code, phone)"
        " WHERE c.staff_code = n.code",
        list(phones),
        list(phones.values()),
    )
    await world.fetch("DELETE FROM signing_key")
    await world.fetch("DELETE FROM mutation WHERE device IN (SELECT device FROM mutation_body)")
    await world.fetch("DELETE FROM mutation_body")


async def state_of(world: World) -> str:
    return str((await world.fetch("SELECT encryption FROM server"))[0]["encryption"])


async def run(world: World, give_up: bool = False) -> Outcome:
    return await reencrypt(world.state.database, world.state.settings, give_up=give_up)


async def assert_all_are_duplicates(world: World, made: Written) -> None:
    for phone, item in made.sent:
        [verdict] = (await phone.send(item)).json()["verdicts"]
        assert verdict["outcome"] == "duplicate", item
        other = (
            {**item, "base": 7}
            if isinstance(item["fields"], list)
            else {**item, "fields": {**item["fields"], "note": "another"}}
        )
        assert (await phone.send(other)).json()["type"] == "/problems/device-forked", item


def read_as_before(world: World, text: str) -> str:
    """What a process of the previous release makes of a text: it decrypts whatever has the form of
    its values.
    """
    v1 = world.state.settings.keyring.v1

    def plain(found: re.Match[str]) -> str:
        return json.dumps(encryption_v1.decrypt(v1, found[1]), ensure_ascii=False)

    return re.sub(r'"(gl1\.[0-9a-f]{8}\.[A-Za-z0-9_-]{38,})"', plain, text)


async def test_processes_of_the_previous_release_can_read_what_is_written_beside_them(
    world: World,
) -> None:
    await compatible(world)
    made = await write_everything(world)
    assert "gl2." not in await everything_kept(world)
    first = (
        "SELECT seq, body, digest, verdict, outcome FROM mutation WHERE device = $1::uuid"
        " ORDER BY seq"
    )
    log = await world.fetch(first, made.sent[0][0].device)
    for row in log:
        body = read_as_before(world, row["body"])
        assert row["digest"] == hashlib.blake2b(body.encode(), digest_size=12).digest()
        if row["outcome"] == "held":
            assert json.loads(row["verdict"])["reason"]
    assert json.loads(read_as_before(world, log[0]["body"]))["fields"]["phone"] == NUMBER
    [house] = await world.fetch(
        "SELECT phone, address, extra FROM household WHERE id = $1", made.house
    )
    assert encryption_v1.decrypt(world.state.settings.keyring.v1, house["phone"]) == "13700000000"
    assert json.loads(house["extra"]) == {"weather": "2"}
    held = await world.fetch("SELECT body, detail FROM held ORDER BY seq")
    assert json.loads(read_as_before(world, held[1]["body"]))["fields"] == {"phone": NUMBER}
    assert "telegram" in held[0]["detail"]
    rows = await world.fetch("SELECT field, kept, lost, value FROM conflict")
    names = ("kept", "lost", "value")
    conflicts = {
        (row["field"], *(json.loads(read_as_before(world, row[name] or "null")) for name in names))
        for row in rows
    }
    assert {
        ("phone", "2", "1", "13700000000"),
        ("phone", "1", NUMBER, "13700000000"),
        ("weather", "2", "1", None),
    } <= conflicts
    [key] = await world.fetch("SELECT private_pem FROM signing_key")
    assert "BEGIN PRIVATE KEY" in str(
        encryption_v1.decrypt(world.state.settings.keyring.v1, key["private_pem"])
    )
    await assert_all_are_duplicates(world, made)


async def test_plain_text_in_an_encrypted_column_is_read_until_re_encryption_is_complete(
    world: World,
) -> None:
    await compatible(world)
    house = await house_with(world.wire(), phone=NUMBER, address="a")
    await world.fetch("UPDATE household SET phone = '13900000001' WHERE id = $1", house)
    assert (await world.get(f"/v1/households/{house}", SECRETARY)).json()["phone"] == "13900000001"
    outcome = await run(world)
    assert (outcome.complete, outcome.lost, await state_of(world)) == (True, 0, "complete")
    assert (await world.get(f"/v1/households/{house}", SECRETARY)).json()["phone"] == "13900000001"
    [row] = await world.fetch("SELECT phone FROM household WHERE id = $1", house)
    assert row["phone"].startswith("gl2.")
    for tampered in (
        "13900000001",
        encryption_v1.encrypt(world.state.settings.keyring.v1, "13900000001"),
    ):
        await world.fetch("UPDATE household SET phone = $2 WHERE id = $1", house, tampered)
        assert (await world.get(f"/v1/households/{house}", SECRETARY)).json()["phone"] == MARKER
        # Nor does another run take it for what it is not.
        assert (await run(world)).lost == 1
        assert (await world.get(f"/v1/households/{house}", SECRETARY)).json()["phone"] == MARKER


async def test_after_re_encryption_everything_reads_as_before_and_nothing_is_left_in_the_old_form(
    world: World,
) -> None:
    await compatible(world)
    made = await write_everything(world)
    before = await everything_read(world, made)
    outcome = await run(world)
    assert (outcome.complete, outcome.lost, outcome.missing) == (True, 0, set())
    text = await everything_kept(world)
    assert "gl1." not in text
    for plain in (NUMBER, "东组3号", "13700000000", '"晴"', "走访"):
        found = [line for line in text.split("\n") if plain in line and "content" not in line]
        assert plain == "走访" or not found, (plain, found)
    assert await everything_read(world, made) == before
    assert (
        await world.fetch("SELECT FROM mutation WHERE body IS NOT NULL OR length(digest) <> 16")
        == []
    )
    await assert_all_are_duplicates(world, made)
    assert (await run(world)).changed == 0


async def test_what_waits_for_a_record_is_released_after_re_encryption_whoever_held_it(
    world: World,
) -> None:
    await compatible(world)
    phone = world.wire()
    missing = phone.new_id()
    await phone.send(phone.mutation(1, fields={"visited_at": VISITED, "household_id": missing}))
    await world.fetch(
        "UPDATE held SET waits_for_kind = NULL"
    )  # as a process of the previous release leaves it
    await world.fetch(
        "UPDATE household SET id = $1 WHERE id = (SELECT id FROM household WHERE grid = $2"
        " LIMIT 1)",
        missing,
        GRID,
    )
    await run(world)
    world.clock.forward(seconds=1)
    [held] = await world.fetch("SELECT waits_for_kind FROM held")
    assert held["waits_for_kind"] == "household"
    world.clock.forward(minutes=1)
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) == 1


async def test_re_encryption_that_was_killed_goes_on_where_it_is_run_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await compatible(world)
    made = await write_everything(world)
    before = await everything_read(world, made)
    monkeypatch.setattr(reencrypting, "AT_ONCE", 2)
    steps = 0
    for allowed in (1, 4, 8, 12, 13):
        calls = 0

        def count(what: str, done: int, allowed: int = allowed) -> None:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await reencrypt(world.state.database, world.state.settings, count)
        steps += 1
        assert await state_of(world) == "writing"
        assert await everything_read(world, made) == before
    seen: dict[str, int] = {}
    outcome = await reencrypt(
        world.state.database, world.state.settings, lambda what, done: seen.update({what: done})
    )
    assert (steps, outcome.complete, outcome.lost) == (5, True, 0)
    assert await everything_read(world, made) == before
    counts = {
        table: (await world.fetch(f"SELECT count(*) FROM {table}"))[0]["count"]
        for table in ("household", "held", "conflict", "cadre")
    }
    assert {table: seen[table] for table in counts} == counts
    assert "gl1." not in await everything_kept(world)


async def test_re_encryption_waits_for_those_who_began_to_write_before(world: World) -> None:
    await compatible(world)
    house = await house_with(world.wire(), phone=NUMBER)
    async with world.state.database.transaction() as connection:
        cipher = world.state.settings.keyring.cipher(
            await connection.fetchval("SELECT encryption FROM server")
        )
        running = asyncio.create_task(run(world))
        async with asyncio.timeout(10):
            while await state_of(world) != "writing":  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert not running.done()
        value = cipher.encrypt(Place("household", "phone", house), "13900000001")
        assert value.startswith("gl1.")
        await connection.execute("UPDATE household SET phone = $2 WHERE id = $1", house, value)
    assert (await running).complete
    [row] = await world.fetch("SELECT phone FROM household WHERE id = $1", house)
    assert row["phone"].startswith("gl2.")
    assert (await world.get(f"/v1/households/{house}", SECRETARY)).json()["phone"] == "13900000001"


async def test_what_is_written_while_it_is_re_encrypted_stays_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await compatible(world)
    monkeypatch.setattr(reencrypting, "AT_ONCE", 3)
    phone = world.wire()
    houses = [await house_with(phone, seq, phone=f"1390000000{seq}") for seq in range(1, 6)]
    running = asyncio.create_task(run(world))
    seq = 5
    while not running.done():
        seq += 1
        edit = phone.mutation(
            seq, "household", id=houses[seq % 5], base=10**9, fields={"phone": f"1380000{seq:04}"}
        )
        assert (await phone.send(edit)).status_code == 200
    assert running.result().complete
    last = {houses[number % 5]: f"1380000{number:04}" for number in range(6, seq + 1)}
    feed = {
        change["id"]: change["fields"].get("phone")
        for change in (await world.wire(SECRETARY).send()).json()["changes"]
    }
    assert {house: feed[house] for house in last} == last
    assert "gl1." not in await everything_kept(world)


async def test_a_new_key_takes_over_and_the_old_one_can_go(world: World) -> None:
    made = await write_everything(world)
    before = await everything_read(world, made)
    old, new = own_key(world), another_key()
    kid = use_keys(world, new, old).kid
    assert await everything_read(world, made) == before
    outcome = await run(world)
    assert (outcome.complete, outcome.lost) == (True, 0)
    text = await everything_kept(world)
    assert f"gl2.{Keyring([old]).kid}" not in text
    assert f"gl2.{kid}" in text
    use_keys(world, new)
    assert await everything_read(world, made) == before
    await assert_all_are_duplicates(world, made)
    assert (await run(world)).changed == 0


async def test_a_missing_key_loses_nothing(world: World) -> None:
    made = await write_everything(world)
    before = await everything_read(world, made)
    missing_record = made.sent[4][1]["fields"]["household_id"]
    old, new = own_key(world), another_key()
    use_keys(world, new)
    assert NUMBER not in as_text(await everything_read(world, made))
    # What waits for a record that comes now is not released as something empty, and a note on the
    # record harms nothing.
    phone = world.wire()
    edits = [
        phone.mutation(1, "household", id=missing_record, fields={"head_name": "来了"}),
        phone.mutation(
            2, "household", id=made.house, base=10**9, fields={"note": "n", "wind": "west"}
        ),
    ]
    world.clock.forward(minutes=1)
    answer = await phone.send(*edits)
    # The second has a base that nobody can have seen.
    assert [verdict["outcome"] for verdict in answer.json()["verdicts"]] == ["applied", "merged"], (
        answer.text
    )
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) == 0
    assert len((await world.get("/v1/held", SECRETARY)).json()["items"]) == 4
    outcome = await run(world)
    assert outcome.missing == {Keyring([old]).kid}
    await purge(world.state.database, world.state.settings, world.clock.now() + timedelta(days=181))
    use_keys(world, new, old)
    again = await everything_read(world, made)
    name = f"{SECRETARY} /v1/households/{made.house}/export"
    fields, was = again[name]["household"]["fields"], before[name]["household"]["fields"]
    assert fields == {**was, "note": "n", "wind": "west"}
    assert again[name]["history"][: len(before[name]["history"])] == before[name]["history"]
    name = f"{SECRETARY} /v1/conflicts"
    assert again[name] == before[name]
    world.clock.forward(minutes=1)
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) == 1


async def test_completion_waits_for_a_missing_key_unless_it_is_given_up(world: World) -> None:
    await compatible(world)
    made = await write_everything(world)
    old, new = own_key(world), another_key()
    use_keys(world, new)
    outcome = await run(world)
    assert (outcome.complete, outcome.missing, await state_of(world)) == (
        False,
        {Keyring([old]).kid},
        "writing",
    )
    use_keys(world, new, old)
    before = await everything_read(world, made)
    assert NUMBER in as_text(before)
    use_keys(world, new)
    outcome = await run(world, give_up=True)
    assert (outcome.complete, await state_of(world)) == (True, "complete")
    found = await everything_read(world, made)
    assert found[f"{SECRETARY} /v1/households/{made.house}"]["phone"] == MARKER
    assert found[f"{SECRETARY} /v1/history/household/{made.house}"]["items"][0]["undecryptable"]


async def test_digests_outlive_the_locations_that_are_cleared(world: World) -> None:
    phone = world.wire()
    place = {"lat": 40.1, "lon": 109.6}
    some = [
        phone.mutation(seq, fields={"visited_at": VISITED, "content": "x", "location": place})
        for seq in (1, 2)
    ]
    unreadable = phone.mutation(3, base="x", fields={"visited_at": VISITED, "location": place})
    await phone.send(*some, unreadable)
    later = world.clock.now() + timedelta(days=181)
    report = await purge(world.state.database, world.state.settings, later)
    assert report[1] == ("locations in the mutation log", "180 days", 3)
    bodies = await world.logged("device = $1::uuid", phone.device)
    assert "40.1" not in as_text(bodies)
    assert [body["fields"].get("content") for body in bodies] == ["x", "x", None]
    outcomes = [
        verdict["outcome"] for verdict in (await phone.send(*some, unreadable)).json()["verdicts"]
    ]
    assert outcomes == ["duplicate"] * 3
