"""The queue of jobs: each is done, once where nothing fails, and what fails waits for a person."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from service.background import kinds
from service.jobs.clearing import CLEAR
from service.jobs.kinds import Job
from service.jobs.queue import add
from service.jobs.runner import Runner
from service.kit.errors import UNAVAILABLE, Problem
from tests.commands import run_command
from tests.jobs.builders import a_kind, added, runner_of
from tests.world import World

ROOT = Path(__file__).parents[2]


class Done:
    """Work that notes what it was given, and fails as often as it is told to."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.jobs: list[Job] = []
        self._failures = failures
        self._error = error or RuntimeError("苏和 13800000000")

    async def __call__(self, job: Job) -> None:
        self.jobs.append(job)
        if len(self.jobs) <= self._failures:
            raise self._error


async def test_a_job_is_done_once_with_what_it_was_given(world: World) -> None:
    done = Done()
    kind = a_kind(done)
    await added(world, kind, payload={"unit": "1502"})
    await runner_of(world, kind).drain()
    await runner_of(world, kind).drain()
    assert [job.payload for job in done.jobs] == [{"unit": "1502"}]
    assert await world.fetch("SELECT FROM job") == []


async def test_a_job_goes_with_the_transaction_that_added_it(world: World) -> None:
    done = Done()
    kind = a_kind(done)
    with suppress(ZeroDivisionError):
        async with world.state.database.transaction() as connection:
            await add(connection, kind)
            raise ZeroDivisionError
    await runner_of(world, kind).drain()
    assert done.jobs == []


async def test_of_jobs_with_one_key_one_waits_and_after_it_another_may(world: World) -> None:
    done = Done()
    kind = a_kind(done)
    first, second = await added(world, kind, 2, key="1502")
    assert (first is None, second) == (False, None)
    await runner_of(world, kind).drain()
    [third] = await added(world, kind, key="1502")
    assert third is not None
    await runner_of(world, kind).drain()
    assert len(done.jobs) == 2


async def test_several_processes_share_the_queue_and_each_job_is_done_once(world: World) -> None:
    done = Done()
    kind = a_kind(done, max_concurrency=3)
    numbers = await added(world, kind, 40)
    await asyncio.gather(*(runner_of(world, kind).drain() for _ in range(4)))
    assert sorted(job.id for job in done.jobs) == numbers


async def test_no_more_of_a_kind_run_at_a_time_than_it_allows(world: World) -> None:
    running = most = 0

    async def work(job: Job) -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await job.database.pool.fetchval("SELECT pg_sleep(0.01)")
        running -= 1

    kind = a_kind(work, max_concurrency=2)
    await added(world, kind, 12)
    await asyncio.gather(*(runner_of(world, kind).drain() for _ in range(3)))
    assert most == 2


async def test_a_job_that_fails_is_tried_again(world: World) -> None:
    done = Done(failures=2)
    kind = a_kind(done, attempts=3)
    await added(world, kind)
    await runner_of(world, kind).drain()
    assert [job.attempt for job in done.jobs] == [0, 1, 2]
    assert await world.fetch("SELECT FROM job") == []


async def test_what_failed_for_good_is_listed_without_its_message_and_tried_again_when_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Done(failures=2)
    kind = a_kind(done, attempts=2)
    [number] = await added(world, kind)
    await runner_of(world, kind).drain()
    assert len(done.jobs) == 2
    variables = {"DATABASE_URL": world.state.settings.database_url, "TRUST_CLOCK": "1"}
    listed = await run_command(monkeypatch, ["jobs", "list"], variables)
    assert str(number) in listed.output
    assert "RuntimeError" in listed.output
    kept = await world.fetch("SELECT coalesce(traceback::text, '') AS kept FROM job_log")
    assert not [row for row in kept if "苏和" in row["kept"] or "\\u82cf" in row["kept"]]
    again = await run_command(monkeypatch, ["jobs", "retry", str(number)], variables)
    assert again.exit_code == 0, again.output
    await runner_of(world, kind).drain()
    assert len(done.jobs) == 3
    none = await run_command(monkeypatch, ["jobs", "list"], variables)
    assert "No job has failed." in none.output


async def test_failures_of_work_that_comes_again_are_one_and_tried_again_with_what_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Done(failures=4)
    kind = a_kind(done, attempts=1)
    last = "SELECT id FROM job WHERE status = 'failed'"
    variables = {"DATABASE_URL": world.state.settings.database_url, "TRUST_CLOCK": "1"}

    async def fail() -> None:
        await added(world, kind, key="every")
        await runner_of(world, kind).drain()

    await fail()
    await fail()
    again = await run_command(monkeypatch, ["jobs", "retry", "--all"], variables)
    assert again.exit_code == 0, again.output
    await runner_of(world, kind).drain()
    assert len(await world.fetch(last)) == 1
    await fail()
    await added(world, CLEAR)
    await runner_of(world, CLEAR).drain()
    assert len(await world.fetch(last)) == 1
    await added(world, kind, key="every")
    again = await run_command(monkeypatch, ["jobs", "retry", "--all"], variables)
    assert again.exit_code == 0, again.output
    assert await world.fetch(last) == []
    await runner_of(world, kind).drain()
    assert len(done.jobs) == 5
    assert await world.fetch("SELECT FROM job") == []


async def test_failed_jobs_that_nobody_wants_are_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = a_kind(Done(failures=9), attempts=1)
    await added(world, kind, 2)
    await runner_of(world, kind).drain()
    variables = {"DATABASE_URL": world.state.settings.database_url, "TRUST_CLOCK": "1"}
    nothing = await run_command(monkeypatch, ["jobs", "delete"], variables)
    assert nothing.exit_code == 2
    deleted = await run_command(monkeypatch, ["jobs", "delete", "--kind", "test"], variables)
    assert deleted.exit_code == 0, deleted.output
    assert await world.fetch("SELECT FROM job") == []


async def test_a_database_that_is_away_makes_no_job_fail(world: World) -> None:
    done = Done(failures=1, error=Problem(UNAVAILABLE, "The database is down."))
    kind = a_kind(done, attempts=1)
    await added(world, kind)
    running = runner_of(world, kind)
    task = asyncio.create_task(running.run(start_s=0))
    async with asyncio.timeout(30):
        while not done.jobs:  # noqa: ASYNC110 - the queue tells nobody
            await asyncio.sleep(0.01)
    await running.stop(task)
    [job] = await world.fetch("SELECT status::text, attempts FROM job")
    assert tuple(job) == ("queued", 1)


async def test_the_numbers_of_jobs_stand_in_the_figures(world: World) -> None:
    kind = a_kind(Done(failures=1), attempts=1, name="figures")
    await added(world, kind, 2)
    before = (await world.client.get("/metrics")).text
    assert 'gridloop_jobs{job="figures",state="waiting"} 2.0' in before
    assert 'gridloop_jobs_oldest_waiting_seconds{job="figures"}' in before
    await runner_of(world, kind).drain()
    after = (await world.client.get("/metrics")).text
    assert 'gridloop_jobs{job="figures",state="waiting"} 0.0' in after
    assert 'gridloop_jobs{job="figures",state="failed"} 1.0' in after
    assert 'gridloop_job_seconds_count{job="figures",outcome="done"} 1.0' in after
    assert 'gridloop_job_seconds_count{job="figures",outcome="failed"} 1.0' in after


async def until_done(runner: Runner, done: Done) -> None:
    """Lets a process run until it has done something."""
    task = asyncio.create_task(runner.run(start_s=0))
    async with asyncio.timeout(60):
        while not done.jobs:  # noqa: ASYNC110 - the queue tells nobody
            await asyncio.sleep(0.01)
    await runner.stop(task)


async def test_a_job_of_a_process_that_ends_goes_on_in_another(world: World) -> None:
    begun = asyncio.Event()

    async def hang(job: Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    kind = a_kind(hang)
    [number] = await added(world, kind)
    ending = runner_of(world, kind)
    task = asyncio.create_task(ending.run(start_s=0))
    await begun.wait()
    await ending.stop(task)
    assert task.done()
    done = Done()
    await runner_of(world, a_kind(done)).drain()
    assert [job.id for job in done.jobs] == [number]


async def a_process(world: World, *arguments: str) -> asyncio.subprocess.Process:
    """A process of its own that begins jobs, see `hanging`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.jobs.hanging", *arguments),
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "GRIDLOOP_DATABASE_URL": str(world.state.settings.database_url),
            "GRIDLOOP_JOB_TIMEOUT_SECONDS": "1",
        },
        stdout=subprocess.PIPE,
    )


async def test_a_job_of_a_process_that_was_killed_is_taken_up_by_another(world: World) -> None:
    settings = world.state.settings.model_copy(update={"job_timeout_seconds": 1.0})
    done = Done()
    kind = a_kind(done, max_concurrency=1)
    [number] = await added(world, kind)
    process = await a_process(world)
    assert process.stdout is not None
    try:
        begun = await asyncio.wait_for(process.stdout.readline(), 60)
        assert int(begun) == number
    finally:
        process.kill()
        await process.wait()
    [job] = await world.fetch("SELECT status::text FROM job")
    assert job["status"] == "picked"
    runner = Runner((kind,), world.state.database, settings, world.clock.now)
    await until_done(runner, done)
    assert [job.id for job in done.jobs] == [number]
    assert await world.fetch("SELECT FROM job") == []


async def test_a_job_that_kills_its_process_fails_after_its_attempts_and_is_run_when_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Done()
    kind = a_kind(done, attempts=2, max_concurrency=1)
    [number] = await added(world, kind)
    settings = world.state.settings.model_copy(update={"job_timeout_seconds": 1.0})
    for broken_off in range(2):
        process = await a_process(world, "kill")
        assert process.stdout is not None
        assert int(await asyncio.wait_for(process.stdout.readline(), 60)) == number
        assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
        assert await world.fetch("SELECT status::text, begun, broken_off FROM job") == [
            ("picked", True, broken_off)
        ]
        await world.fetch("UPDATE job SET heartbeat = now() - interval '1 hour'")
    runner = Runner((kind,), world.state.database, settings, world.clock.now)
    task = asyncio.create_task(runner.run(start_s=0))
    async with asyncio.timeout(30):
        while not await world.fetch("SELECT FROM job WHERE status = 'failed'"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await runner.stop(task)
    assert done.jobs == []
    variables = {"DATABASE_URL": world.state.settings.database_url, "TRUST_CLOCK": "1"}
    listed = await run_command(monkeypatch, ["jobs", "list"], variables)
    assert "killed or ran out of memory" in " ".join(listed.output.replace("│", " ").split())
    figures = (await world.client.get("/metrics")).text
    assert 'gridloop_jobs{job="test",state="failed"} 1.0' in figures
    assert 'gridloop_jobs_broken_off_total{job="test"}' in figures
    again = await run_command(monkeypatch, ["jobs", "retry", str(number)], variables)
    assert again.exit_code == 0, again.output
    await runner_of(world, kind).drain()
    assert [job.id for job in done.jobs] == [number]
    assert await world.fetch("SELECT FROM job") == []


async def test_work_that_comes_again_is_scheduled_once_for_all_processes(world: World) -> None:
    done = Done()
    kind = a_kind(done, every="* * * * *")
    running = [runner_of(world, kind) for _ in range(2)]
    tasks = [asyncio.create_task(runner.run(start_s=0)) for runner in running]
    async with asyncio.timeout(30):
        while not await world.fetch("SELECT FROM job_schedule"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await world.fetch("UPDATE job_schedule SET next_run = now() - interval '1 minute'")
    for runner, task in zip(running, tasks, strict=True):
        await runner.stop(task)
    await until_done(runner_of(world, kind), done)
    assert len(done.jobs) == 1
    assert len(await world.fetch("SELECT FROM job_schedule")) == 1


async def test_nothing_but_a_new_job_notifies(world: World) -> None:
    rows = await world.fetch(
        "SELECT tgrelid::regclass::text AS name FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid"
        " WHERE p.prosrc ILIKE '%pg_notify%'"
    )
    assert [row["name"] for row in rows] == ["job"]


def test_kinds_have_names_of_their_own(world: World) -> None:
    names = [kind.name for kind in kinds(world.state.settings)]
    assert len(names) == len({*names})
