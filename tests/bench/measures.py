"""What is measured of the sync path, each by phones of a crowd against running service
processes.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from sync_protocol.moments import canonical_moment
from sync_protocol.vocabulary import DUTIES, SEVERITIES
from tests.bench.load_generator import Phone, Unexpected, in_turn, packed, revs, workers
from tests.bench.service import Service
from tests.bench.wire import Line, Packed

DEVICES = 64
CONCURRENCY = 16
BATCHES = 16  # of 50 visits, a device and round
LARGE_BATCHES = 8  # of 500
EDITS = 800  # of visits, a device and round
PROBLEM_BATCHES = 8  # of ten problems with their steps
POLLS = 6_000
PULLED = 5_000  # records of a first sync
ARCHIVES = 8  # grids that hold so many
RAW_CONNECTIONS = 8


class Timed:
    """Seconds of a whole, and of each exchange in it."""

    def __init__(self) -> None:
        self.each: list[float] = []
        self._began = time.perf_counter()
        self.seconds = 0.0

    def done(self) -> "Timed":
        """The whole is over."""
        self.seconds = time.perf_counter() - self._began
        return self

    def p99_ms(self) -> float:
        """What 99 of 100 exchanges stayed within, milliseconds."""
        return 1000 * sorted(self.each)[int(len(self.each) * 0.99)]


class World:
    """One database with its service processes and their crowd; `name` says how it is shown."""

    def __init__(self, name: str, url: str, service: Service) -> None:
        self.name = name
        self.url = url
        self.service = service
        self.phones: list[Phone] = []
        self.rivals: list[Phone] = []
        self._fresh = 0

    async def settle_in(self) -> None:
        """Signs the crowd in, and fills the grids from which first syncs will pull."""
        every = workers(DEVICES + ARCHIVES)
        self.phones = [new_phone(staff, grid, "first") for staff, grid in every[:DEVICES]]
        # Whoever works beside a grid worker: the village's secretary, on a phone for each grid.
        self.rivals = [
            new_phone(f"C{phone.grid[:12]}-1", phone.grid, f"rival {phone.grid}")
            for phone in self.phones
        ]
        self.archives = [new_phone(staff, grid, "archive") for staff, grid in every[DEVICES:]]
        await self.arrive([*self.phones, *self.archives])
        await in_turn(self.service.url, [phone.sign_in for phone in self.rivals], 8)
        work = [
            (phone, [packed(phone.visits(500, days=60)) for _ in range(PULLED // 500)])
            for phone in self.archives
        ]
        await push(self.service, work, applied(500))
        await self.vacuum()

    async def arrive(self, phones: Sequence[Phone]) -> None:
        """Signs phones in, and has them pull all there is."""

        def arrival(phone: Phone) -> Callable[[Line], Awaitable[None]]:
            async def work(line: Line) -> None:
                await phone.sign_in(line)
                await phone.catch_up(line)

            return work

        await in_turn(self.service.url, [arrival(phone) for phone in phones], 8)

    async def vacuum(self) -> None:
        """What the database does by itself when nobody waits."""
        connection = await asyncpg.connect(self.url)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    # ------------------------------------------------------------------------------------- measures

    async def visits(self, size: int, batches: int) -> dict[str, float]:
        """New visits in batches of `size`, and PostgreSQL alone with the same rows."""
        before = await self._heads()
        work = [
            (phone, [packed(phone.visits(size)) for _ in range(batches)]) for phone in self.phones
        ]
        timed = await push(self.service, work, applied(size))
        raw, rows = await raw_insert(self.url, before, size)
        if rows != size * batches * len(self.phones):
            raise Unexpected(
                f"{rows} visits were stored where {size * batches * len(self.phones)} had been sent"
            )
        return {
            "rate": rows / timed.seconds,
            "p99_ms": timed.p99_ms(),
            "raw_rate": rows / raw,
            "ratio": raw / timed.seconds,
        }

    async def pull(self) -> dict[str, float]:
        """First syncs of phones that hold nothing yet."""
        self._fresh += 1
        readers = [
            new_phone(phone.staff_code, phone.grid, f"reader {self._fresh} {n}")
            for phone in self.archives
            for n in range(2)
        ]
        await in_turn(self.service.url, [phone.sign_in for phone in readers], 8)
        records = size = 0
        timed = Timed()

        def first_sync(phone: Phone) -> Callable[[Line], Awaitable[None]]:
            async def work(line: Line) -> None:
                nonlocal records, size
                more = True
                while more:
                    began = time.perf_counter()
                    answer = await phone.exchange(line)
                    timed.each.append(time.perf_counter() - began)
                    if answer.status != 200:
                        raise Unexpected(f"a pull: {answer.status} {answer.body[:300]!r}")
                    records += answer.body.count(b'{"kind":"')
                    size += answer.size
                    more = b'"more":true' in answer.body

            return work

        await in_turn(self.service.url, [first_sync(phone) for phone in readers], CONCURRENCY)
        timed.done()
        if records < PULLED * len(readers):
            raise Unexpected(f"{records} records came where {PULLED * len(readers)} lie")
        return {"rate": records / timed.seconds, "p99_ms": timed.p99_ms(), "bytes": size / records}

    async def idle(self) -> dict[str, float]:
        """Exchanges with nothing to hand in and nothing to fetch."""
        await in_turn(self.service.url, [phone.catch_up for phone in self.phones], 8)
        timed = Timed()
        left = POLLS

        async def poll(own: Sequence[Phone]) -> None:
            nonlocal left
            line = await Line.open(self.service.url)
            place = 0
            while left > 0:
                left -= 1
                place += 1
                began = time.perf_counter()
                answer = await own[place % len(own)].exchange(line)
                timed.each.append(time.perf_counter() - began)
                if answer.status != 200 or b'"changes":[]' not in answer.body:
                    raise Unexpected(f"an idle poll: {answer.status} {answer.body[:300]!r}")
            line.close()

        await asyncio.gather(
            *(poll(self.phones[place::CONCURRENCY]) for place in range(CONCURRENCY))
        )
        timed.done()
        return {"rate": len(timed.each) / timed.seconds, "p99_ms": timed.p99_ms()}

    async def updates(self) -> dict[str, float]:
        """Edits of visits in batches of 50, of which every tenth meets an edit that its phone has
        not seen.
        """
        made: list[tuple[Phone, Phone, list[str], list[int]]] = []
        for phone, rival in zip(self.phones, self.rivals, strict=True):
            mutations = phone.visits(EDITS)
            ids = [str(item["id"]) for item in mutations]
            made.append((phone, rival, ids, []))
            line = await Line.open(self.service.url)
            made[-1][3].extend(revs(await phone.exchange(line, packed(mutations))))
            line.close()
        contested = [
            (ids[place::10], known[place::10]) for _, _, ids, known in made for place in (5,)
        ]
        rivalry = []
        for (_, rival, _, _), (ids, known) in zip(made, contested, strict=True):
            edits = [
                rival.mutation("visit", id, {"content": rival.note()}, base)
                for id, base in zip(ids, known, strict=True)
            ]
            rivalry.append((rival, [packed(edits)]))
        await push(self.service, rivalry, None)
        work = []
        for phone, _, ids, known in made:
            edits = [
                phone.mutation("visit", id, {"content": phone.note()}, base)
                for id, base in zip(ids, known, strict=True)
            ]
            work.append(
                (phone, [packed(edits[start : start + 50]) for start in range(0, EDITS, 50)])
            )

        def good(body: bytes) -> bool:
            return (
                body.count(b'"outcome":"merged"') == 5 and body.count(b'"outcome":"applied"') == 45
            )

        timed = await push(self.service, work, good)
        return {"rate": EDITS * len(self.phones) / timed.seconds, "p99_ms": timed.p99_ms()}

    async def problems(self) -> dict[str, float]:
        """Problems with their steps from receipt to resolution, ten to a batch of 50."""
        work = [
            (phone, [packed(_problems(phone, 10)) for _ in range(PROBLEM_BATCHES)])
            for phone in self.phones
        ]
        timed = await push(self.service, work, applied(50))
        return {
            "rate": 50 * PROBLEM_BATCHES * len(self.phones) / timed.seconds,
            "p99_ms": timed.p99_ms(),
        }

    async def _heads(self) -> dict[str, int]:
        connection = await asyncpg.connect(self.url)
        rows = await connection.fetch(
            "SELECT grid, rev FROM counter WHERE grid = ANY($1::text[])",
            [phone.grid for phone in self.phones],
        )
        await connection.close()
        return {row["grid"]: row["rev"] for row in rows}


def new_phone(staff_code: str, grid: str, seed: str) -> Phone:
    """A phone like no other, of a cadre at a grid."""
    return Phone(staff_code, grid, random.Random(f"{seed} {staff_code} {time.time_ns()}"))


def applied(count: int) -> Callable[[bytes], bool]:
    """Whether an answer says that so many mutations were applied."""
    return lambda body: body.count(b'"outcome":"applied"') == count


async def push(
    service: Service,
    work: Sequence[tuple[Phone, Sequence[Packed]]],
    good: Callable[[bytes], bool] | None,
    concurrency: int = CONCURRENCY,
) -> Timed:
    """Sends prepared batches, those of a phone one after the other."""
    todo = deque((phone, deque(batches)) for phone, batches in work)
    timed = Timed()

    async def send() -> None:
        line = await Line.open(service.url)
        while todo:
            phone, batches = todo.popleft()
            began = time.perf_counter()
            answer = await phone.exchange(line, batches.popleft())
            timed.each.append(time.perf_counter() - began)
            if answer.status != 200 or (good is not None and not good(answer.body)):
                raise Unexpected(f"a push: {answer.status} {answer.body[:500]!r}")
            if batches:
                todo.append((phone, batches))
        line.close()

    await asyncio.gather(*(send() for _ in range(concurrency)))
    return timed.done()


def _problems(phone: Phone, count: int) -> list[dict[str, Any]]:
    mutations = []
    for _ in range(count):
        visit = phone.visit(phone.rng.randrange(60_000, 3_600_000))
        now = canonical_moment(datetime.now(UTC))
        problem = phone.new_id()
        fields = {
            "household_id": visit["household_id"],
            "duty": phone.rng.choice(tuple(DUTIES)),
            "severity": phone.rng.choice(tuple(SEVERITIES)),
            "title": phone.note()[:40],
            "detail": phone.note(),
            "raised_at": visit["visited_at"],
        }
        mutations.append(phone.mutation("problem", problem, fields))
        for action in ("accept", "handle", "note", "resolve"):
            step = {"problem_id": problem, "action": action, "at": now, "note": phone.note()}
            mutations.append(phone.mutation("step", phone.new_id(), step))
    return mutations


async def raw_insert(url: str, since: dict[str, int], batch: int) -> tuple[float, int]:
    """The visits of some grids above a revision, inserted by PostgreSQL alone into a table like
    theirs; the seconds and how many.
    """
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS raw_visit (LIKE visit INCLUDING ALL)")
    columns = {
        row["attname"]: row["type"]
        for row in await connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
            " WHERE attrelid = 'visit'::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attnum"
        )
    }
    names = ", ".join(f'"{name}"' for name in columns)
    flat = {name: "text" if kind == "text[]" else kind for name, kind in columns.items()}
    taken = ", ".join(f'v."{name}"::{kind}' for name, kind in flat.items())
    rows = await connection.fetch(
        f"SELECT {taken} FROM visit v"
        " JOIN unnest($1::text[], $2::bigint[]) AS s(grid, rev) ON v.grid = s.grid"
        " AND v.rev > s.rev ORDER BY v.grid, v.rev",
        list(since),
        list(since.values()),
    )
    await connection.close()
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(flat.values(), 1))
    values = ", ".join(f'r."{name}"::{kind}' for name, kind in columns.items())
    sql = f"INSERT INTO raw_visit ({names}) SELECT {values} FROM unnest({arrays}) AS r({names})"
    batches = [
        list(map(list, zip(*rows[start : start + batch], strict=True)))
        for start in range(0, len(rows), batch)
    ]
    random.Random(batch).shuffle(batches)
    pool = await asyncpg.create_pool(url, min_size=RAW_CONNECTIONS, max_size=RAW_CONNECTIONS)
    async with (
        asyncio.TaskGroup() as group
    ):  # every connection knows the statement before the clock runs
        for _ in range(RAW_CONNECTIONS):
            group.create_task(pool.execute(sql, *[[] for _ in columns]))

    async def work() -> None:
        async with pool.acquire() as lent:
            while batches:
                await lent.execute(sql, *batches.pop())

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(RAW_CONNECTIONS)))
    seconds = time.perf_counter() - began
    await pool.close()
    return seconds, len(rows)
