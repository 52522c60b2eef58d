"""`gridloop simulate`: thousands of seeds, with the faults by kind and the schedules a minute."""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from migrations.roles import migrate
from service.cli.console import progress_bar
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import embedded, fresh_database, temporary_folder
from simulator.places import NOW, PASSWORD
from simulator.simulation import Simulation
from simulator.throwaway import CHEAP, ROLES, TEST_CONFIG, quickest_disk

PLAIN = "gridloop_plain"
TRACE_LINES = 60


class Outcome(NamedTuple):
    """What became of a seed: its counts, and for one that failed the promise and the last steps."""

    seed: int
    counts: dict[str, int]
    failure: str | None
    trace: list[str]


async def _template(server: str) -> None:
    empty = await fresh_database(server, PLAIN)
    await asyncio.to_thread(migrate, empty, ROLES)
    pool = await open_pool(empty, 1)
    try:
        await load(
            Database(pool), Settings(households_per_grid=0), NOW, password=CHEAP.hash(PASSWORD)
        )
    finally:
        await pool.close()


def _work(server: str, seeds: list[int], results: "multiprocessing.Queue[Outcome | None]") -> None:
    parent = os.getppid()
    logging.getLogger("gridloop").setLevel(
        logging.CRITICAL
    )  # the faults of the database are made on purpose
    for seed in seeds:
        if os.getppid() != parent:
            return  # whoever started this is gone
        simulation = Simulation(seed, server, PLAIN)
        failure = None
        try:
            asyncio.run(simulation.run())
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        results.put(
            Outcome(
                seed,
                dict(simulation.counts),
                failure,
                simulation.trace[-TRACE_LINES:] if failure else [],
            )
        )
    results.put(None)


def _outcomes(results: "multiprocessing.Queue[Outcome | None]", workers: int) -> Iterator[Outcome]:
    while workers:
        outcome = results.get()
        if outcome is None:
            workers -= 1
        else:
            yield outcome


def run(first: int, seeds: int, workers: int, console: Console) -> int:
    """Runs the seeds from `first` on; returns how many failed."""
    # Asked to end from outside, it ends as by Ctrl-C, and takes its database server with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    counts: Counter[str] = Counter()
    failed: list[Outcome] = []
    with (
        temporary_folder("simulate", quickest_disk()) as folder,
        embedded(folder, TEST_CONFIG) as server,
    ):
        asyncio.run(_template(server))
        context = multiprocessing.get_context("spawn")
        results: multiprocessing.Queue[Outcome | None] = context.Queue()
        every = list(range(first, first + seeds))
        processes = [
            context.Process(target=_work, args=(server, every[place::workers], results))
            for place in range(workers)
        ]
        began = time.monotonic()
        for process in processes:
            process.start()
        with progress_bar() as progress:
            task = progress.add_task("seeds", total=seeds)
            for outcome in _outcomes(results, workers):
                counts.update(outcome.counts)
                progress.advance(task)
                if outcome.failure:
                    failed.append(outcome)
                    console.print(
                        f"[red]seed {outcome.seed}:[/red] {outcome.failure}",
                        highlight=False,
                        soft_wrap=True,
                    )
        seconds = time.monotonic() - began
        for process in processes:
            process.join()
    _report(console, counts, seeds, seconds, failed)
    return len(failed)


def _report(
    console: Console, counts: Counter[str], seeds: int, seconds: float, failed: list[Outcome]
) -> None:
    table = Table(
        title=f"{seeds} schedules, {60 * seeds / seconds:.0f} a minute, {len(failed)} failed",
        title_justify="left",
    )
    table.add_column("what happened")
    table.add_column("times", justify="right")
    for name, count in sorted(counts.items()):
        table.add_row(name, str(count))
    console.print(table)
    if failed:
        first = min(failed)
        console.print(
            f"The last steps of seed {first.seed}:",
            *first.trace,
            sep="\n",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"Replay: gridloop simulate --first {first.seed} --seeds 1")
