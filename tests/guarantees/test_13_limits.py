"""Promise 13: limits, pages in records and bytes, windows of the first pull."""

import asyncio
import json
from datetime import timedelta
from typing import Any

from service.runtime import failpoints
from sync_protocol.messages import PAGE_BYTES
from sync_protocol.moments import canonical_moment
from tests.world import GRID, SECRETARY, World, first_held_at


async def pages(phone: Any, **envelope: Any) -> list[Any]:
    """Every answer of a pull until there is nothing more."""
    answers = []
    while True:
        answers.append((await phone.send(**envelope)).json())
        if not answers[-1]["more"]:
            return answers


def ids_of(answers: list[Any]) -> list[str]:
    return [change["id"] for answer in answers for change in answer["changes"]]


async def test_a_thousand_mutations_go_through_and_one_more_is_refused_whole(world: World) -> None:
    phone = world.wire()
    response = await phone.send(*[phone.mutation(seq) for seq in range(1, 1002)])
    assert response.status_code == 413
    assert not await world.fetch("SELECT FROM visit")
    answer = (await phone.send(*[phone.mutation(seq) for seq in range(1, 1001)])).json()
    assert answer["acked"] == 1000


async def test_a_feed_larger_than_a_page_comes_in_pages_without_repeats(world: World) -> None:
    writer = world.wire()
    await writer.send(*[writer.mutation(seq) for seq in range(1, 41)])
    answers = await pages(world.wire(SECRETARY), limit=7)
    ids = ids_of(answers)
    visits = {str(row["id"]) for row in await world.fetch("SELECT id FROM visit")}
    assert len(ids) == len(set(ids))
    assert visits <= set(ids)
    pendings = [answer["pending"] for answer in answers]
    assert pendings == sorted(pendings, reverse=True)
    assert pendings[-1] == 0


async def test_a_page_ends_near_its_bytes(world: World) -> None:
    writer = world.wire()
    for start in (1, 51):
        fields = {"visited_at": "2026-11-20T09:00:00+08:00", "content": "长" * 4000}
        await writer.send(
            *[writer.mutation(seq, fields=fields) for seq in range(start, start + 50)]
        )
    answers = await pages(world.wire(SECRETARY), limit=5000)
    sizes = [len(json.dumps(answer["changes"], ensure_ascii=False)) for answer in answers]
    assert len(sizes) > 1
    assert max(sizes) < PAGE_BYTES * 1.1
    assert len(ids_of(answers)) == len(set(ids_of(answers)))


async def test_a_first_sync_resumes_where_it_broke_off(world: World) -> None:
    writer = world.wire()
    await writer.send(*[writer.mutation(seq) for seq in range(1, 41)])
    reader = world.wire(SECRETARY)
    first = (await reader.send(limit=10)).json()
    rest = await pages(reader, limit=10)  # a new process with the kept cursor
    assert rest[0]["pending"] < first["pending"]
    assert not set(ids_of([first])) & set(ids_of(rest))


async def test_a_feed_is_whole_while_others_write_to_it(world: World) -> None:
    writer, reader = world.wire(), world.wire(SECRETARY)
    await writer.send(*[writer.mutation(seq) for seq in range(1, 21)])
    seen: dict[str, int] = {}
    for seq in range(21, 60, 2):
        answer = (await reader.send(limit=3)).json()
        for change in answer["changes"]:
            assert seen.get(change["id"], 0) < change["rev"]
            seen[change["id"]] = change["rev"]
        await writer.send(writer.mutation(seq), writer.mutation(seq + 1))
    for answer in await pages(reader, limit=3):
        seen |= {change["id"]: change["rev"] for change in answer["changes"]}
    kept = {str(row["id"]): row["rev"] for row in await world.fetch("SELECT id, rev FROM visit")}
    assert kept.items() <= seen.items()


async def test_a_pull_while_a_push_is_held_open_skips_nothing(world: World) -> None:
    """A row that is committed late must not be skipped by a cursor: two connections, one held
    open.
    """
    first, second, reader = world.wire(), world.wire(), world.wire(SECRETARY)
    await reader.send()
    with first_held_at(failpoints.PUSH_WRITTEN) as (written, release):
        slow = asyncio.create_task(first.send(first.mutation(1)))
        await written.wait()
        quick = asyncio.create_task(second.send(second.mutation(1)))
        before = (await reader.send()).json()["changes"]
        release.set()
        revs = [(await task).json()["verdicts"][0]["rev"] for task in (slow, quick)]
    after = (await reader.send()).json()["changes"]
    assert before == []
    assert [change["rev"] for change in after] == sorted(revs)


async def test_the_windows_of_a_first_pull(world: World) -> None:
    phone = world.wire()

    def at(days: float) -> str:
        return canonical_moment(world.clock.now() - timedelta(days=days))

    seq = iter(range(1, 100))
    visits = {
        days: phone.mutation(next(seq), fields={"visited_at": at(days)})
        for days in (1, 61, 63, 400)
    }
    problems: dict[Any, Any] = {}
    steps = []
    for name, days, action in (
        ("open", 400, None),
        ("resolved", 400, "resolve"),
        ("closed long ago", 100, "close"),
        ("just closed", 10, "close"),
    ):
        problem = phone.mutation(
            next(seq), "problem", fields={"title": name, "duty": "emergency", "raised_at": at(400)}
        )
        problems[name] = problem
        for one in ("resolve", "close") if action == "close" else (action,) if action else ():
            fields = {"problem_id": problem["id"], "action": one, "at": at(days)}
            steps.append((name, phone.mutation(next(seq), "step", fields=fields)))
    await phone.send(
        *visits.values(),
        *sorted([*problems.values(), *(step for _, step in steps)], key=lambda item: item["seq"]),
    )

    got = set(ids_of(await pages(world.wire(SECRETARY))))

    assert {days for days, item in visits.items() if item["id"] in got} == {1, 61}
    assert {name for name, item in problems.items() if item["id"] in got} == {
        "open",
        "resolved",
        "just closed",
    }
    assert {name for name, item in steps if item["id"] in got} == {"resolved", "just closed"}


async def test_what_is_written_after_the_first_pull_comes_whatever_its_date(world: World) -> None:
    phone, reader = world.wire(), world.wire(SECRETARY)
    await reader.send()
    late = phone.mutation(1, fields={"visited_at": "2025-01-01T09:00:00+08:00"})
    await phone.send(late)
    assert ids_of(await pages(reader)) == [late["id"]]


async def test_a_record_that_the_first_pull_left_out_comes_when_it_changes(world: World) -> None:
    phone, reader = world.wire(), world.wire(SECRETARY)
    old = phone.mutation(1, fields={"visited_at": "2025-01-01T09:00:00+08:00"})
    [verdict] = (await phone.send(old)).json()["verdicts"]
    assert old["id"] not in ids_of(await pages(reader))
    await phone.send(
        phone.mutation(2, id=old["id"], base=verdict["rev"], fields={"content": "补记"})
    )
    assert ids_of(await pages(reader)) == [old["id"]]


async def test_a_request_of_two_mebibytes_is_the_limit(world: World) -> None:
    phone = world.wire()
    big = [
        phone.mutation(
            seq, fields={"visited_at": "2026-11-20T09:00:00+08:00", "content": "a" * 3990}
        )
        for seq in range(1, 600)
    ]
    response = await phone.send(*big)
    assert (response.status_code, response.json()["type"]) == (413, "/problems/too-large")
    assert (await phone.send(*big[:400])).status_code == 200
    assert {row["grid"] for row in await world.fetch("SELECT grid FROM visit")} == {GRID}
