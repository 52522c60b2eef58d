"""Jobs that somebody asks for: progress, a result for a day, for this person alone."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

from service.jobs.asking import ask
from service.jobs.clearing import CLEAR
from service.jobs.kinds import Job, JobKind
from service.jobs.results import PART_BYTES
from simulator.places import SUPERVISOR
from sync_protocol.ids import uuid7
from tests.jobs.builders import a_kind, added, runner_of
from tests.world import SECRETARY, WORKER, World

CONTENT = "苏和".encode() * (PART_BYTES // 2)


async def pieces() -> AsyncIterator[bytes]:
    """The content in pieces that are no parts."""
    for begin in range(0, len(CONTENT), 100_003):
        yield CONTENT[begin : begin + 100_003]


async def make(job: Job) -> None:
    """Keeps the content."""
    assert job.result is not None
    await job.result.progress(1, 2)
    await job.result.keep("台账.csv", "text/csv", pieces())


async def asked(world: World, kind: JobKind, by: str = SUPERVISOR) -> str:
    """Asks for a job; its id."""
    id = uuid7(world.clock.ms(), random.Random(1))
    async with world.state.database.transaction() as connection:
        await ask(connection, kind, id, by, {"unit": "1502"}, world.clock.now())
    return id


async def test_what_was_asked_for_is_there_as_a_file_for_this_person_alone(world: World) -> None:
    kind = a_kind(make)
    id = await asked(world, kind)
    waiting = (await world.get(f"/v1/jobs/{id}")).json()
    assert (waiting["state"], waiting["name"]) == ("waiting", None)
    early = await world.get(f"/v1/jobs/{id}/content")
    assert early.status_code == 409
    await runner_of(world, kind).drain()
    done = (await world.get(f"/v1/jobs/{id}")).json()
    assert (done["state"], done["name"], done["size"]) == ("done", "台账.csv", len(CONTENT))
    answer = await world.get(f"/v1/jobs/{id}/content")
    assert answer.content == CONTENT
    assert answer.headers["Content-Type"].startswith("text/csv")
    for path in (f"/v1/jobs/{id}", f"/v1/jobs/{id}/content"):
        assert (await world.get(path, SECRETARY)).status_code == 404
    lines = await world.fetch("SELECT subjects FROM audit WHERE action = 'job-result'")
    assert [row["subjects"] for row in lines] == [[id, "test"]]


async def test_ones_own_jobs_are_listed_the_newest_first(world: World) -> None:
    kind = a_kind(make)
    async with world.state.database.transaction() as connection:
        for number, by in enumerate((SUPERVISOR, SECRETARY, SUPERVISOR, SUPERVISOR)):
            id = uuid7(world.clock.ms() + number, random.Random(1))
            moment = world.clock.now() + timedelta(seconds=number)
            await ask(connection, kind, id, by, {}, moment, f"{number}.csv")
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await world.get("/v1/jobs", limit=2, **after)).json()
        found += [one["name"] for one in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == ["3.csv", "2.csv", "0.csv"]


async def test_what_is_kept_is_encrypted(world: World) -> None:
    kind = a_kind(make)
    await asked(world, kind)
    await runner_of(world, kind).drain()
    rows = await world.fetch("SELECT body FROM job_result_part")
    assert len(rows) == -(-len(CONTENT) // PART_BYTES)
    assert not [row for row in rows if "苏和".encode() in row["body"]]


async def test_progress_is_told_while_the_job_runs(world: World) -> None:
    told, go_on = asyncio.Event(), asyncio.Event()

    async def work(job: Job) -> None:
        assert job.result is not None
        await job.result.progress(3, 10)
        told.set()
        await go_on.wait()

    kind = a_kind(work)
    id = await asked(world, kind)
    draining = asyncio.create_task(runner_of(world, kind).drain())
    await told.wait()
    found = (await world.get(f"/v1/jobs/{id}")).json()
    assert (found["state"], found["done"], found["total"]) == ("running", 3, 10)
    go_on.set()
    await draining


async def test_an_attempt_that_broke_off_leaves_nothing_in_the_result(world: World) -> None:
    tries = []

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 3 * PART_BYTES
        raise RuntimeError

    async def work(job: Job) -> None:
        assert job.result is not None
        tries.append(job)
        if len(tries) == 1:
            await job.result.keep("broken", "text/csv", broken())
        await make(job)

    kind = a_kind(work)
    id = await asked(world, kind)
    await runner_of(world, kind).drain()
    assert len(tries) == 2
    assert (await world.get(f"/v1/jobs/{id}/content")).content == CONTENT


async def test_a_job_that_failed_says_so(world: World) -> None:
    async def work(job: Job) -> None:
        raise RuntimeError

    kind = a_kind(work, attempts=1)
    id = await asked(world, kind)
    await runner_of(world, kind).drain()
    assert (await world.get(f"/v1/jobs/{id}")).json()["state"] == "failed"


async def test_results_are_cleared_after_a_day(world: World) -> None:
    kind = a_kind(make)
    id = await asked(world, kind)
    await runner_of(world, kind).drain()
    for hours, status in ((23, 200), (2, 404)):
        world.clock.forward(hours=hours)
        await added(world, CLEAR)
        await runner_of(world, CLEAR).drain()
        assert (await world.get(f"/v1/jobs/{id}")).status_code == status
    assert await world.fetch("SELECT FROM job_result_part") == []


async def test_what_was_made_goes_with_an_erasure_and_what_is_being_made_is_made_anew(
    world: World,
) -> None:
    made, phone = a_kind(make), world.wire()
    house = phone.new_id()
    await phone.send(phone.mutation(1, "household", id=house, fields={"head_name": "苏和"}))
    read, go_on, texts = asyncio.Event(), asyncio.Event(), ["苏和", "（已删除）"]

    async def work(job: Job) -> None:
        assert job.result is not None
        text = texts.pop(0)
        read.set()
        await go_on.wait()

        async def content() -> AsyncIterator[bytes]:
            yield text.encode()

        await job.result.keep("台账.csv", "text/csv", content())

    for reason, path in (("离职", f"/v1/cadres/{WORKER}"), ("申请", f"/v1/households/{house}")):
        world.clock.forward(seconds=1)
        done = await asked(world, made)
        await runner_of(world, made).drain()
        if "households" in path:
            slow = a_kind(work, name="slow")
            world.clock.forward(seconds=1)
            late = await asked(world, slow)
            draining = asyncio.create_task(runner_of(world, slow).drain())
            await read.wait()
        answer = await world.post(f"{path}/erasure", {"reason": reason}, "admin")
        assert answer.status_code == 200, answer.text
        assert answer.json()["removed"]["results of jobs"] >= 1
        assert (await world.get(f"/v1/jobs/{done}/content")).status_code == 409
        assert (await world.get(f"/v1/jobs/{done}")).json()["state"] == "failed"
    assert await world.fetch("SELECT FROM job_result_part") == []
    go_on.set()
    await draining
    assert (await world.get(f"/v1/jobs/{late}/content")).text == "（已删除）"
    # Made after the erasure, it stays when the same is asked for again.
    again = await world.post(f"/v1/households/{house}/erasure", {"reason": "申请"}, "admin")
    assert again.json()["repeated"] is True
    assert (await world.get(f"/v1/jobs/{late}/content")).text == "（已删除）"
