"""Two hundred bodies come at a byte a second while fifty phones sync: what the phones wait beside
that of a quiet while right before.

The phones and the slow clients are those of `tests/bench/fairness.py`. Run with `python -m
tests.drills.slow_bodies`.
"""

import asyncio
import os
from pathlib import Path
from statistics import median

from service.http.crowding import room_for_files
from service.runtime.postgres import embedded, temporary_folder
from tests.bench.fairness import PHONES, SETTLE_S, Crowd, at, prepared
from tests.drills.common import WANTED_RATIO, Report, main, service_over

BODIES, SECONDS, ROUNDS = 200, 8.0, 3


async def live_through(url: str, folder: Path, report: Report) -> None:
    """Quiet and beside the slow bodies, in turn."""
    async with service_over(url, folder) as service:
        crowd = Crowd(service, rounds=1, tolerant=True)
        await crowd.settle_in()
        await crowd.measure(3)
        ratios = []
        for number in range(1, ROUNDS + 1):
            quiet = await crowd.measure(SECONDS)
            before = crowd.refused
            async with crowd.slow_bodies(BODIES):
                await asyncio.sleep(SETTLE_S)
                beside = await crowd.measure(SECONDS)
            ratios.append(at(beside, 0.99) / at(quiet, 0.99))
            figures = (
                f"median {at(beside, 0.5):.1f} ms, p99 {at(beside, 0.99):.1f} ms; quiet"
                f" {at(quiet, 0.5):.1f}, {at(quiet, 0.99):.1f} ms"
            )
            report.row(
                f"round {number}: {len(beside)} exchanges",
                f"{figures}; 503: {crowd.refused - before}",
            )
        ratio = median(ratios)
        report.row(
            "p99 beside them to quiet, the middle round",
            f"{ratio:.1f} x",
            f"{WANTED_RATIO:g} x at most",
            ratio <= WANTED_RATIO,
            figure=True,
        )
        report.row("503 that phones got", crowd.refused, "0", crowd.refused == 0, figure=True)


def drill() -> Report:
    """The drill."""
    report = Report(
        f"{BODIES} bodies at a byte a second beside {PHONES} phones, load average before"
        f" {os.getloadavg()[0]:.1f}"
    )
    room_for_files(BODIES * 2)
    with temporary_folder("gridloop-drill-") as folder, embedded(folder / "home") as server:
        asyncio.run(live_through(asyncio.run(prepared(server)), folder, report))
    return report


if __name__ == "__main__":
    main(drill)
