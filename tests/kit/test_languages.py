"""Texts come in the language that a request asks for: errors in English if it does not say, texts
for the field in Chinese.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.kit.encrypted_values import held_place
from service.kit.encryption_queries import cipher_of
from service.kit.localization import asked_for, in_language
from service.kit.settings import Settings
from service.kit.validation_errors import form_in_words
from service.writes.merge_rule_texts import shown_rule
from simulator.places import PASSWORD, SUPERVISOR
from sync_protocol import merge, moves
from tests.world import GRID, SECRETARY, WORKER, World

ZH, EN = (
    {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"},
    {"Accept-Language": "en-GB,en;q=0.9,zh;q=0.1"},
)
UNKNOWN = "服务器还不认识“telegram”这种记录。"
UNKNOWN_EN = "This server does not know records of kind ‘telegram’ yet."


async def as_cadre(world: World, staff_code: str = SUPERVISOR, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {await world.token(staff_code)}", **more}


async def test_errors_are_english_unless_the_request_asks_for_chinese(world: World) -> None:
    plain = await world.client.get("/v1/problems")
    assert (plain.json()["title"], plain.headers["Content-Language"]) == (
        "A bearer token is needed",
        "en",
    )
    chinese = await world.client.get("/v1/problems", headers=ZH)
    assert chinese.json()["title"] == "需要访问令牌"
    assert "访问令牌" in chinese.json()["detail"]
    assert chinese.headers["Content-Language"] == "zh"
    assert "Accept-Language" in chinese.headers["Vary"]
    other = await world.client.get("/v1/problems", headers={"Accept-Language": "mn"})
    assert other.json() == plain.json()
    assert plain.json()["type"] == chinese.json()["type"]


async def test_the_sync_answers_errors_in_the_language_asked_for(world: World) -> None:
    for headers, title in ((ZH, "需要访问令牌"), (EN, "A bearer token is needed")):
        response = await world.client.post("/v1/sync", json={}, headers=headers)
        assert (response.json()["title"], response.headers["Content-Language"]) == (
            title,
            headers["Accept-Language"][:2],
        )
        assert "Accept-Language" in response.headers["Vary"]


async def test_what_is_wrong_with_a_request_is_said_in_chinese(world: World) -> None:
    headers = await as_cadre(world)
    body: dict[str, Any] = {"grid": GRID}
    response = await world.client.post("/v1/problems", json=body, headers=headers | ZH)
    assert response.json()["errors"] == [{"where": "body.fields", "what": "缺少这一项"}]
    assert response.json()["detail"] == "body.fields：缺少这一项。"
    assert (await world.client.post("/v1/problems", json=body, headers=headers)).json()[
        "detail"
    ] == "body.fields: Field required."
    limit = await world.client.get("/v1/problems?limit=0", headers=headers | ZH)
    assert limit.json()["detail"] == "query.limit：不能小于 1。"


@pytest.mark.parametrize(("headers", "detail"), [({}, UNKNOWN), (ZH, UNKNOWN), (EN, UNKNOWN_EN)])
async def test_why_a_mutation_is_held_is_said_in_chinese_unless_the_phone_asks_for_english(
    world: World, headers: dict[str, str], detail: str
) -> None:
    phone = world.wire()
    mutation = phone.mutation(1, "telegram")
    world.client.headers.update(headers)
    for _ in range(2):  # the second time it is a duplicate, told from what was kept
        answer = (await phone.send(mutation)).json()
        assert answer["verdicts"][0]["detail"] == detail
    assert [
        change["fields"]["detail"] for change in answer["changes"] if change["kind"] == "held"
    ] in ([detail], [])
    pulled = (await phone.send(cursor=None)).json()["changes"]
    assert [change["fields"]["detail"] for change in pulled if change["kind"] == "held"] == [detail]
    [item] = (await world.client.get("/v1/held", headers=await as_cadre(world))).json()["items"]
    assert item["detail"] == detail


async def test_what_was_held_before_there_were_two_languages_is_shown_as_it_was_kept(
    world: World,
) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, "telegram"))
    await world.fetch(
        "UPDATE server SET encryption = 'writing'"
    )  # not all of it is in the present form yet
    await world.fetch("UPDATE held SET detail = $1", UNKNOWN_EN)
    [item] = (await world.client.get("/v1/held", headers=await as_cadre(world, WORKER))).json()[
        "items"
    ]
    assert item["detail"] == UNKNOWN_EN
    await world.fetch("UPDATE held SET detail = 'There is no grid ‘7’.'")
    [item] = (await world.client.get("/v1/held", headers=await as_cadre(world, WORKER))).json()[
        "items"
    ]
    assert item["detail"] == "There is no grid ‘7’."


async def test_why_a_mutation_is_held_is_kept_encrypted_with_what_stands_in_it(
    world: World,
) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, "telegram"))
    [row] = await world.fetch("SELECT id::text, detail FROM held")
    assert "telegram" not in row["detail"]
    async with world.state.database.reading() as connection:
        cipher = await cipher_of(connection, world.state.settings)
    kept = json.loads(cipher.decrypt(held_place(row["id"], "detail"), row["detail"]))
    assert kept == {
        "text": "This server does not know records of kind ‘{kind}’ yet.",
        "params": {"kind": "telegram"},
    }


async def test_beside_processes_of_the_previous_release_a_sentence_is_kept_that_they_can_show(
    world: World,
) -> None:
    await world.fetch("UPDATE server SET encryption = 'compatible'")
    phone = world.wire()
    await phone.send(phone.mutation(1, "telegram"))
    assert [row["detail"] for row in await world.fetch("SELECT detail FROM held")] == [UNKNOWN_EN]


ODD = {
    "half a character": "a\ud800",
    "U+0000": "a\0",
    "too deep": json.loads("[" * 21 + "]" * 21),
    "too large": 2**70,
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
async def test_why_odd_input_is_held_is_said_in_chinese(world: World, value: Any) -> None:
    phone = world.wire()
    mutation = phone.mutation(1)
    mutation["fields"]["odd"] = value
    body = {
        "protocol": 1,
        "sent_at": world.clock.now().isoformat(),
        "cursor": None,
        "limit": 500,
        "queued": 0,
        "mutations": [mutation],
    }
    [verdict] = (await phone.post(json.dumps(body).encode())).json()["verdicts"]
    assert (verdict["outcome"], has_chinese(verdict["detail"])) == ("held", True)


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        (
            "POST",
            "/v1/auth/token",
            {"data": {"grant_type": "password", "username": WORKER, "password": "wrong"}},
        ),
        (
            "POST",
            "/v1/auth/token",
            {"data": {"grant_type": "refresh_token", "refresh_token": "none"}},
        ),
        ("GET", "/v1/problems?form=2026-11", {}),
        ("GET", "/v1/problems", {"headers": {"Authorization": "Bearer no.jwt.this"}}),
        ("POST", "/v1/problems", {"json": {"grid": GRID, "fields": {"titel": "x"}}}),
        ("POST", "/v1/problems", {"json": {"grid": GRID, "fields": {}, "more": 1}}),
        (
            "POST",
            "/v1/problems",
            {"content": b'{"grid": "\\ud800"}', "headers": {"Content-Type": "application/json"}},
        ),
        ("POST", "/v1/auth/password", {"json": {"password": PASSWORD, "new_password": "12345678"}}),
        ("DELETE", f"/v1/cadres/{SECRETARY}/otp", {}),
    ],
)
async def test_errors_of_sign_in_and_of_unknown_input_come_in_chinese(
    world: World, method: str, path: str, more: dict[str, Any]
) -> None:
    headers = await as_cadre(world, SECRETARY, **ZH) | more.pop("headers", {})
    response = await world.client.request(method, path, headers=headers, **more)
    assert 400 <= response.status_code < 500
    assert has_chinese(response.json()["title"])
    assert has_chinese(response.json()["detail"])


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/audit?from=2026-13-01", "2026-11-24"),
        ("/v1/audit?from=x", "2026-11-24"),
        ("/v1/audit?action=Signed_In", "signed-in"),
        ("/v1/cadres?role=boss", "grid_worker"),
        ("/v1/problems?severity=x", "urgent"),
        ("/v1/households/123", "UUID"),
        ("/v1/units?parent=x", "150202100"),
    ],
)
async def test_what_a_value_should_look_like_is_said_in_words(
    world: World, path: str, wanted: str
) -> None:
    for more in (ZH, EN):
        response = await world.client.get(path, headers=await as_cadre(world, "admin", **more))
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid"), (
            response.text
        )
        detail = response.json()["detail"]
        assert wanted in detail
        assert not {*"^$\\*[{"} & {*detail}, detail
        assert has_chinese(detail) == (more is ZH)
        assert more is EN or "（" not in detail


def patterns_in(document: Any) -> Iterator[str]:
    """Every pattern of a JSON document's schemas."""
    for item in (
        document.values()
        if isinstance(document, dict)
        else document
        if isinstance(document, list)
        else ()
    ):
        yield from patterns_in(item)
    if isinstance(document, dict) and isinstance(document.get("pattern"), str):
        yield document["pattern"]


def test_every_pattern_that_a_client_or_an_operator_can_meet_has_its_words() -> None:
    found = {
        *patterns_in(create_app(Settings(open_metrics=True)).openapi()),
        *patterns_in(Settings.model_json_schema()),
    }
    assert len(found) > 15
    for pattern in found:
        words = form_in_words(pattern)
        assert "the form that is wanted here" not in words, pattern
        assert pattern not in words
        assert has_chinese(in_language(words, "zh"))


async def test_the_rule_of_a_conflict_is_said_in_the_language_asked_for(world: World) -> None:
    one, two = world.wire(), world.wire(SECRETARY)
    house = one.new_id()
    await one.send(one.mutation(1, "household", id=house, fields={"head_name": "苏和"}))
    for number, phone in enumerate((one, two), 2):
        world.clock.forward(minutes=1)
        await phone.send(
            phone.mutation(
                number if phone is one else 1,
                "household",
                id=house,
                base=0,
                fields={"phone": str(number)},
            )
        )
    for headers, words in (
        (ZH, "保留时间较晚的"),
        (EN, "the later stamp stays"),
        ({}, "the later stamp stays"),
    ):
        bearer = await as_cadre(world, SECRETARY, **headers)
        [item] = (await world.client.get("/v1/conflicts", headers=bearer)).json()["items"]
        name, _, said = item["rule"].partition(": ")
        assert (name, said.startswith(words)) == ("latest", True), item
        history = (await world.client.get(f"/v1/history/household/{house}", headers=bearer)).json()[
            "items"
        ]
        assert item["rule"] in [
            lost["rule"] for entry in history for lost in entry.get("lost") or ()
        ]
    # A phone reads it in the verdict, the first time and again.
    edit = one.mutation(3, "household", id=house, base=0, fields={"phone": "7"})
    for headers, words in (
        (ZH, "保留时间较晚的"),
        (EN, "the later stamp stays"),
        ({}, "the later"),
    ):
        body = {
            "protocol": 1,
            "sent_at": world.clock.now().isoformat(),
            "cursor": one.cursor,
            "limit": 500,
            "queued": 0,
            "mutations": [edit],
        }
        token = {"Authorization": f"Bearer {await world.token(WORKER, one.device)}"}
        answer = await world.client.post("/v1/sync", json=body, headers=token | headers)
        [conflict] = answer.json()["verdicts"][0]["conflicts"]
        name, _, said = conflict["rule"].partition(": ")
        assert (name, said.startswith(words)) == ("latest", True), conflict


def test_every_rule_of_the_merge_has_its_words() -> None:
    source = "".join(Path(str(module.__file__)).read_text() for module in (merge, moves))
    found = {*re.findall(r'"(?:\{[\w.]+\}|\w+): ([^"]+)"', source)}
    assert len(found) >= 5
    assert [words for words in found if not has_chinese(in_chinese(words))] == []


def in_chinese(words: str) -> str:
    token = asked_for.set("zh")
    try:
        return shown_rule(f"latest: {words}")
    finally:
        asked_for.reset(token)


async def test_what_an_erasure_removed_is_named_in_the_language_of_what_remains(
    world: World,
) -> None:
    for headers, label in ((ZH, "账号"), (EN, "accounts")):
        bearer = await as_cadre(world, "admin", **headers)
        answer = (
            await world.client.post(
                f"/v1/cadres/{WORKER}/erasure", json={"reason": "x"}, headers=bearer
            )
        ).json()
        assert answer["removed"].keys() == answer["labels"].keys()
        assert answer["labels"]["accounts"] == label
        assert has_chinese(answer["remains"][0]["where"]) == (headers is ZH)


async def test_a_path_stands_apart_from_the_words_around_it(world: World) -> None:
    response = await world.client.get("/v1/problems?x=1", headers=await as_cadre(world, **ZH))
    assert response.json()["detail"].startswith("GET /v1/problems 没有查询参数")


def has_chinese(text: str) -> bool:
    return any("一" <= sign <= "鿿" for sign in text)
