"""Encrypted values: only declared fields are decrypted, each only in its own place; nothing that is
stored makes a reading fail.
"""

import json
import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY

from service.identity.tokens import Tokens
from service.kit import encryption_v1
from service.kit.encryption import MARKER, Place, State, Undecrypted
from service.kit.keyring import Keyring
from simulator.places import SUPERVISOR
from tests.encrypted import FAR_PHONE, as_text, everything_kept, far_house, house_with, read_all
from tests.world import GRID, SECRETARY, WORKER, World

NUMBER = "13812345678"
GARBAGE = "gl1.00000000." + "A" * 40


async def stolen(world: World) -> dict[str, str]:
    """Ciphertexts of secrets that somebody got hold of, in both forms, and texts that only look
    like some.
    """
    keyring = world.state.settings.keyring
    house = await far_house(world)
    [phone] = await world.fetch("SELECT phone FROM household WHERE id = $1", house)
    [key] = await world.fetch("SELECT kid, private_pem FROM signing_key")
    pem = world.decrypted("signing_key", "private_pem", key["kid"], key["private_pem"])
    found = {
        "far phone": phone["phone"],
        "signing key": key["private_pem"],
        "far phone of before": encryption_v1.encrypt(keyring.v1, FAR_PHONE),
        "signing key of before": encryption_v1.encrypt(keyring.v1, pem),
        "garbage": GARBAGE,
        "other garbage": "gl2." + GARBAGE[4:],
        "marker": MARKER,
    }
    if phone["phone"].startswith("gl1."):
        del found["signing key"], found["far phone"]  # they are the ones of before
    return found


def assert_no_secret(found: Any) -> None:
    text = as_text(found)
    assert FAR_PHONE not in text
    assert "PRIVATE KEY" not in text


@pytest.mark.parametrize("state", ["complete", "compatible", "writing"])
async def test_a_ciphertext_sent_as_text_is_never_decrypted_and_comes_back_as_it_was(
    world: World, state: str
) -> None:
    await world.get("/v1/households", SUPERVISOR)
    await world.fetch("UPDATE server SET encryption = $1", state)
    for text in (await stolen(world)).values():
        phone = world.wire()
        short = text[:40]
        house = await house_with(
            phone, note=text, phone=short, address=text[:200], weather=text, deep={"a": [text]}
        )
        sent = [
            phone.mutation(
                2,
                fields={
                    "visited_at": "2026-11-20T09:00:00+08:00",
                    "content": text,
                    "weather": text,
                    "household_id": house,
                },
            ),
            phone.mutation(3, "telegram", fields={"note": text, "phone": text}),
            phone.mutation(
                4, "household", fields={"phone": short, "note": text}
            ),  # held: it has no name
            phone.mutation(5, "household", grid=7, fields={"phone": short}),  # unreadable
        ]
        assert (await phone.send(*sent)).status_code == 200
        raised = {
            "title": text[:200],
            "detail": text,
            "duty": "emergency",
            "contact": text[:100],
            "household_id": house,
        }
        problem = (
            await world.post("/v1/problems", {"grid": GRID, "fields": raised}, WORKER)
        ).json()
        found = await read_all(world, [house], [problem["id"]])
        assert_no_secret(found)

        def read(name: str, found: dict[str, Any] = found) -> Any:
            return found[f"{SECRETARY} {name}"]

        [change] = [change for change in read("feed") if change["id"] == house]
        whole = {
            "note": text,
            "phone": short,
            "address": text[:200],
            "weather": text,
            "deep": {"a": [text]},
        }
        assert {name: change["fields"][name] for name in whole} == whole
        history = read(f"/v1/history/household/{house}")["items"][0]["fields"]
        assert {name: history[name] for name in whole} == whole
        export = read(f"/v1/households/{house}/export")["household"]["fields"]
        assert {name: export[name] for name in whole} == whole
        [visit] = [
            change
            for change in read("feed")
            if change["kind"] == "visit" and change["fields"]["household_id"] == house
        ]
        assert (visit["fields"]["content"], visit["fields"]["weather"]) == (text, text)
        held = {
            item["seq"]: item["mutation"]["fields"]
            for item in read("/v1/held")["items"]
            if item["device"] == phone.device
        }
        assert (held[3], held[4]) == ({"note": text, "phone": text}, {"phone": short, "note": text})
        shown = read(f"/v1/problems/{problem['id']}")
        assert (shown["title"], shown["fields"]["contact"]) == (text[:200], text[:100])
        assert read(f"/v1/households/{house}")["phone"] == short


async def test_a_value_opens_in_no_other_place(world: World) -> None:
    keyring = world.state.settings.keyring
    cipher = keyring.cipher("complete")
    place = Place("household", "phone", "one")
    value = cipher.encrypt(place, NUMBER)
    assert cipher.decrypt(place, value) == NUMBER
    for other in (
        place._replace(row="two"),
        place._replace(column="address"),
        place._replace(table="problem"),
    ):
        assert cipher.decrypt(other, value) == MARKER
    assert keyring.cipher("compatible").decrypt(place._replace(row="two"), value) == MARKER
    # Each purpose has a key of its own, even for the same place.
    signing = Place("signing_key", "household", "one")
    forged = cipher.encrypt(signing, NUMBER)
    assert cipher.decrypt(signing, forged) == NUMBER
    assert keyring.newest.ciphers["personal data"] is not keyring.newest.ciphers["signing keys"]  # type: ignore[index]
    key = {str(purpose): one for purpose, one in keyring.newest.ciphers.items()}
    nonce = b"n" * 12
    sealed = {name: one.encrypt(nonce, b"x", None) for name, one in key.items()}
    assert len({*sealed.values()}) == len(sealed)


async def broken_households(world: World) -> dict[str, str]:
    """Households whose phone numbers somebody changed in the database: what was done → id."""
    phone = world.wire()
    numbers = {
        "swapped": "1",
        "other": "2",
        "cut": "3",
        "plain": "4",
        "before": "5",
        "unknown key": "6",
        "garbage": "7",
        "whole": "8",
    }
    houses = {}
    for seq, (name, number) in enumerate(numbers.items(), 1):
        houses[name] = await house_with(phone, seq, phone=f"1380000000{number}")
    kept = {
        row["id"]: row["phone"]
        for row in await world.fetch("SELECT id::text, phone FROM household")
    }
    stored = {
        "swapped": kept[houses["other"]],
        "other": kept[houses["swapped"]],
        "cut": kept[houses["cut"]][:-3],
        "plain": "13800000004",
        "before": encryption_v1.encrypt(world.state.settings.keyring.v1, "13800000005"),
        "unknown key": "gl2.00000000." + kept[houses["unknown key"]].rpartition(".")[2],
        "garbage": "gl2.☃.x",
    }
    for name, value in stored.items():
        await world.fetch("UPDATE household SET phone = $2 WHERE id = $1", houses[name], value)
    return houses


def undecryptable(table: str, column: str) -> float:
    counted = {"table": table, "column": column}
    return REGISTRY.get_sample_value("gridloop_undecryptable_values_total", counted) or 0.0


async def test_what_was_tampered_with_is_a_marker_with_a_log_line_and_a_metric(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    houses = await broken_households(world)
    before = undecryptable("household", "phone")
    with caplog.at_level(logging.ERROR):
        found = await read_all(world, [*houses.values()])
    assert undecryptable("household", "phone") >= before + 7
    feed = {change["id"]: change["fields"] for change in found[f"{SECRETARY} feed"]}
    for name, house in houses.items():
        expected = "13800000008" if name == "whole" else MARKER
        assert feed[house]["phone"] == expected, name
        assert found[f"{SECRETARY} /v1/households/{house}"]["phone"] == expected, name
        assert (
            found[f"{SECRETARY} /v1/households/{house}/export"]["household"]["fields"]["phone"]
            == expected
        ), name
        # The log's own block was not touched.
        assert found[f"{SECRETARY} /v1/history/household/{house}"]["items"][0]["fields"][
            "phone"
        ].startswith("1380000000")


async def test_what_cannot_be_decrypted_is_written_back_as_it_was(world: World) -> None:
    houses = await broken_households(world)
    kept = {
        row["id"]: row["phone"]
        for row in await world.fetch("SELECT id::text, phone FROM household")
    }
    phone = world.wire(SECRETARY)
    await phone.send()
    edit: dict[str, Any] = {"kind": "household", "base": 10**9}
    edits = [
        phone.mutation(seq, **edit, id=house, fields={"members": seq})
        for seq, house in enumerate(houses.values(), 1)
    ]
    # A form that sends the marker back means no other number.
    edits += [
        phone.mutation(seq, **edit, id=house, fields={"phone": MARKER})
        for seq, house in enumerate(list(houses.values())[:-1], len(edits) + 1)
    ]
    assert {verdict["outcome"] for verdict in (await phone.send(*edits)).json()["verdicts"]} <= {
        "applied",
        "merged",
    }
    now = {
        row["id"]: row["phone"]
        for row in await world.fetch("SELECT id::text, phone FROM household")
    }
    for name, house in houses.items():
        if name != "whole":
            assert now[house] == kept[house], name
    cipher = world.state.settings.keyring.cipher("complete")
    assert (
        cipher.decrypt(Place("household", "phone", houses["whole"]), now[houses["whole"]])
        == "13800000008"
    )


async def test_an_undecryptable_value_that_lost_is_kept_as_it_was_and_cannot_be_chosen(
    world: World,
) -> None:
    phone, other = world.wire(), world.wire(SECRETARY)
    house = await house_with(phone, phone=NUMBER)
    [kept] = await world.fetch("SELECT phone, rev FROM household WHERE id = $1", house)
    await world.fetch("UPDATE household SET phone = $2 WHERE id = $1", house, kept["phone"][:-2])
    world.clock.forward(minutes=1)
    await other.send(
        other.mutation(1, "household", id=house, base=0, fields={"phone": "13700000000"})
    )
    [conflict] = (await world.get("/v1/conflicts", SECRETARY)).json()["items"]
    assert (conflict["kept"], conflict["lost"]) == ("13700000000", MARKER)
    [row] = await world.fetch("SELECT lost FROM conflict")
    assert json.loads(row["lost"]) == kept["phone"][:-2]
    refused = await world.post(
        f"/v1/conflicts/{conflict['id']}/resolution", {"choice": "lost"}, SECRETARY
    )
    assert (refused.status_code, "decrypted" in refused.json()["detail"]) == (409, True), (
        refused.text
    )
    # Once it can be decrypted, it is there again, and nowhere else.
    await world.fetch("UPDATE conflict SET lost = to_json($1::text)", kept["phone"])
    chosen = await world.post(
        f"/v1/conflicts/{conflict['id']}/resolution", {"choice": "lost"}, SECRETARY
    )
    assert (chosen.status_code, chosen.json()["lost"]) == (200, NUMBER)
    assert (await world.get(f"/v1/households/{house}", SECRETARY)).json()["phone"] == NUMBER


async def test_tampered_bodies_of_held_and_logged_mutations_leave_every_list_readable(
    world: World,
) -> None:
    phone = world.wire()
    house = await house_with(phone, phone=NUMBER, weather="sunny")
    held = [
        phone.mutation(2, "telegram", fields={"a": 1}),
        phone.mutation(3, "household", fields={"phone": "1"}),
    ]
    await phone.send(*held)
    one, two = world.wire(), world.wire(SECRETARY)
    for each, weather in ((one, "rain"), (two, "snow")):
        world.clock.forward(minutes=1)
        await each.send(
            each.mutation(
                1, "household", id=house, base=0, fields={"weather": weather, "phone": weather}
            )
        )
    await world.fetch("UPDATE mutation_body SET body = set_byte(body, 29, get_byte(body, 29) # 1)")
    await world.fetch(
        "UPDATE mutation SET verdict = to_json('gl2.00000000.AAAA'::text) WHERE verdict IS NOT NULL"
    )
    swap = "UPDATE held h SET body = o.body, detail = o.detail FROM held o WHERE o.id <> h.id"
    await world.fetch(swap)
    await world.fetch("UPDATE conflict SET kept = '\"gl2.00000000.AAAA\"', lost = '{\"a\": [1]}'")
    await world.fetch("UPDATE household SET extra = '\"gl1.00000000.AAAA\"' WHERE id = $1", house)
    found = await read_all(world, [house])
    items = found[f"{SECRETARY} /v1/held"]["items"]
    assert [item["mutation"]["undecryptable"] for item in items] == [True, True]
    assert {item["detail"] for item in items} == {MARKER}
    assert {item["mutation"]["kind"] for item in items} == {"telegram", "household"}
    for item in found[f"{SECRETARY} /v1/conflicts"]["items"]:
        assert (item["kept"], item["lost"]) == (MARKER, MARKER)
    entries = found[f"{SECRETARY} /v1/history/household/{house}"]["items"]
    assert [(entry["fields"], entry["undecryptable"]) for entry in entries] == [({}, True)] * 3
    [change] = [change for change in found[f"{SECRETARY} feed"] if change["id"] == house]
    assert change["fields"]["undecryptable"] is True
    # The author's notices, too; and nobody releases what nobody can read.
    notices = [
        change
        for change in (await world.wire().send()).json()["changes"]
        if change["kind"] == "held"
    ]
    assert [notice["fields"]["mutation"]["fields"] for notice in notices] == [{}, {}]
    for item in items:
        answer = await world.post(
            f"/v1/held/{item['id']}/release", {"fields": {"head_name": "x"}}, SECRETARY
        )
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-now")
    kept = (await world.fetch("SELECT extra::text AS extra FROM household WHERE id = $1", house))[
        0
    ]["extra"]
    await one.send(
        one.mutation(2, "household", id=house, base=10**9, fields={"members": 2, "wind": "west"})
    )
    [row] = await world.fetch("SELECT extra::text AS extra FROM household WHERE id = $1", house)
    assert json.loads(row["extra"])[0] == json.loads(kept)
    [change] = [
        change
        for change in (await world.wire(SECRETARY).send()).json()["changes"]
        if change["id"] == house
    ]
    assert (change["fields"]["wind"], change["fields"]["undecryptable"]) == ("west", True)


async def test_no_number_lies_open_wherever_it_was_put(world: World) -> None:
    phone = world.wire()
    house = await house_with(
        phone, phone=NUMBER, other_phone=NUMBER, phones=[NUMBER], numeric=int(NUMBER)
    )
    visited_at = "2026-11-20T09:00:00+08:00"
    odd: list[dict[str, Any]] = [
        {"kind": "household", "fields": {"head_name": "a", "phone": int(NUMBER)}},
        {"kind": "household", "fields": {"head_name": "a", "phone": [NUMBER]}},
        {"kind": "household", "fields": {"head_name": "a", "phone": {"mobile": NUMBER}}},
        {"kind": "household", "fields": {"head_name": "a", "tags": {"add": [NUMBER]}}},
        {"kind": "telegram", "fields": {"to": NUMBER}},
        {"kind": NUMBER, "fields": {}},
        {"kind": "telegram", "id": NUMBER, "fields": {}},
        {"kind": "telegram", "grid": NUMBER, "fields": {}},
        {"kind": "visit", "grid": NUMBER, "fields": {"visited_at": visited_at, "content": "x"}},
        {
            "kind": "visit",
            "fields": {"visited_at": visited_at, "content": "x", "other_phone": NUMBER},
        },
        {"kind": "visit", "fields": {"visited_at": visited_at, NUMBER: "x"}},
        {"kind": "visit", "fields": {"visited_at": NUMBER}},
        {"kind": int(NUMBER), "fields": {"phone": NUMBER}},
        {"kind": "household", "fields": [NUMBER]},
        {"kind": "household", "op": NUMBER, "fields": {"phone": NUMBER}},
        {"kind": "visit", "stamp": NUMBER, "fields": {"visited_at": visited_at}},
        {
            "kind": "visit",
            "epoch": NUMBER,
            "base_grid": NUMBER,
            "fields": {"visited_at": visited_at},
        },
        {
            "kind": "problem",
            "fields": {"title": "t", "duty": NUMBER, "raised_at": visited_at, "contact": NUMBER},
        },
        {
            "kind": "problem",
            "fields": {
                "title": "t",
                "duty": "emergency",
                "raised_at": visited_at,
                "contact": f"a {NUMBER}",
            },
        },
        {"kind": "weekly_analysis", "fields": {"week": NUMBER}},
    ]
    answer = await phone.send(*(phone.mutation(seq, **given) for seq, given in enumerate(odd, 2)))
    assert answer.status_code == 200, answer.text
    one, two = world.wire(), world.wire(SECRETARY)
    for each, number in ((one, f"1{NUMBER}"), (two, f"2{NUMBER}")):
        world.clock.forward(minutes=1)
        edit: dict[str, Any] = {"kind": "household", "id": house, "base": 0}
        await each.send(
            each.mutation(
                1, **edit, fields={"phone": number, "other_phone": number, "phones": [number]}
            )
        )
    [_, *conflicts] = (await world.get("/v1/conflicts", SECRETARY)).json()["items"]
    for conflict in conflicts:
        settled = {
            "choice": "value",
            "value": [NUMBER] if conflict["field"] == "phones" else NUMBER,
        }
        assert (
            await world.post(f"/v1/conflicts/{conflict['id']}/resolution", settled, SECRETARY)
        ).status_code == 200
    token = await world.token(WORKER)
    raised = {
        "grid": GRID,
        "fields": {"title": "t", "duty": "emergency", "contact": NUMBER, "other": NUMBER},
    }
    for fields in (raised, {"grid": GRID, "fields": {**raised["fields"], "severity": NUMBER}}):  # type: ignore[dict-item]
        headers = {
            "Authorization": f"Bearer {token}",
            "Idempotency-Key": f"key {len(fields)}{fields is raised}",
        }
        await world.client.post("/v1/problems", json=fields, headers=headers)
    corrected = {"phone": NUMBER}
    await world.client.patch(
        f"/v1/cadres/{WORKER}",
        json=corrected,
        headers={"Authorization": f"Bearer {await world.token('admin')}"},
    )
    text = await everything_kept(world)
    lines = [line[:300] for line in text.split("\n") if NUMBER in line]
    assert not lines, lines


async def test_what_is_put_on_record_is_shown_whole_to_those_who_may_see_it(world: World) -> None:
    """The other side of the test above: nothing is lost on the way into the encrypted columns and
    out.
    """
    phone = world.wire()
    unreadable = phone.mutation(1, "household", grid=7, fields={"phone": [NUMBER]})
    unknown = phone.mutation(2, "telegram", fields={"to": NUMBER, "half": "\ud83d"})
    await phone.post(
        json.dumps(
            {
                "protocol": 1,
                "sent_at": world.clock.now().isoformat(),
                "mutations": [unreadable, unknown],
            }
        ).encode()
    )
    items = {item["seq"]: item for item in (await world.get("/v1/held", WORKER)).json()["items"]}
    assert items[1]["mutation"]["fields"]["unreadable"]["fields"] == {"phone": [NUMBER]}
    assert items[2]["mutation"]["fields"] == {"to": NUMBER, "half": "�"}
    assert "fields.half" in items[2]["detail"]


async def test_a_digest_tells_nothing_without_the_key(world: World) -> None:
    phone = world.wire()
    await house_with(phone, phone=NUMBER)
    content = json.dumps((await world.logged("device = $1::uuid", phone.device))[0])
    [row] = await world.fetch("SELECT digest FROM mutation WHERE device = $1::uuid", phone.device)
    other = Keyring([b"o" * 32]).cipher("complete")
    assert len(row["digest"]) == 16
    assert row["digest"][4:] not in {
        digest[-12:] for digest in other.keyring.all_digests(content.encode())
    }
    cipher = world.state.settings.keyring.cipher("complete")
    assert cipher.is_digest_current(row["digest"])
    assert other.has_digest(row["digest"], content.encode()) is None


async def test_a_signing_key_that_cannot_be_decrypted_is_named_in_the_log_and_stops_only_sign_ins(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    token = await world.token(SECRETARY)
    [key] = await world.fetch("SELECT kid, private_pem FROM signing_key")
    for stored, named in (
        ("gl2.0badc0de." + "A" * 60, "0badc0de"),
        ("-----BEGIN PRIVATE KEY-----", key["kid"]),
    ):
        await world.fetch("UPDATE signing_key SET private_pem = $1", stored)
        world.state.of(Tokens).reloaded_every_s = -1
        with caplog.at_level(logging.ERROR):
            ready = await world.client.get("/readyz")
        assert (ready.status_code, named in ready.text, named in caplog.text) == (
            503,
            False,
            True,
        ), ready.text
        form = {"grant_type": "password", "username": WORKER, "password": "gridloop-demo"}
        assert (await world.client.post("/v1/auth/token", data=form)).status_code == 503
        mine = await world.client.get(
            "/v1/households", headers={"Authorization": f"Bearer {token}"}
        )
        assert mine.status_code == 200, mine.text
    await world.fetch("UPDATE signing_key SET private_pem = $1", key["private_pem"])
    world.state.of(Tokens).reloaded_every_s = -1
    assert (await world.client.get("/readyz")).status_code == 200


async def test_a_kept_answer_that_cannot_be_decrypted_still_says_that_it_was_done(
    world: World,
) -> None:
    headers = {"Authorization": f"Bearer {await world.token(WORKER)}", "Idempotency-Key": "k"}
    raised = {"grid": GRID, "fields": {"title": "t", "duty": "emergency", "contact": NUMBER}}
    first = await world.client.post("/v1/problems", json=raised, headers=headers)
    again = await world.client.post("/v1/problems", json=raised, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    [row] = await world.fetch("SELECT request FROM idempotency")
    assert (
        row["request"][:4].hex() == world.state.settings.keyring.kid
    )  # a digest that needs the key
    await world.fetch("UPDATE idempotency SET body = 'gl2.00000000.AAAA'")
    again = await world.client.post("/v1/problems", json=raised, headers=headers)
    assert (again.status_code, again.json()["type"], again.json()["first_status"]) == (
        409,
        "/problems/not-now",
        201,
    )
    assert len((await world.get("/v1/problems", WORKER)).json()["items"]) == 1


def test_an_undecrypted_value_reads_as_the_marker_and_is_written_as_it_was() -> None:
    for state in State:
        cipher = Keyring([b"k" * 32]).cipher(state)
        value = cipher.decrypt(Place("a", "b", "c"), "gl2.00000000.AAAA")
        assert isinstance(value, Undecrypted)
        assert value == MARKER
        assert cipher.encrypt(Place("a", "b", "c"), value) == "gl2.00000000.AAAA"
