"""What happens when far more phones come than the server can serve: it keeps serving as many, and
asks the others to come again.
"""

import asyncio
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

import asyncpg

from tests.bench.load_generator import Phone, Unexpected, packed, workers
from tests.bench.measures import World, applied, new_phone, push
from tests.bench.wire import Answer, Line, Packed, inflated

DEVICES = 400
BATCH = 50
BEST_CONCURRENCY = 64
BEST_BATCHES = 6
SECONDS = 10.0
TIMES = 4
LINES = 400
TICK_S = 0.008  # between arrivals, which come a few at once
MEMORY_EVERY_S = 0.5
SPARE = 1.3  # batches prepared, of what the best rate would take


class Sender:
    """A phone with its prepared batches, which sends the same one again until it is taken."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.batches: deque[Packed] = deque()
        self.request: bytes | None = None

    def next_request(self) -> bytes:
        """What the phone sends with no more patience than a broken app has."""
        if self.request is None:
            self.request = self.phone.request(self.batches[0])
        return self.request

    def take(self, answer: Answer) -> int:
        """Takes the answer to a try; its status."""
        if answer.status == 200:
            whole = inflated(answer)
            if not applied(BATCH)(whole.body):
                raise Unexpected(f"a push: {whole.body[:500]!r}")
            self.phone.take(whole)
            self.batches.popleft()
            self.request = None
        elif answer.status != 503 or not answer.header(b"retry-after").isdigit():
            raise Unexpected(f"a push under load: {answer.status} {answer.body[:300]!r}")
        return answer.status


async def overload(world: World, rounds: int) -> dict[str, float]:
    """The medians of some rounds; of the memory the most, of what was lost the sum."""
    found = [await one_round(world) for _ in range(rounds)]
    together: dict[str, Callable[[list[float]], float]] = {"memory_mb": max, "lost": sum}
    return {
        name: together.get(name, statistics.median)([item[name] for item in found])
        for name in found[0]
    }


async def one_round(world: World) -> dict[str, float]:
    """The best rate, then arrivals at four times that rate, then the first moments after them."""
    senders = [Sender(new_phone(staff, grid, "crowd")) for staff, grid in workers(DEVICES)]
    await world.arrive([sender.phone for sender in senders])
    prepare(senders, BEST_BATCHES)
    best = await rate_of(world, senders)

    arrivals = int(best / BATCH * TIMES * SECONDS)
    prepare(senders, int(best / BATCH * SECONDS * SPARE / DEVICES) + 2)
    statuses: Counter[int] = Counter()
    free = deque(senders)
    lines = [await Line.open(world.service.url) for _ in range(LINES)]
    idle_lines = deque(lines)
    under_way: set[asyncio.Future[Answer]] = set()
    wrong: list[Exception] = []
    memory = 0.0

    def arrive(sender: Sender, line: Line) -> None:
        answer = line.begin(sender.next_request())
        under_way.add(answer)
        answer.add_done_callback(partial(leave, sender, line))

    def leave(sender: Sender, line: Line, answer: asyncio.Future[Answer]) -> None:
        under_way.discard(answer)
        try:
            statuses[sender.take(answer.result())] += 1
        except Exception as error:
            wrong.append(error)
        idle_lines.append(line)
        if sender.batches:
            free.append(sender)

    began = look_again = time.perf_counter()
    came = 0
    while came < arrivals and not wrong:
        await asyncio.sleep(TICK_S)
        now = time.perf_counter()
        due = min(arrivals, int((now - began) * arrivals / SECONDS))
        for _ in range(due - came):
            if idle_lines and free:
                arrive(free.popleft(), idle_lines.popleft())
            else:
                statuses[0] += 1  # nobody was left to arrive: all wait for an answer
        came = due
        if now > look_again:
            memory = max(memory, world.service.memory_mb())
            look_again += MEMORY_EVERY_S
    seconds = time.perf_counter() - began
    carried = statuses[200]
    if under_way:
        await asyncio.wait(under_way)
    if wrong:
        raise wrong[0]
    for line in lines:
        line.close()

    prepare(senders, BEST_BATCHES)
    after = await rate_of(world, senders)
    lost = await missing(world, senders)
    return {
        "best_rate": best,
        "arrivals_s": arrivals / seconds,
        "carried_rate": carried * BATCH / seconds,
        "kept": carried * BATCH / seconds / best,
        "taken": statuses[200],
        "sent_away": statuses[503],
        "not_sent": statuses[0],
        "memory_mb": memory,
        "after": after / best,
        "lost": lost,
    }


def prepare(senders: list[Sender], batches: int) -> None:
    """Makes the batches ahead, so that the load costs next to nothing while it runs."""
    for sender in senders:
        # What was prepared and not sent is gone; the count goes on from what the server has.
        sender.phone.seq -= BATCH * len(sender.batches)
        sender.request = None
        sender.batches = deque(packed(sender.phone.visits(BATCH)) for _ in range(batches))


async def rate_of(world: World, senders: list[Sender]) -> float:
    """Records a second when as many come as are served best."""
    work = [(sender.phone, list(sender.batches)) for sender in senders]
    timed = await push(world.service, work, applied(BATCH), BEST_CONCURRENCY)
    for sender in senders:
        sender.batches.clear()
    return BATCH * len(timed.each) / timed.seconds


async def missing(world: World, senders: list[Sender]) -> int:
    """How many batches were answered as taken that the database does not hold."""
    connection = await asyncpg.connect(world.url)
    rows = await connection.fetch(
        "SELECT device::text, count(*) AS kept FROM mutation WHERE device = ANY($1::uuid[])"
        " GROUP BY device",
        [sender.phone.device for sender in senders],
    )
    await connection.close()
    kept = {row["device"]: row["kept"] for row in rows}
    return sum(
        max(0, sender.phone.seq - kept.get(sender.phone.device, 0)) // BATCH for sender in senders
    )
