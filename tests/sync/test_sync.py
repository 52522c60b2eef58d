"""The sync endpoint end to end: phones, the app, PostgreSQL."""

import gzip

import pytest

from tests.world import GRID, SECRETARY, WORKER, World


async def test_what_one_phone_writes_offline_another_reads(world: World) -> None:
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    visit = worker.put(
        "visit", {"visited_at": "2026-11-20T09:00:00+08:00", "content": "看望独居老人"}, grid=GRID
    )

    await worker.sync()
    await secretary.sync()

    [seen] = secretary.records("visit")
    assert (seen.id, seen.fields["content"], seen.by) == (visit, "看望独居老人", WORKER)


async def test_a_pending_edit_shows_over_the_pulled_record(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    house = phone.records("household", GRID)[0]
    phone.put("household", {"members": 9}, grid=GRID, id=house.id)
    shown = next(view for view in phone.records("household") if view.id == house.id)
    assert shown.pending
    assert shown.fields == {**house.fields, "members": 9}


async def test_a_forged_or_foreign_cursor_counts_as_none(world: World) -> None:
    phone, other = world.wire(), world.wire()
    full = (await phone.send()).json()["changes"]
    await other.send()
    for cursor in ("nonsense", "AAAA", other.cursor, (phone.cursor or "")[:-2] + "xx", "é"):
        phone.cursor = cursor
        assert (await phone.send()).json()["changes"] == full


async def test_mongolian_names_survive_the_round_trip(world: World) -> None:
    name = "ᠪᠠᠲᠤ\u202fᠶᠢᠨ\u180e\u180b"
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    house = worker.put("household", {"head_name": "\u3000" + name + " "}, grid=GRID)
    await worker.sync()
    await secretary.sync()
    assert (
        next(view for view in secretary.records("household") if view.id == house).fields[
            "head_name"
        ]
        == name
    )


AWKWARD = (
    "\\N",
    "\\.",
    "a\tb\nc\r\nd",
    'C:\\new "x"',
    "{a,b}",
    "NULL",
    "'; --",
    "\x1e\x7f",
    "末尾\\",
)


async def test_no_text_is_taken_for_syntax_on_its_way(world: World) -> None:
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    new, edited = {}, {}
    for text in AWKWARD:
        fields = {
            "visited_at": "2026-11-20T01:00:00.000Z",
            "content": text,
            "people_met": {"add": [text]},
            "weather": text,
        }
        new[worker.put("visit", fields, grid=GRID)] = text
        edited[worker.put("visit", {"visited_at": "2026-11-20T01:00:00.000Z"}, grid=GRID)] = text
    await worker.sync()
    for id, text in edited.items():
        worker.put(
            "visit",
            {"content": text, "people_met": {"add": [text]}, "weather": text},
            grid=GRID,
            id=id,
        )
    await worker.sync()
    await secretary.sync()
    seen = {view.id: view.fields for view in secretary.records("visit")}
    for id, text in (new | edited).items():
        assert (seen[id]["content"], seen[id]["people_met"], seen[id]["weather"]) == (
            text,
            [text],
            text,
        )


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"{", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b'{"protocol": 1}', 422, "invalid"),
        (b'{"protocol": "one", "sent_at": "2026-11-20T10:00:00+08:00"}', 422, "invalid"),
        (b'{"protocol": 1, "sent_at": "2026-11-20T10:00:00"}', 422, "invalid"),
        (
            b'{"protocol": 1, "sent_at": "2026-11-20T10:00:00+08:00", "mutations": [{"kind":'
            b' "visit"}]}',
            422,
            "invalid",
        ),
        (b'{"protocol": 1, "sent_at": "2026-11-20T10:00:00+08:00", "limit": 0}', 422, "invalid"),
        (b" " * (2 * 1024 * 1024 + 1), 413, "too-large"),
        (b"[" * 100_000, 400, "malformed"),
    ],
)
async def test_a_broken_envelope_is_refused_whole(
    world: World, body: bytes, status: int, slug: str
) -> None:
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
