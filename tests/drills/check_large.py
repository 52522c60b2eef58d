"""`gridloop check` recounts a made-up year while fifty phones sync: its seconds, and what the
phones wait beside a quiet while.

The year is that of `tests/bench/reads.py`, the phones those of `tests/bench/fairness.py`. Run with
`python -m tests.drills.check_large`; the environment variable `VISITS` names another number.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from service.runtime.postgres import embedded, temporary_folder
from tests.bench.fairness import PHONES, Crowd, at
from tests.bench.reads import prepare
from tests.drills.common import Report, main, service_over

VISITS = int(os.environ.get("VISITS", "200000"))
QUIET_S, LONGEST_S = 10.0, 120
LONGEST_ANSWER_S = 5.0


async def live_through(url: str, folder: Path, report: Report) -> None:
    """Phones sync, first alone and then beside the check, once as it is and once with --mend."""
    async with service_over(url, folder) as service:
        crowd = Crowd(service, rounds=1, tolerant=True)
        await crowd.settle_in()
        await crowd.measure(3)
        quiet = await crowd.measure(QUIET_S)
        report.row(
            "phones, quiet",
            f"{len(quiet)} exchanges, median {at(quiet, 0.5):.1f} ms, p99 {at(quiet, 0.99):.1f} ms",
        )
        for arguments in (["check"], ["check", "--mend"]):
            took, code, beside = await checked(url, crowd, arguments)
            name = f"gridloop {' '.join(arguments)}"
            report.row(
                f"{name} over {VISITS:,} visits",
                f"{took:.1f} s, exit {code}",
                f"exit 0, {LONGEST_S} s at most",
                code == 0 and took <= LONGEST_S,
                figure=True,
            )
            figures = (
                f"{len(beside)} exchanges, median {at(beside, 0.5):.1f} ms, p99"
                f" {at(beside, 0.99):.1f} ms"
            )
            figures += f", longest {1000 * max(beside):.0f} ms"
            met = max(beside) < LONGEST_ANSWER_S and crowd.refused == 0
            report.row("phones beside it", figures, f"all within {LONGEST_ANSWER_S:g} s", met)
            report.figures.append(f"p99 {at(beside, 0.99):.0f} ms, quiet {at(quiet, 0.99):.0f}")


async def checked(url: str, crowd: Crowd, arguments: list[str]) -> tuple[float, int, list[float]]:
    """Seconds of a check, its exit status, and what each exchange took meanwhile."""
    environment = os.environ | {"GRIDLOOP_DATABASE_URL": url}
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", *arguments), env=environment, stdout=subprocess.DEVNULL
    )

    async def end() -> tuple[float, int]:
        code = await process.wait()
        return time.perf_counter() - began, code

    ending = asyncio.create_task(end())
    beside: list[float] = []
    while not ending.done():
        beside += await crowd.measure(2)
    return *await ending, beside


def drill() -> Report:
    """The drill."""
    report = Report(
        f"gridloop check beside {PHONES} phones, load average before {os.getloadavg()[0]:.1f}"
    )
    with temporary_folder("gridloop-drill-") as folder, embedded(folder / "home") as server:
        began = time.monotonic()
        url = asyncio.run(prepare(server, VISITS))
        report.row("filling", f"{time.monotonic() - began:.0f} s")
        asyncio.run(live_through(url, folder, report))
    return report


if __name__ == "__main__":
    main(drill)
