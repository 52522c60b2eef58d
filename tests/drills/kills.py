"""PostgreSQL is killed ten times under load, and processes of the service five times: nothing that
was acknowledged is lost.

The load and what is checked are those of `tests/stress/test_kills.py`. Run with `python -m
tests.drills.kills`.
"""

import asyncio
import time
from pathlib import Path

from service.runtime.postgres import temporary_folder
from tests.drills.common import Report, main
from tests.stress.test_kills import Killing, killed_under_load

POSTGRES, WORKERS, ROUNDS = 10, 5, 40


async def live_through(folder: Path, report: Report) -> None:
    """The load, with the kills spread over it."""
    killing = Killing(["postgres", "postgres", "worker"] * WORKERS, ROUNDS)
    began = time.monotonic()
    figures = await killed_under_load(
        folder, killing
    )  # raises where anything is lost, doubled or skipped
    report.row(
        "PostgreSQL killed",
        killing.done["postgres"],
        str(POSTGRES),
        killing.done["postgres"] == POSTGRES,
        figure=True,
    )
    report.row(
        "service processes killed",
        killing.done["worker"],
        str(WORKERS),
        killing.done["worker"] == WORKERS,
        figure=True,
    )
    report.row(
        "ready again: median, longest",
        f"{figures.median_s:.1f} s, {figures.longest_s:.1f} s",
        "60 s at most",
        figures.longest_s < 60,
    )
    report.row("mutations acknowledged, and in the log once each", figures.acknowledged)
    report.row("lost", 0, "0", figure=True)
    report.row("revisions that a puller skipped", 0, "0")
    report.row("rows that a recount finds wrong", 0, "0")
    report.row("seconds under load", f"{time.monotonic() - began:.0f}")


def drill() -> Report:
    """The drill."""
    report = Report("PostgreSQL and processes of the service killed with SIGKILL under load")
    with temporary_folder("gridloop-drill-") as folder:
        asyncio.run(live_through(folder, report))
    return report


if __name__ == "__main__":
    main(drill)
