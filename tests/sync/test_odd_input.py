"""Odd input neither stops a phone nor a page: whatever is sent, nothing fails for anybody, and
nothing that anyone wrote is lost.
"""

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.inbox.retry_held import release_overdue
from sync_protocol import clock as clocks
from sync_protocol import ids
from sync_protocol.limits import MAX_MUTATION_BYTES, MAX_UNKNOWN_BYTES
from tests.guarantees.test_02_held import held_of
from tests.world import GRID, SECRETARY, WORKER, WirePhone, World

AT = "2026-11-20T09:00:00+08:00"
HALF = "\ud83d"


async def push(phone: WirePhone, *mutations: Any, raw: str | None = None, **envelope: Any) -> Any:
    """Sends what no client library would let through; `raw` stands in place of the mutations'
    text.
    """
    world = phone.world
    body: dict[str, Any] = {
        "protocol": 1,
        "sent_at": world.clock.now().isoformat(),
        "cursor": phone.cursor,
        "limit": 500,
        "queued": 0,
    }
    text = json.dumps(body | {"mutations": list(mutations)} | envelope)
    if raw is not None:
        text = text.replace('"mutations": []', f'"mutations": [{raw}]')
    response = await phone.post(text.encode())
    if response.status_code == 200:
        phone.cursor = response.json()["cursor"]
    return response


async def verdicts_of(
    phone: WirePhone, *mutations: Any, raw: str | None = None
) -> list[tuple[str, str | None]]:
    response = await push(phone, *mutations, raw=raw)
    assert response.status_code == 200, response.text
    return [(verdict["outcome"], verdict.get("reason")) for verdict in response.json()["verdicts"]]


async def everything_reads(world: World) -> None:
    """Every list, and a phone that pulls all."""
    for path in (
        "/v1/held",
        "/v1/conflicts",
        "/v1/visits",
        "/v1/households",
        "/v1/problems",
        "/v1/devices",
        "/v1/analyses?week=2026-W47",
    ):
        response = await world.get(path)
        assert response.status_code == 200, (path, response.text)
    for staff_code in (WORKER, SECRETARY):
        assert (await world.wire(staff_code).send(limit=5000)).status_code == 200
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) >= 0


def nested(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


# ----------------------------------------------------------------------------------------- the sync


@pytest.mark.parametrize("member", ["kind", "id", "grid", "op", "stamp", "epoch", "base_grid"])
@pytest.mark.parametrize("odd", [HALF, "a\0b"])
async def test_an_odd_text_in_a_mutation_is_held_and_the_same_on_every_retry(
    world: World, member: str, odd: str
) -> None:
    phone = world.wire()
    bad, good = phone.mutation(1, **{member: odd}), phone.mutation(2)
    [first, second] = await verdicts_of(phone, bad, good)
    assert (first[0], second) == ("held", ("applied", None))
    assert first[1] in ("unreadable", "kind-unknown")
    assert [outcome for outcome, _ in await verdicts_of(phone, bad, good)] == [
        "duplicate",
        "duplicate",
    ]
    await everything_reads(world)
    [item] = await held_of(world, WORKER)
    assert item["normalised"] is True
    assert "�" in item["mutation"][member]
    original = await world.get(f"/v1/held/{item['id']}/original", WORKER)
    assert json.loads(original.text)[member] == odd


async def test_half_a_character_in_an_epoch_does_not_stop_the_release_of_others(
    world: World,
) -> None:
    phone, maker = world.wire(), world.wire(SECRETARY)
    household = maker.mutation(1, "household", fields={"head_name": "王秀兰"})
    waiting = {"visited_at": AT, "household_id": household["id"]}
    await push(
        phone, phone.mutation(1, epoch=HALF, fields=waiting), phone.mutation(2, fields=waiting)
    )
    assert await world.fetch("SELECT FROM held WHERE waits_for IS NULL")
    await maker.send(household)
    assert await release_overdue(world.state.database, world.state.settings, world.clock.now()) == 0
    [visit] = await world.fetch("SELECT household_id::text FROM visit")
    assert visit["household_id"] == household["id"]


@pytest.mark.parametrize("member", ["cursor", "again"])
async def test_an_odd_text_in_the_envelope_is_refused_or_passed_over_but_never_fails(
    world: World, member: str
) -> None:
    phone = world.wire()
    for odd in (HALF, "a\0b"):
        envelope: dict[str, Any] = {member: [odd] if member == "again" else odd}
        response = await push(phone, phone.mutation(1), **envelope)
        assert response.status_code in (200, 422), response.text
    assert (await push(phone, phone.mutation(2), queued=float("nan"))).status_code == 422
    verify = {"grids": [{"grid": HALF, "rev": 1, "count": 1, "digest": "0" * 16}]}
    assert (await phone.post(json.dumps(verify).encode(), "/v1/sync/verify")).status_code == 422


@pytest.mark.parametrize(
    "value",
    [
        "1e400",
        "-1e400",
        "9" * 400,
        "9" * 5000,
        nested(300),
        nested(950),
        nested(50_000),
        '"\\ud83d"',
        '"\\u0000"',
    ],
)
async def test_an_odd_unknown_field_is_held_whole_and_shown_normalised(
    world: World, value: str
) -> None:
    phone = world.wire()
    bad = json.dumps(phone.mutation(1, fields={"visited_at": AT, "mood": "VALUE"})).replace(
        '"VALUE"', value
    )
    good = json.dumps(phone.mutation(2))
    verdicts = await verdicts_of(phone, raw=f"{bad}, {good}")
    assert verdicts[0][0] == "held"
    assert verdicts[0][1] in ("fields-wrong", "too-large")
    assert verdicts[1] == ("applied", None)
    assert (await verdicts_of(phone, raw=f"{bad}, {good}"))[0][0] == "duplicate"
    await everything_reads(world)
    [item] = await held_of(world)
    assert item["normalised"] is True
    assert item["mutation"]["fields"]["visited_at"] == AT
    original = (await world.get(f"/v1/held/{item['id']}/original", SECRETARY)).text
    assert value in original


async def test_who_may_not_decide_does_not_get_the_original(world: World) -> None:
    phone = world.wire()
    await push(phone, phone.mutation(1, kind=HALF))
    [item] = await held_of(world)
    path = f"/v1/held/{item['id']}/original"
    assert (await world.get(path, WORKER)).status_code == 200
    assert (await world.get(path, SECRETARY)).status_code == 200
    assert (await world.get(path, f"W{GRID[:-1]}2-1")).status_code == 404


async def test_a_mutation_over_its_limit_is_held_with_a_copy_within_it(world: World) -> None:
    phone = world.wire()
    long = "长" * 200_000
    bad = phone.mutation(1, fields={"visited_at": AT, "content": long})
    assert await verdicts_of(phone, bad, phone.mutation(2)) == [
        ("held", "too-large"),
        ("applied", None),
    ]
    [item] = await held_of(world)
    assert len(json.dumps(item["mutation"], ensure_ascii=False).encode()) <= MAX_MUTATION_BYTES
    assert item["mutation"]["fields"]["content"].startswith("长长")
    assert (
        json.loads((await world.get(f"/v1/held/{item['id']}/original", SECRETARY)).text)["fields"][
            "content"
        ]
        == long
    )
    assert (await world.post(f"/v1/held/{item['id']}/release", {}, SECRETARY)).json()[
        "outcome"
    ] == "held"
    fields = {"visited_at": AT, "content": "短"}
    assert (
        await world.post(f"/v1/held/{item['id']}/release", {"fields": fields}, SECRETARY)
    ).json()["outcome"] == "applied"


async def test_unknown_fields_are_bounded_for_the_record_however_many_mutations_bring_them(
    world: World,
) -> None:
    phone = world.wire()
    half = "x" * (MAX_UNKNOWN_BYTES // 2)
    visit = phone.mutation(1, fields={"visited_at": AT, "one": half})
    assert await verdicts_of(phone, visit) == [("applied", None)]
    assert await verdicts_of(
        phone, phone.mutation(2, id=visit["id"], base=9, fields={"two": half})
    ) == [("held", "too-large")]
    assert await verdicts_of(
        phone, phone.mutation(3, id=visit["id"], base=9, fields={"one": None})
    ) == [("applied", None)]
    assert await verdicts_of(
        phone, phone.mutation(4, id=visit["id"], base=9, fields={"two": half})
    ) == [("applied", None)]
    assert await verdicts_of(
        phone, phone.mutation(5, fields={"visited_at": AT, "big": half * 2})
    ) == [("held", "too-large")]


async def test_a_held_id_that_is_none_stays_held_when_it_is_released(world: World) -> None:
    phone = world.wire()
    await push(phone, phone.mutation(1, id="abc"))
    [item] = await held_of(world)
    answer = await world.post(f"/v1/held/{item['id']}/release", {}, SECRETARY)
    assert (answer.status_code, answer.json()["outcome"], answer.json()["reason"]) == (
        200,
        "held",
        "unreadable",
    )
    await everything_reads(world)


async def test_what_could_not_be_read_is_never_taken_for_a_field(world: World) -> None:
    """A release as it stands applies nothing; with corrected fields it does."""
    phone = world.wire()
    house = phone.mutation(1, "household", fields={"head_name": "苏和"})
    bad = phone.mutation(2, "household", id=house["id"], fields=["phone", "13800000000"])
    assert [outcome for outcome, _ in await verdicts_of(phone, house, bad)] == ["applied", "held"]
    [item] = await held_of(world, SECRETARY)
    path = f"/v1/held/{item['id']}/release"
    assert (await world.post(path, {}, SECRETARY)).json()["outcome"] == "held"
    as_shown = {"fields": item["mutation"]["fields"]}
    assert (await world.post(path, as_shown, SECRETARY)).json()["outcome"] == "held"
    assert (await world.post(path, {"fields": {"phone": "13800000000"}}, SECRETARY)).json()[
        "outcome"
    ] in ("applied", "merged")
    [row] = await world.fetch("SELECT extra FROM household WHERE id = $1", house["id"])
    assert row["extra"] is None


async def test_bombs_are_refused_once_a_device_has_used_its_share(world: World) -> None:
    """40 pushes of 2 KB gzip, 76 MB as they are kept: the quota says no, with what to do, and
    nothing is acknowledged.
    """
    world.state.settings.held_quota_bytes = 300_000
    phone, other = world.wire(), world.wire(SECRETARY)
    big = "a" * 60_000
    acked = 0
    refused: Any = None
    for seq in range(1, 41):
        body = {
            "protocol": 1,
            "sent_at": world.clock.now().isoformat(),
            "mutations": [phone.mutation(seq, kind="song", fields={"x": big})],
        }
        token = await world.token(WORKER, phone.device)
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Encoding": "gzip",
            "Content-Type": "application/json",
        }
        response = await world.client.post(
            "/v1/sync", content=gzip.compress(json.dumps(body).encode()), headers=headers
        )
        if response.status_code == 429:
            refused = response
            break
        acked = response.json()["acked"]
    assert refused is not None
    assert refused.json()["type"] == "/problems/held-quota"
    assert "GET /v1/held" in refused.json()["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    [size] = await world.fetch(
        "SELECT sum(size) AS size, sum(octet_length(body::text)) AS kept FROM held"
    )
    assert size["kept"] <= size["size"] <= 300_000
    [device] = await world.fetch("SELECT acked_seq FROM device WHERE id = $1", phone.device)
    assert device["acked_seq"] == acked
    assert await verdicts_of(other, other.mutation(1)) == [("applied", None)]
    # What is good goes on, and what was decided counts no more.
    assert await verdicts_of(phone, phone.mutation(acked + 1)) == [("applied", None)]
    for item in await held_of(world):
        assert (
            await world.post(f"/v1/held/{item['id']}/discard", {"reason": "x"}, SECRETARY)
        ).status_code == 200
    assert await verdicts_of(phone, phone.mutation(acked + 2, kind="song", fields={"x": big})) == [
        ("held", "kind-unknown")
    ]


async def test_only_the_exchange_over_its_quota_fails_of_those_that_commit_together(
    world: World,
) -> None:
    world.state.settings.held_quota_bytes = 100_000
    bad, good = world.wire(), [world.wire(SECRETARY) for _ in range(4)]
    big = bad.mutation(1, kind="song", fields={"x": "a" * 60_000})
    assert (await bad.send(big)).status_code == 200
    over = bad.send(big | {"seq": 2})
    answers = await asyncio.gather(over, *(phone.send(phone.mutation(1)) for phone in good))
    assert [answer.status_code for answer in answers] == [429, 200, 200, 200, 200]


async def test_whole_numbers_may_come_as_floats_everywhere(world: World) -> None:
    phone = world.wire()
    house = phone.mutation(1, "household", fields={"head_name": "苏和", "members": 31.0})
    raw = json.dumps(house).replace('"seq": 1', '"seq": 1.0').replace('"base": 0', '"base": 0.0')
    response = await push(phone, raw=raw, protocol=1.0, limit=500.0, queued=0.0)
    assert [verdict["outcome"] for verdict in response.json()["verdicts"]] == ["applied"]
    [row] = await world.fetch("SELECT members, extra FROM household WHERE id = $1", house["id"])
    assert (row["members"], row["extra"]) == (31, None)
    verify = {"grids": [{"grid": GRID, "rev": 1.0, "count": 4.0, "digest": "0" * 16}]}
    assert (await phone.post(verify, "/v1/sync/verify")).json() == {"mismatched": [GRID]}
    answer = await _patch(world, f"/v1/households/{house['id']}", {"fields": {"members": 5.0}})
    assert (answer.status_code, answer.json()["members"]) == (200, 5)


async def _patch(world: World, path: str, body: Any, staff_code: str = SECRETARY) -> Any:
    world.clock.forward(milliseconds=1)
    return await world.client.patch(
        path, json=body, headers={"Authorization": f"Bearer {await world.token(staff_code)}"}
    )


async def test_a_release_computes_the_id_of_the_right_week(world: World) -> None:
    phone = world.wire()
    wrong = phone.mutation(
        1,
        "weekly_analysis",
        id=ids.weekly_analysis_id(GRID, "2025-W53"),
        fields={"week": "2025-W53", "situation": "稳定"},
    )
    await push(phone, wrong)
    [item] = await held_of(world)
    fields = {"week": "2026-W01", "situation": "稳定"}
    answer = await world.post(f"/v1/held/{item['id']}/release", {"fields": fields}, SECRETARY)
    assert answer.json()["outcome"] == "applied", answer.text
    [row] = await world.fetch("SELECT id::text FROM weekly_analysis")
    assert row["id"] == ids.weekly_analysis_id(GRID, "2026-W01")
    assert await held_of(world) == []


async def test_a_wrong_computed_id_is_put_right_by_a_release_as_it_stands(world: World) -> None:
    phone = world.wire()
    await push(
        phone, phone.mutation(1, "monthly_summary", fields={"month": "2026-10", "results": "好"})
    )
    [item] = await held_of(world)
    assert item["reason"] == "id-wrong"
    assert (await world.post(f"/v1/held/{item['id']}/release", {}, SECRETARY)).json()[
        "outcome"
    ] == "applied"
    [row] = await world.fetch("SELECT id::text FROM monthly_summary")
    assert row["id"] == ids.monthly_summary_id(GRID, "2026-10")


@pytest.mark.parametrize("year", [1, 1970, 1999, 2300, 9999])
async def test_a_clock_of_any_year_is_an_offset_like_any_other(world: World, year: int) -> None:
    phone = world.wire()
    wrong = datetime(year, 6, 1, 12, 0, tzinfo=UTC)
    ms = max(0, int((wrong - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)))
    visit = phone.mutation(
        1,
        fields={"visited_at": wrong.isoformat(), "content": "走访"},
        stamp=clocks.make_stamp(ms, 1),
    )
    response = await push(phone, visit, sent_at=wrong.isoformat())
    assert [verdict["outcome"] for verdict in response.json()["verdicts"]] == ["applied"], (
        response.text
    )
    [row] = await world.fetch("SELECT visited_at FROM visit")
    assert abs(row["visited_at"] - world.clock.now()) < timedelta(seconds=1)
    await everything_reads(world)


async def test_an_event_outside_the_years_is_held_when_the_clock_is_right(world: World) -> None:
    phone = world.wire()
    for seq, year in enumerate((1, 1999), 1):
        visit = phone.mutation(seq, fields={"visited_at": f"{year:04d}-06-01T12:00:00Z"})
        assert await verdicts_of(phone, visit) == [("held", "fields-wrong")]
    # A clock that is far ahead makes a plausible time one of long ago.
    ahead = world.clock.now() + timedelta(days=365 * 100)
    response = await push(
        phone,
        phone.mutation(3, fields={"visited_at": "2026-11-20T09:00:00.000Z"}),
        sent_at=ahead.isoformat(),
    )
    assert [verdict["reason"] for verdict in response.json()["verdicts"]] == ["fields-wrong"]


async def test_upper_case_ids_short_times_and_unknown_accuracies_are_normalised(
    world: World,
) -> None:
    phone = world.wire()
    house, visit = phone.new_id(), phone.new_id()
    place = {"lat": 40.65, "lon": 109.84, "accuracy": -1, "altitude": 1065.5}
    response = await push(
        phone,
        phone.mutation(1, "household", id=house.upper(), fields={"head_name": "苏和"}),
        phone.mutation(
            2,
            id=visit.upper(),
            fields={
                "visited_at": "2026-11-20T01:00Z",
                "household_id": house.upper(),
                "location": place,
            },
        ),
        sent_at="2026-11-20T02:00Z",
    )
    assert [verdict["outcome"] for verdict in response.json()["verdicts"]] == [
        "applied",
        "applied",
    ], response.text
    answer = (await world.wire(SECRETARY).send(limit=5000)).json()
    [change] = [change for change in answer["changes"] if change["id"] == visit]
    assert change["fields"]["household_id"] == house
    assert change["fields"]["visited_at"] == "2026-11-20T01:00:00.000Z"
    assert change["fields"]["location"] == {"lat": 40.65, "lon": 109.84}
    assert (await world.get(f"/v1/households/{house.upper()}", SECRETARY)).json()["id"] == house
    assert (
        len((await world.get("/v1/visits", SECRETARY, household=house.upper())).json()["items"])
        == 1
    )


# --------------------------------------------------------------------------------------------- REST


@pytest.mark.parametrize(
    "value",
    ["1e400", "NaN", "Infinity", '"\\ud83d"', '"\\u0000"', nested(40), nested(100_000), "9" * 5000],
)
async def test_odd_json_over_rest_is_refused_and_never_fails(world: World, value: str) -> None:
    token = await world.token(SECRETARY)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = {
        "grid": GRID,
        "fields": {"title": "t", "duty": "emergency", "location": {"lat": 40, "lon": "VALUE"}},
    }
    text = json.dumps(body).replace('"VALUE"', value)
    response = await world.client.post("/v1/problems", content=text.encode(), headers=headers)
    assert response.status_code == 422, response.text
    assert await world.fetch("SELECT FROM problem") == []


async def test_a_conflict_cannot_be_settled_with_an_odd_value(world: World) -> None:
    token = await world.token(SECRETARY)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    path = "/v1/conflicts/0192f3a1-0000-7000-8000-000000000000/resolution"
    response = await world.client.post(
        path, content=b'{"choice": "value", "value": 1e400}', headers=headers
    )
    assert response.status_code == 422
