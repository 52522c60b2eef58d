"""A real replica that streams from a real primary takes over, once with every commit and once
without the last.

The pair of servers is that of `tests/stress/test_failover.py`. Run with `python -m
tests.drills.failover`.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.runtime.postgres import temporary_folder
from tests.drills.common import Report, main
from tests.guarantees.test_09_server_restored import contents
from tests.stress.test_failover import COMMITTEE, Pair, write
from tests.world import SECRETARY, WORKER, Clock, Phone


@asynccontextmanager
async def a_pair() -> AsyncIterator[Pair]:
    """A primary with its replica."""
    with (
        temporary_folder("gridloop-drill-") as folder,
        tempfile.TemporaryDirectory(prefix="gridloop-drill-") as files,
    ):
        pair = Pair(folder, Path(files), Clock())
        try:
            await pair.start()
            yield pair
        finally:
            await pair.close()


async def taken_over(pair: Pair) -> float:
    """Seconds from the end of the primary until the replica's database is served."""
    began = time.monotonic()
    await pair.take_over()
    return time.monotonic() - began


async def without_loss(report: Report) -> None:
    """The replica has every commit."""
    async with a_pair() as pair:
        worker, reader = pair.service.phone(WORKER), pair.service.phone(SECRETARY)
        await worker.sync()
        for number in range(20):
            await write(worker, f"已复制 {number}")
        await reader.sync()
        epoch = reader.store.epoch
        await pair.replicated()
        seconds = await taken_over(pair)
        await write(worker, "新写的")
        pulled = (await reader.sync()).changes + (await worker.sync()).changes
        same = reader.store.epoch == worker.store.epoch == epoch
        report.row("nothing lost: seconds until it serves", f"{seconds:.1f}")
        report.row("nothing lost: a new epoch", "no" if same else "yes", "no", same, figure=True)
        report.row("nothing lost: records that phones pulled again", pulled - 1, "0", pulled == 1)
        report.row(
            "nothing lost: visits on both phones",
            f"{len(contents(worker))}, {len(contents(reader))}",
            "21, 21",
            contents(worker) == contents(reader) and len(contents(worker)) == 21,
        )


async def with_loss(report: Report) -> None:
    """The last commits did not come over; a phone that has only read proves it."""
    async with a_pair() as pair:
        worker, reader, other = (
            pair.service.phone(code) for code in (WORKER, SECRETARY, COMMITTEE)
        )
        phones: tuple[Phone, ...] = (worker, reader, other)
        for phone in phones:
            await phone.sync()
        await write(worker, "已复制")
        await pair.replicated()
        await pair.part()
        for number in range(5):
            await write(worker, f"丢失的 {number}")
        await reader.sync()
        epoch = reader.store.epoch
        seconds = await taken_over(pair)
        report.row("5 commits lost: seconds until it serves", f"{seconds:.1f}")
        await write(other, "新写的")
        unproved = other.store.epoch == epoch
        report.row(
            "5 commits lost: a new epoch before it is proved",
            "no" if unproved else "yes",
            "no",
            unproved,
        )
        await reader.sync()
        proved = reader.store.epoch != epoch
        report.row(
            "5 commits lost: a new epoch once a phone has proved it",
            "yes" if proved else "no",
            "yes",
            proved,
            figure=True,
        )
        for phone in (worker, other, reader, worker):
            await phone.sync()
        all_there = len(contents(worker)) == 7 and contents(worker) == contents(reader) == contents(
            other
        )
        report.row("lost in the end", 7 - len(contents(worker)), "0", all_there, figure=True)


async def both(report: Report) -> None:
    """One after the other."""
    await without_loss(report)
    await with_loss(report)


def drill() -> Report:
    """The drill."""
    report = Report("A streaming replica takes over")
    asyncio.run(both(report))
    return report


if __name__ == "__main__":
    main(drill)
