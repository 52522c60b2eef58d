"""Every class of `service/kit/database_errors.py`, brought about in a real PostgreSQL: what phones,
apps and `/readyz` are told, what was kept.

What PostgreSQL cannot be brought to within a minute is made by a trigger or by a proxy, and says
so. Run with `python -m tests.drills.database_errors`. Limits of memory for processes of PostgreSQL,
and its files, need root.
"""

import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import psutil

from service.app import create_app
from service.kit.database_errors import FAULTS
from service.kit.settings import Settings
from service.runtime.write_probe import WriteProbe
from simulator.database_proxy import GARBAGE, Failure, Moment, Proxy, proxied
from tests.conftest import running
from tests.drills.common import (
    Phone,
    Report,
    Writer,
    count_kept,
    main,
    needs_root,
    prepared_server,
    service_url,
    sign_in,
)

NEEDS_ROOT = True
BRIEF_S = 0.6
# A drill of its own fills the disk; a migration under way costs nobody an answer; tables of a newer
# release are the tests' of upgrades; and which error the driver gives for garbage is chance.
NOT_HERE = {"disk-full", "migrating", "tables-too-new", "broken-connection"}
ROOM_BYTES = 3 << 20
MARKER = b"mutation_body"
_BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'gridloop' AND datname = 'drill'"
)
_END_ALL = f"SELECT pg_terminate_backend(pid, 5000) FROM ({_BACKENDS}) AS s"


class Drilled:
    """The service over its database, and two connections to break it by: `to` the database of the
    service, `beside` another.
    """

    def __init__(
        self, to: asyncpg.Connection, beside: asyncpg.Connection, proxy: Proxy, data: Path
    ) -> None:
        self.to = to
        self.beside = beside
        self.proxy = proxy
        self.data = data

    async def expire(self) -> None:
        """Ends all connections of the service, which connects anew."""
        await self.beside.execute(_END_ALL)


Fault = Callable[[Drilled], AbstractAsyncContextManager[None]]


def by_sql(begin: str, end: str, beside: bool = False, anew: bool = False) -> Fault:
    """A fault that statements bring about and end; `anew`: only new connections meet it."""

    @asynccontextmanager
    async def fault(drilled: Drilled) -> AsyncIterator[None]:
        connection = drilled.beside if beside else drilled.to
        await connection.execute(begin)
        if anew:
            await drilled.expire()
        try:
            yield
        finally:
            await connection.execute(end)
            if anew:
                await drilled.expire()

    return fault


def for_each_waiting(end: str) -> Fault:
    """Whoever waits for a lock that somebody holds is ended by an operator."""

    @asynccontextmanager
    async def fault(drilled: Drilled) -> AsyncIterator[None]:
        async def watch() -> None:
            while True:
                waiting = f"{_BACKENDS} AND wait_event_type = 'Lock'"
                await drilled.beside.execute(f"SELECT {end}(pid) FROM ({waiting}) AS s")
                await asyncio.sleep(0.02)

        await drilled.to.execute("BEGIN; LOCK TABLE counter IN ACCESS EXCLUSIVE MODE")
        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await drilled.to.execute("ROLLBACK")

    return fault


def trigger(does: str) -> Fault:
    """A trigger on the log of mutations, to which every write adds."""
    begin = f"""
        CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NEW; END
            $$;
        CREATE TRIGGER fault BEFORE INSERT ON mutation FOR EACH ROW EXECUTE FUNCTION fault();
    """
    return by_sql(begin, "DROP TRIGGER fault ON mutation; DROP FUNCTION fault()")


@asynccontextmanager
async def no_connections(drilled: Drilled) -> AsyncIterator[None]:
    """Others use all connections that the server gives."""
    url = service_url(os.environ["DRILL_URL"])
    await drilled.expire()
    async with AsyncExitStack() as stack:
        try:
            while True:
                connection = await asyncpg.connect(url)
                stack.push_async_callback(connection.close)
        except asyncpg.TooManyConnectionsError:
            pass
        yield


@asynccontextmanager
async def no_memory(drilled: Drilled) -> AsyncIterator[None]:
    """PostgreSQL's first process, and so those that it starts, get hardly more memory from the
    system than they have.
    """
    first = psutil.Process(int((drilled.data / "postmaster.pid").read_text().split()[0]))
    limit_memory(first, str(first.memory_info().vms + ROOM_BYTES))
    await drilled.expire()
    try:
        yield
    finally:
        limit_memory(first, "unlimited")
        await drilled.expire()


def limit_memory(process: psutil.Process, limit: str) -> None:
    """Limits the address space of a process, bytes, as its own user: root in a container may not
    limit those of others.
    """
    user, group = process.uids().real, process.gids().real
    command = ["prlimit", "--pid", str(process.pid), f"--as={limit}:"]
    subprocess.run(command, check=True, user=user, group=group, extra_groups=[])


@asynccontextmanager
async def file_gone(drilled: Drilled) -> AsyncIterator[None]:
    """The file of a table is gone from the disk, as after an error of the file system."""
    file = drilled.data / await drilled.to.fetchval("SELECT pg_relation_filepath('counter')")
    away = file.with_name(file.name + ".away")
    await drilled.expire()
    file.rename(away)
    try:
        yield
    finally:
        away.rename(file)
        await drilled.expire()


@asynccontextmanager
async def crash(drilled: Drilled) -> AsyncIterator[None]:
    """One process of PostgreSQL crashes: all others end, and the server recovers."""
    pid = await drilled.beside.fetchval(f"{_BACKENDS} LIMIT 1")
    psutil.Process(pid).kill()
    await asyncio.sleep(0.01)
    yield


@asynccontextmanager
async def garbage(drilled: Drilled) -> AsyncIterator[None]:
    """Something between service and PostgreSQL answers what is no message of PostgreSQL."""
    drilled.proxy.fail(Failure(Moment.BEFORE, GARBAGE))
    try:
        yield
    finally:
        drilled.proxy.failure = None


# What is done, the rows of the table that may be answered, and who is told: `writes` phones and
# REST, `sync` the first who comes.
CASES: tuple[tuple[str, Fault, tuple[str, ...]], ...] = (
    ("read-only database", by_sql("ALTER DATABASE drill SET default_transaction_read_only = on",
     "ALTER DATABASE drill SET default_transaction_read_only"
     " = off", beside=True, anew=True), ("read-only",)),
    ("a table is locked,"
     " lock_timeout", by_sql("BEGIN; LOCK TABLE counter IN ACCESS EXCLUSIVE"
                             " MODE", "ROLLBACK"), ("locked",)),
    ("a slow statement,"
     " statement_timeout", trigger("PERFORM pg_sleep(60)"), ("too-slow", "locked")),
    ("an operator cancels"
     " (pg_cancel_backend)", for_each_waiting("pg_cancel_backend"), ("too-slow",)),
    ("an operator ends sessions"
     " (pg_terminate_backend)", for_each_waiting("pg_terminate_backend"), ("unreachable",)),
    ("serialization failures five times (a"
     " trigger)", trigger("RAISE EXCEPTION 'made up' USING ERRCODE = '40001'"), ("contended",)),
    ("max_connections used up", no_connections, ("no-resources",)),
    ("temp_file_limit", by_sql("ALTER ROLE gridloop_service SET temp_file_limit"
                               " = 0", "ALTER ROLE gridloop_service RESET temp_file_limit",
     beside=True, anew=True), ("no-resources",)),
    # A process without memory may also stop in the middle of an answer.
    ("no memory (RLIMIT_AS)", no_memory,
     ("no-resources", "unreachable", "broken-connection")),
    ("the role may not log"
     " in", by_sql("ALTER ROLE gridloop_service"
                   " NOLOGIN", "ALTER ROLE gridloop_service LOGIN", beside=True, anew=True),
     ("not-let-in",)),
    ("a table's file is gone", file_gone, ("storage",)),
    ("a table has another"
     " name", by_sql("ALTER TABLE counter RENAME TO"
                     " elsewhere", "ALTER TABLE elsewhere RENAME TO counter"),
     ("no-tables",)),
    ("a right is taken"
     " away", by_sql("REVOKE SELECT ON counter FROM"
                     " gridloop_service", "GRANT SELECT ON counter TO gridloop_service"),
     ("no-rights",)),
    ("an answer that is none (a proxy)", garbage, ("broken-connection", "unreachable")),
    ("a process of PostgreSQL crashes", crash, ("unreachable",)),
)  # fmt: skip


def named(detail: str) -> str:
    """The row of the table that an answer is of."""
    return next((fault.name for fault in FAULTS if str(fault.text) in detail), "other")


def told(seen: Counter[str], channel: str) -> dict[str, int]:
    """How often each row was answered."""
    found: Counter[str] = Counter()
    for line, count in seen.items():
        if line.startswith(f"{channel}: 5"):
            found[named(line)] += count
    return dict(found)


async def live_through(url: str, folder: Path, report: Report) -> None:
    """One fault after the other, under a phone, an app and `/readyz`."""
    data = (folder / "home" / "postgres").resolve()
    os.environ["DRILL_URL"] = url
    brief = dict.fromkeys(("lock_seconds", "sync_lock_seconds"), BRIEF_S)
    brief |= dict.fromkeys(("statement_seconds", "sync_statement_seconds"), 2 * BRIEF_S)
    classes: set[str] = set()
    everything: Counter[str] = Counter()
    async with proxied(url, MARKER) as (proxy, through):
        settings = Settings(
            database_url=through(service_url(url)), demo=True, data=folder, pool_size=4
        ).model_copy(update=brief)
        async with running(app := create_app(settings)) as client:
            app.state.write_probe = WriteProbe(every_s=0)
            phone, writer = Phone(client, Counter(), visits=3), Writer(client, Counter())
            await sign_in([phone], [writer])
            for name, fault, wanted in CASES:
                to, beside = (
                    await asyncpg.connect(url),
                    await asyncpg.connect(url.replace("/drill", "/postgres")),
                )
                await one(
                    client,
                    Drilled(to, beside, proxy, data),
                    (name, fault, wanted),
                    phone,
                    writer,
                    report,
                )
                for connection in (to, beside):
                    if not connection.is_closed():
                        await connection.close()
                classes |= (
                    told(phone.seen, "sync").keys()
                    | told(writer.seen, "REST").keys()
                    | told(phone.seen, "readyz").keys()
                )
                everything += phone.seen + writer.seen
                phone.seen, writer.seen = Counter(), Counter()
            await count_kept(url, report, [phone], writer.made)
    missing = {fault.name for fault in FAULTS} - classes - NOT_HERE
    answered = f"{len(classes - {'other'})} of {len(FAULTS)}"
    report.row(
        "rows of the table that were answered",
        answered,
        f"all but {', '.join(sorted(NOT_HERE))}",
        not missing,
        figure=True,
    )
    unknown = sum(told(everything, channel).get("other", 0) for channel in ("sync", "REST"))
    report.row("answers of no row (500)", unknown, "0", unknown == 0)
    report.answered(everything)


async def one(
    client: httpx.AsyncClient,
    drilled: Drilled,
    case: tuple[str, Fault, tuple[str, ...]],
    phone: Phone,
    writer: Writer,
    report: Report,
) -> None:
    """One fault: a push, a problem and `/readyz` meet it, and go through once it is over."""
    name, fault, wanted = case
    await client.get("/readyz")
    raising: list[asyncio.Task[bool]] = []
    async with fault(drilled):
        raising.append(asyncio.create_task(writer.raise_problem(pause_s=0.1)))
        await phone.push_once()
        await asyncio.sleep(0.3)
        async with asyncio.timeout(10):
            while not writer.seen:  # noqa: ASYNC110 - until the app has its first answer
                await asyncio.sleep(0.05)
        answer = await client.get("/readyz")
        if answer.status_code == 503:
            phone.seen[f"readyz: 503: {answer.json()['detail']}"] += 1
    async with asyncio.timeout(60):
        await phone.push(pause_s=0.1)
        await asyncio.gather(*raising)
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - nobody tells when it is
            await asyncio.sleep(0.1)
    found = {
        channel: told(seen, channel)
        for channel, seen in (("sync", phone.seen), ("REST", writer.seen), ("readyz", phone.seen))
    }
    names = {row for rows in found.values() for row in rows}
    shown = ", ".join(f"{channel} {'/'.join(rows)}" for channel, rows in found.items() if rows)
    report.row(
        name,
        shown or "all went through",
        " or ".join(wanted),
        bool(names) and names <= {*wanted, "unreachable"} and bool(names & {*wanted}),
    )


def drill() -> Report:
    """The drill."""
    needs_root()
    report = Report("Errors of the database")
    with prepared_server() as (url, folder):
        asyncio.run(live_through(url, folder, report))
    return report


if __name__ == "__main__":
    main(drill)
