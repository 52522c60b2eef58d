"""A person's erasure: what goes, what stays, what comes late, and what happens when it is
interrupted."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from service.identity.queries import refuse_erased
from service.kit.encrypted_values import answer_place, log_row
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.errors import Problem
from service.kit.field_cipher import FieldCipher
from service.privacy import erasure_steps
from service.privacy.erasure import Asked, Done, Erasing, erase, resume_unfinished
from service.tallies.recount import differences
from service.writes.log_blocks import bodies_in
from service.writes.originals import unpacked
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.records import ERASED, KINDS
from tests.world import GRID, SECRETARY, WORKER, WirePhone, World

NAME, PHONE, ADDRESS = "苏和巴特尔", "13812345678", "东组三号院"
TEXTS = {
    *(
        NAME,
        PHONE,
        ADDRESS,
        "13899998888",
        "患慢性病",
        "送了两袋面",
        "塔娜高娃甲",
        "暖气不热",
        "管道冻裂",
        "找苏和本人",
        "已上门看过",
    ),
    *(
        "wechat-suhe",
        "一个旧号码",
        "迟到的号码",
        "未到的走访",
        "关节炎",
        "写错的备注",
        "elderly_alone",
        "40.123456",
    ),
}
PLACE = {"lat": 40.123456, "lon": 109.654321}


class Told:
    """A household about which everything was written that can be written, and the records about
    it."""

    def __init__(self, phone: WirePhone, house: str, visit: str, problem: str) -> None:
        self.phone, self.house, self.visit, self.problem = phone, house, visit, problem
        self.puts: list[dict[str, Any]] = []


async def tell(world: World) -> Told:
    """Writes about a household in every place that there is."""
    phone, other = world.wire(), world.wire(SECRETARY)
    told = Told(phone, phone.new_id(), phone.new_id(), phone.new_id())
    when = world.clock.now().isoformat()
    fields: dict[str, Any] = {
        "head_name": NAME,
        "phone": PHONE,
        "address": ADDRESS,
        "members": 4,
        "note": "患慢性病",
    }
    fields |= {"tags": {"add": ["elderly_alone"]}, "location": PLACE, "wechat": "wechat-suhe"}
    visit = {
        "visited_at": when,
        "household_id": told.house,
        "content": "送了两袋面",
        "people_met": {"add": [NAME, "塔娜高娃甲"]},
        "location": PLACE,
    }
    problem = {
        "title": "暖气不热",
        "detail": "管道冻裂",
        "duty": "emergency",
        "raised_at": when,
        "visit_id": told.visit,
        "contact": NAME,
    }
    told.puts = [
        phone.mutation(1, "household", id=told.house, fields=fields),
        phone.mutation(2, id=told.visit, fields=visit),
        phone.mutation(3, "problem", id=told.problem, fields=problem),
        # A visit of a household that is not here yet says the same of this one; it stays held.
        phone.mutation(
            4,
            fields={
                "visited_at": when,
                "household_id": phone.new_id(),
                "content": f"未到的走访 {told.house}",
            },
        ),
        phone.mutation(
            5,
            "household",
            id=told.house,
            base=1,
            fields={"members": 1e400, "note": "关节炎", "head_name": NAME},
        ),
        phone.mutation(6, "household", id=told.house, base=99, fields={"phone": "13899998888"}),
        phone.mutation(
            7, id=told.visit, base=99, fields={"people_met": {"remove": ["塔娜高娃甲"]}}
        ),
    ]
    body = {"protocol": 1, "sent_at": when, "mutations": told.puts}
    answer = (await phone.post(json.dumps(body).encode())).json()
    assert [item["outcome"] for item in answer["verdicts"]] == ["applied"] * 3 + [
        "held",
        "held",
    ] + ["applied"] * 2, answer
    # Two phones that did not know of each other, so that there are conflicts.
    world.clock.forward(minutes=1)
    late = other.mutation(
        1, "household", id=told.house, base=1, fields={"phone": "一个旧号码", "note": "写错的备注"}
    )
    assert (await other.send(late)).json()["verdicts"][0]["outcome"] == "merged"
    step = {"id": world.wire().new_id(), "action": "escalate", "fields": {"note": "已上门看过"}}
    headers = {"Authorization": f"Bearer {await world.token(SECRETARY)}", "Idempotency-Key": "k"}
    taken = await world.client.post(
        f"/v1/problems/{told.problem}/steps", json=step, headers=headers
    )
    assert taken.status_code == 201, taken.text
    world.clock.forward(days=7)
    assert (
        await world.post(f"/v1/summaries/weekly/2026-W47/seal?unit={TOWNSHIP}", {})
    ).status_code < 300
    return told


async def everything_decrypted(world: World) -> str:
    """Every column of every row of every table, decrypted where it is encrypted, as one text."""
    settings = world.state.settings
    async with world.state.database.reading() as connection:
        cipher = await cipher_of(connection, settings)
    found = []
    for table in [
        row["tablename"]
        for row in await world.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            # The service writes when its work comes again, whoever is erased meanwhile.
            " AND tablename <> 'job_schedule'"
        )
    ]:
        for row in await world.fetch(f"SELECT * FROM {table}"):
            for column, value in row.items():
                found += _texts(cipher, table, column, row, value)
    return "\n".join(found)


def _texts(cipher: FieldCipher, table: str, column: str, row: Any, value: Any) -> list[str]:
    if isinstance(value, bytes):
        if (table, column) == ("mutation_body", "body"):
            bodies = bodies_in(row, cipher)
            assert bodies is not None
            return [body.decode() for body in bodies.values()]
        if (table, column) == ("held", "original"):
            return [unpacked(str(row["id"]), value, cipher).decode("utf-8", "replace")]
        return [value.decode("latin-1")]
    text = value if isinstance(value, str) else str(value)
    key = _key(table, row)
    plain = [
        decrypted
        for part in (text, text.strip('"'))
        if key is not None
        and (decrypted := cipher.try_decrypt(Place(table, column, key), part)) is not None
    ]
    assert plain or not text.strip('"').startswith("gl2."), (
        f"{table}.{column} is encrypted, and this test does not know how"
    )
    return plain or [text]


def _key(table: str, row: Any) -> str | None:
    if table in KINDS or table in ("held", "conflict"):
        return str(row["id"])
    if table == "cadre" or table == "second_factor":
        return str(row["staff_code"])
    if table == "mutation":
        return log_row(str(row["device"]), row["seq"], row["received_at"])
    if table == "idempotency":
        return answer_place(row["caller"], row["key"]).row
    return str(row["kid"]) if table == "signing_key" else None


async def erase_house(world: World, house: str, by: str = "admin", reason: str = "本人申请") -> Any:
    response = await world.post(f"/v1/households/{house}/erasure", {"reason": reason}, by)
    assert response.status_code == 200, response.text
    return response.json()


# -------------------------------------------------------------------------------------- a household


async def test_no_column_of_any_table_holds_a_trace_of_an_erased_household(world: World) -> None:
    told = await tell(world)
    before = await everything_decrypted(world)
    assert [
        text
        for text in TEXTS
        if text not in before and text != "迟到的号码" and text != "找苏和本人"
    ] == []
    await world.fetch(
        "INSERT INTO import_key (id, scope, blind, household, content)"
        " VALUES (gen_random_uuid(), '#', '\\x00', $1::text::uuid, '\\x00')",
        told.house,
    )
    done = await erase_house(world, told.house)
    after = await everything_decrypted(world)
    assert [text for text in TEXTS if text in after] == []
    assert done["removed"]["values of imports"] >= 1
    assert done["labels"].keys() == done["removed"].keys()
    assert (
        done["removed"]["households"]
        == done["removed"]["visits"]
        == done["removed"]["problems"]
        == 1
    )
    assert {
        "steps",
        "conflicts",
        "held mutations",
        "mutations in the log",
        "kept answers",
        "sealed summaries",
    } <= done["removed"].keys()


async def test_counts_stay_and_the_check_finds_no_difference(world: World) -> None:
    told = await tell(world)
    week = {"unit": TOWNSHIP, "week": "2026-W47"}
    before = (await world.get("/v1/summaries/weekly", **week)).json()["totals"]
    await erase_house(world, told.house)
    assert (await world.get("/v1/summaries/weekly", **week)).json()["totals"] == before
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []


async def test_phones_drop_what_was_erased(world: World) -> None:
    told = await tell(world)
    phone = world.phone(SECRETARY)
    await phone.sync()
    assert NAME in json.dumps(
        [view.fields for view in phone.records("household")], ensure_ascii=False
    )
    await erase_house(world, told.house)
    await phone.sync()
    for kind in ("household", "visit", "problem", "step"):
        text = json.dumps([view.fields for view in phone.records(kind)], ensure_ascii=False)
        assert [word for word in TEXTS if word in text] == [], kind
    [house] = [view for view in phone.records("household") if view.id == told.house]
    assert house.fields == {"head_name": ERASED}
    assert await phone.verify() == []


async def test_a_repeated_mutation_is_still_known_as_a_duplicate(world: World) -> None:
    told = await tell(world)
    await erase_house(world, told.house)
    answer = (await told.phone.send(told.puts[0])).json()
    assert answer["verdicts"][0]["outcome"] == "duplicate"
    changed = {**told.puts[0], "fields": {"head_name": "别人"}}
    assert (await told.phone.send(changed)).json()["type"] == "/problems/device-forked"


async def test_history_shows_who_and_when_and_that_it_was_erased(world: World) -> None:
    told = await tell(world)
    await erase_house(world, told.house)
    response = await world.get(f"/v1/history/household/{told.house}", SECRETARY)
    items = response.json()["items"]
    assert {item["staff_code"] for item in items} == {WORKER, SECRETARY, "erasure"}
    assert all(item["erased"] and item["fields"] == {} for item in items)
    assert [text for text in TEXTS if text in response.text] == []


def _late_edits(told: Told, sender: WirePhone, base: int) -> list[dict[str, Any]]:
    when = "2026-11-20T09:00:00+08:00"
    return [
        sender.mutation(1, "household", id=told.house, base=base, fields={"phone": "迟到的号码"}),
        sender.mutation(2, id=told.visit, base=base, fields={"content": "迟到的号码"}),
        sender.mutation(3, "problem", id=told.problem, base=base, fields={"title": "迟到的号码"}),
        sender.mutation(
            4, fields={"visited_at": when, "household_id": told.house, "content": "迟到的号码"}
        ),
        sender.mutation(
            5,
            "step",
            fields={"problem_id": told.problem, "action": "note", "at": when, "note": "迟到的号码"},
        ),
        sender.mutation(
            6,
            "problem",
            fields={
                "household_id": told.house,
                "title": "迟到的号码",
                "duty": "emergency",
                "raised_at": when,
            },
        ),
    ]


async def test_what_a_phone_wrote_before_it_heard_of_the_erasure_waits_for_a_person(
    world: World,
) -> None:
    told = await tell(world)
    late = world.wire()
    edits = _late_edits(told, late, base=1)
    await erase_house(world, told.house)
    answer = (await late.send(*edits)).json()
    assert [(item["outcome"], item.get("reason")) for item in answer["verdicts"]] == [
        ("held", "erased")
    ] * 6
    rows = await world.fetch("SELECT head_name, phone FROM household WHERE id = $1", told.house)
    assert [tuple(row) for row in rows] == [(ERASED, None)]


async def test_new_visits_that_come_alone_wait_too(world: World) -> None:
    told = await tell(world)
    late = world.wire()
    visit = late.mutation(
        1,
        fields={
            "visited_at": "2026-11-20T09:00:00+08:00",
            "household_id": told.house,
            "content": "迟到的号码",
        },
    )
    await erase_house(world, told.house)
    assert (await late.send(visit)).json()["verdicts"][0]["reason"] == "erased"


async def test_what_is_written_of_the_record_as_it_is_now_is_applied(world: World) -> None:
    told = await tell(world)
    await erase_house(world, told.house)
    phone = world.wire()
    await phone.send()
    [row] = await world.fetch("SELECT rev FROM household WHERE id = $1", told.house)
    visit = {
        "visited_at": world.clock.now().isoformat(),
        "household_id": told.house,
        "content": "新住户",
    }
    edit = phone.mutation(
        1, "household", id=told.house, base=row["rev"], fields={"head_name": "新住户"}
    )
    answer = (await phone.send(edit, phone.mutation(2, fields=visit))).json()
    assert [item["outcome"] for item in answer["verdicts"]] == ["applied", "applied"]
    assert (
        await world.client.patch(
            f"/v1/households/{told.house}",
            json={"fields": {"note": "x"}},
            headers={"Authorization": f"Bearer {await world.token(SECRETARY)}"},
        )
    ).status_code == 200


async def test_what_tells_of_nobody_is_applied_whenever_it_was_written(world: World) -> None:
    told = await tell(world)
    await erase_house(world, told.house)
    late = world.wire()
    edit = late.mutation(1, id=told.visit, base=1, fields={"duties": {"add": ["emergency"]}})
    assert (await late.send(edit)).json()["verdicts"][0]["outcome"] in ("applied", "merged")


async def test_a_person_releases_or_discards_what_came_late_and_what_is_discarded_goes(
    world: World,
) -> None:
    told = await tell(world)
    late = world.wire()
    edits = _late_edits(told, late, base=1)[:2]
    await erase_house(world, told.house)
    await late.send(*edits)
    items = (await world.get("/v1/held", SECRETARY)).json()["items"]
    held = {item["record"]: item["id"] for item in items if item["reason"] == "erased"}
    assert (
        await world.post(f"/v1/held/{held[told.house]}/discard", {"reason": "x"}, SECRETARY)
    ).status_code == 200
    released = await world.post(f"/v1/held/{held[told.visit]}/release", {}, SECRETARY)
    assert released.json()["outcome"] in ("applied", "merged"), released.text
    # The erasure is later, so that what was released is a conflict which somebody settles.
    [conflict] = released.json()["conflicts"]
    assert (conflict["kept"], conflict["lost"]) == (None, "迟到的号码")
    chosen = await world.post(
        f"/v1/conflicts/{conflict['id']}/resolution", {"choice": "lost"}, SECRETARY
    )
    assert chosen.status_code == 200, chosen.text
    [row] = await world.fetch("SELECT content FROM visit WHERE id = $1", told.visit)
    assert row["content"] == "迟到的号码"
    again = await erase_house(world, told.house)
    assert not again["repeated"]
    assert "迟到的号码" not in await everything_decrypted(world)


async def test_what_is_discarded_of_late_mutations_leaves_no_trace(world: World) -> None:
    told = await tell(world)
    late = world.wire()
    edit = _late_edits(told, late, base=1)[0]
    await erase_house(world, told.house)
    await late.send(edit)
    assert "迟到的号码" in await everything_decrypted(world)
    [held] = [
        item["id"]
        for item in (await world.get("/v1/held", SECRETARY)).json()["items"]
        if item["reason"] == "erased"
    ]
    await world.post(f"/v1/held/{held}/discard", {"reason": "x"}, SECRETARY)
    assert "迟到的号码" not in await everything_decrypted(world)


async def test_a_deleted_household_is_erased_and_stays_deleted(world: World) -> None:
    told = await tell(world)
    phone = world.wire()
    [row] = await world.fetch("SELECT rev FROM household WHERE id = $1", told.house)
    await phone.send(phone.mutation(1, "household", id=told.house, op="delete", base=row["rev"]))
    await erase_house(world, told.house)
    [row] = await world.fetch("SELECT deleted FROM household WHERE id = $1", told.house)
    assert row["deleted"]
    after = await everything_decrypted(world)
    assert [text for text in TEXTS if text in after] == []


async def test_a_repeated_erasure_is_once(world: World) -> None:
    told = await tell(world)
    first = await erase_house(world, told.house)
    revs = await world.fetch("SELECT rev FROM household WHERE id = $1", told.house)
    second = await erase_house(world, told.house)
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert second["removed"] == first["removed"]
    assert await world.fetch("SELECT rev FROM household WHERE id = $1", told.house) == revs


STEPS = [
    "household records",
    "visit records",
    "problem records",
    "step records",
    "conflicts",
    "held mutations",
    "mutation log",
    "kept answers",
    "sealed summaries",
]


@pytest.mark.parametrize("at", STEPS)
async def test_an_erasure_that_was_interrupted_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    told = await tell(world)
    whole: Callable[..., Any] = erasure_steps.of_household

    def failing(*given: Any) -> Any:
        async def fail(_: Any) -> Any:
            raise RuntimeError("killed")
            yield

        return whole(*given) | {at: fail}

    settings, database, now = world.state.settings, world.state.database, world.clock.now()
    asked = Asked("household", told.house, "本人申请", "admin")
    monkeypatch.setattr(erasure_steps, "of_household", failing)
    with pytest.raises(RuntimeError, match="killed"):
        await erase(Erasing(database, settings, now), asked)
    monkeypatch.setattr(erasure_steps, "of_household", whole)
    assert await resume_unfinished(Erasing(database, settings, now)) == 1
    assert await resume_unfinished(Erasing(database, settings, now)) == 0
    after = await everything_decrypted(world)
    assert [text for text in TEXTS if text in after] == []
    [row] = await world.fetch("SELECT removed FROM erasure")
    assert json.loads(row["removed"])["households"] == 1


async def test_a_dry_run_says_the_same_and_changes_nothing(world: World) -> None:
    told = await tell(world)
    before = await everything_decrypted(world)
    settings, database, now = world.state.settings, world.state.database, world.clock.now()
    asked = Asked("household", told.house, "本人申请", "admin")
    trial = await erase(Erasing(database, settings, now, dry_run=True), asked)
    assert await everything_decrypted(world) == before
    done: Done = await erase(Erasing(database, settings, now), asked)
    assert done.removed == trial.removed


async def test_the_answer_names_what_still_holds_the_data(world: World) -> None:
    told = await tell(world)
    world.state.settings.backups_kept = "35 天"
    remains = (await erase_house(world, told.house))["remains"]
    assert {"备份和 WAL 归档", "不再同步的手机"} <= {item["where"] for item in remains}
    assert [item["until"] for item in remains if item["where"].startswith("备份")] == ["35 天"]


async def test_only_an_administrator_of_the_unit_may_and_it_is_in_the_trail_without_a_name(
    world: World,
) -> None:
    told = await tell(world)
    for staff_code, status in ((WORKER, 403), (SECRETARY, 403), (SUPERVISOR, 403)):
        refused = await world.post(
            f"/v1/households/{told.house}/erasure", {"reason": "x"}, staff_code
        )
        assert refused.status_code == status, refused.text
    assert (
        await world.post(f"/v1/households/{told.phone.new_id()}/erasure", {"reason": "x"}, "admin")
    ).status_code == 404
    await erase_house(world, told.house)
    lines = (await world.get("/v1/audit?action=household-erased", "admin")).json()["items"]
    assert [(line["staff_code"], line["subjects"]) for line in lines] == [("admin", [told.house])]


async def test_a_reason_that_names_the_person_is_refused(world: World) -> None:
    told = await tell(world)
    refused = await world.post(
        f"/v1/households/{told.house}/erasure", {"reason": f"{NAME} 的申请"}, "admin"
    )
    assert (refused.status_code, NAME in refused.text) == (422, False)


# ------------------------------------------------------------------------------------------ a cadre


async def test_no_column_of_any_table_holds_a_trace_of_an_erased_cadre(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1))
    await world.fetch("UPDATE cadre SET name = '独一无二的名字' WHERE staff_code = $1", WORKER)
    headers = {"Authorization": f"Bearer {await world.token('admin')}"}
    await world.client.patch(f"/v1/cadres/{WORKER}", json={"phone": "13877776666"}, headers=headers)
    await world.fetch("UPDATE device SET name = '独一无二的手机' WHERE staff_code = $1", WORKER)
    fields = {"title": "t", "duty": "emergency"}
    worker = {"Authorization": f"Bearer {await world.token(WORKER)}", "Idempotency-Key": "k"}
    assert (
        await world.client.post(
            "/v1/problems", json={"grid": GRID, "fields": fields}, headers=worker
        )
    ).status_code == 201
    gone = ("独一无二的名字", "13877776666", "独一无二的手机")
    before = await everything_decrypted(world)
    assert all(text in before for text in gone)
    done = await world.post(f"/v1/cadres/{WORKER}/erasure", {"reason": "离职申请"}, "admin")
    assert done.status_code == 200, done.text
    after = await everything_decrypted(world)
    assert [text for text in gone if text in after] == []
    own = {"Authorization": f"Bearer {await world.token('admin')}", "Idempotency-Key": "e"}
    path, reason = f"/v1/cadres/{WORKER}/erasure", {"reason": "离职申请"}
    assert (await world.client.post(path, json=reason, headers=own)).status_code == 200
    assert (
        await world.post(path, reason, "admin")
    ).status_code == 200  # which empties the answer kept with the key
    replayed = await world.client.post(path, json=reason, headers=own)
    assert (replayed.status_code, replayed.json()["type"], replayed.json()["first_status"]) == (
        409,
        "/problems/not-now",
        200,
    )
    [row] = await world.fetch(
        "SELECT name, phone, password FROM cadre WHERE staff_code = $1", WORKER
    )
    assert tuple(row) == (ERASED, "", None)
    assert await world.fetch("SELECT FROM refresh_token WHERE staff_code = $1", WORKER) == []
    again = await world.post(f"/v1/cadres/{WORKER}/erasure", {"reason": "离职申请"}, "admin")
    assert again.json()["repeated"]


async def test_answers_about_others_whose_code_begins_alike_are_kept(world: World) -> None:
    """`…-10` is not `…-1`, and a supervisor's code is the beginning of others'."""
    longer = SECRETARY + "0"
    await world.fetch(
        "INSERT INTO cadre SELECT $1, '另一人', '', false, NULL, false FROM cadre"
        " WHERE staff_code = $2",
        longer,
        SECRETARY,
    )
    async with world.state.database.transaction() as connection:
        cipher = await cipher_of(connection, world.state.settings)
        for key, code in (("own", SECRETARY), ("other", longer)):
            body = cipher.encrypt(
                answer_place("admin", key), json.dumps({"staff_code": code, "name": "x"})
            )
            await connection.execute(
                "INSERT INTO idempotency (caller, key, request, at, status, body)"
                " VALUES ('admin', $1, '', $2, 200, $3)",
                key,
                world.clock.now(),
                body,
            )
    done = await world.post(f"/v1/cadres/{SECRETARY}/erasure", {"reason": "离职申请"}, "admin")
    assert done.json()["removed"]["kept answers"] == 1, done.text
    kept = {
        row["key"]: row["body"]
        for row in await world.fetch("SELECT key, body FROM idempotency WHERE caller = 'admin'")
    }
    plain = {key: cipher.shown(answer_place("admin", key), body) for key, body in kept.items()}
    assert longer in plain["other"]
    assert SECRETARY not in plain["own"]


async def test_an_erased_cadre_has_no_access_and_the_counts_stay(world: World) -> None:
    phone = world.wire()
    visit = phone.mutation(1, fields={"visited_at": world.clock.now().isoformat(), "content": "x"})
    assert (await phone.send(visit)).json()["verdicts"][0]["outcome"] == "applied"
    table = {"unit": VILLAGE, "week": "2026-W47"}
    before = (await world.get("/v1/summaries/weekly", SECRETARY, **table)).json()["totals"]
    await world.post(f"/v1/cadres/{WORKER}/erasure", {"reason": "离职申请"}, "admin")
    world.clock.forward(seconds=10)
    assert (await phone.send()).status_code in (401, 403)
    form = {"grant_type": "password", "username": WORKER, "password": "gridloop-demo"}
    assert (await world.client.post("/v1/auth/token", data=form)).status_code == 401
    assert (await world.get("/v1/summaries/weekly", SECRETARY, **table)).json()["totals"] == before


async def test_nobody_erases_the_own_account(world: World) -> None:
    assert (
        await world.post("/v1/cadres/admin/erasure", {"reason": "x"}, "admin")
    ).status_code == 403


def test_the_command_asks_and_says_what_went(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    from service.cli.app import app

    monkeypatch.setenv("GRIDLOOP_DATABASE_URL", database_url)
    runner = CliRunner()
    refused = runner.invoke(app, ["erase", "cadre", WORKER, "--reason", "离职申请"], input="n\n")
    assert refused.exit_code == 1
    trial = runner.invoke(app, ["erase", "cadre", WORKER, "--reason", "离职申请", "--dry-run"])
    assert trial.exit_code == 0, trial.output
    assert "would be removed" in trial.output
    done = runner.invoke(app, ["erase", "cadre", WORKER, "--reason", "离职申请", "--yes"])
    assert done.exit_code == 0, done.output
    assert "accounts" in done.output
    assert "backups" in done.output
    missing = runner.invoke(app, ["erase", "cadre", "NOBODY", "--reason", "x", "--yes"])
    assert missing.exit_code == 1, missing.output
    assert "NOBODY" in missing.output


async def test_the_last_administrator_of_a_unit_is_not_erased(world: World) -> None:
    at = Erasing(world.state.database, world.state.settings, world.clock.now())
    asked = Asked("cadre", "admin", "x", "command line")
    for trial in (at, at._replace(dry_run=True)):
        with pytest.raises(Problem, match="last administrator"):
            await erase(trial, asked)
    assert (
        await world.fetch(
            "SELECT password IS NOT NULL AS kept FROM cadre WHERE staff_code = 'admin'"
        )
    )[0]["kept"]
    # One below does not do, one at the same unit does.
    post = (
        "INSERT INTO post (id, staff_code, role, unit, valid_from) SELECT gen_random_uuid(),"
        " $1, role, {}, valid_from FROM post WHERE"
    )
    await world.fetch(post.format("'150202'") + " staff_code = 'admin'", SUPERVISOR)
    with pytest.raises(Problem, match="last administrator"):
        await erase(at, asked)
    await world.fetch(post.format("unit") + " staff_code = 'admin'", SECRETARY)
    assert (await erase(at, Asked("cadre", SUPERVISOR, "x", "command line"))).completed_at
    assert (await erase(at, asked)).completed_at


async def test_nothing_is_put_into_an_erased_account_again(world: World) -> None:
    admin = {"Authorization": f"Bearer {await world.token('admin')}"}
    erased = await world.client.post(
        f"/v1/cadres/{WORKER}/erasure", json={"reason": "x"}, headers=admin
    )
    assert erased.status_code == 200, erased.text
    path = f"/v1/cadres/{WORKER}"
    for method, where, body in (
        ("PUT", f"{path}/password", {"password": "纸船 钟表 麦田 九月"}),
        ("POST", f"{path}/recovery-code", None),
        ("PATCH", path, {"name": "某人", "phone": "13800000000"}),
    ):
        answer = await world.client.request(method, where, json=body, headers=admin)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-now"), (
            answer.text
        )
        assert "was erased" in answer.json()["detail"]
    [row] = await world.fetch(
        "SELECT name, phone, password FROM cadre WHERE staff_code = $1", WORKER
    )
    assert tuple(row) == ("（已删除）", "", None)
    assert await world.fetch("SELECT FROM one_time_code") == []


async def test_a_correction_that_meets_an_erasure_does_not_outlive_it(world: World) -> None:
    at = Erasing(world.state.database, world.state.settings, world.clock.now())
    async with world.state.database.transaction() as connection:
        await refuse_erased(connection, WORKER)
        erasing = asyncio.create_task(erase(at, Asked("cadre", WORKER, "x", "command line")))
        async with asyncio.timeout(10):
            while not await world.fetch("SELECT FROM erasure"):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)
        await connection.execute("UPDATE cadre SET name = '某人' WHERE staff_code = $1", WORKER)
    await erasing
    [row] = await world.fetch("SELECT name FROM cadre WHERE staff_code = $1", WORKER)
    assert row["name"] == "（已删除）"
