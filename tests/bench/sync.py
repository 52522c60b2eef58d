"""How fast the sync path is: phones against two service processes, measured against what PostgreSQL
alone does in the same run.

`python -m tests.bench.sync [--rounds 5] [--keep FOLDER] [--large 14000000]`; part of `make bench`.
Server, database and phones share the machine's cores. Every figure is the median of the rounds; in
each round all measures take their turn, over an empty database and, with `--large`, over one that
holds so many visits already.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

import migrations
from service.cli.console import progress_bar
from service.kit.database import Database, open_pool
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import embedded, fresh_database, temporary_folder
from simulator.places import PASSWORD
from simulator.throwaway import CHEAP
from tests.bench import reads
from tests.bench.measures import BATCHES, CONCURRENCY, DEVICES, LARGE_BATCHES, World
from tests.bench.overload import overload
from tests.bench.service import serving

REPORT = Path(__file__).parent / "sync.md"
FIGURES = Path(__file__).parent / "sync.json"
PROCESSES = 2
OVERLOADS = 5  # rounds
Figures = dict[str, float]
Rounds = dict[str, list[Figures]]


class Target(NamedTuple):
    """A line of the report: what it is about, how its figure is got from the rounds, and what it
    has to reach.
    """

    text: str
    figure: Callable[[Rounds], float]
    bound: float
    at_least: bool = True
    shown: str = ",.2f"

    def met(self, figure: float) -> bool:
        """Whether a figure is good enough."""
        return figure >= self.bound if self.at_least else figure <= self.bound


def median(rounds: Rounds, measure: str, figure: str) -> float:
    """The median of one figure of a measure."""
    return statistics.median(item[figure] for item in rounds[measure])


def _ratio(rounds: Rounds, measure: str, to: str) -> float:
    """The median of the ratios of two measures' rates, round by round."""
    return statistics.median(
        one["rate"] / other["rate"] for one, other in zip(rounds[measure], rounds[to], strict=True)
    )


TARGETS = (
    Target(
        "push of 50 visits: of PostgreSQL's own insert",
        lambda r: median(r, "push 50", "ratio"),
        0.35,
    ),
    Target(
        "push of 50 visits: p99, ms",
        lambda r: median(r, "push 50", "p99_ms"),
        120,
        at_least=False,
        shown=",.0f",
    ),
    Target(
        "push of 500 visits: of PostgreSQL's own insert",
        lambda r: median(r, "push 500", "ratio"),
        0.5,
    ),
    Target(
        "pull, first sync: records/s", lambda r: median(r, "pull", "rate"), 50_000, shown=",.0f"
    ),
    Target(
        "pull, first sync: bytes a record on the wire",
        lambda r: median(r, "pull", "bytes"),
        120,
        at_least=False,
        shown=",.0f",
    ),
    Target("idle: exchanges/s", lambda r: median(r, "idle", "rate"), 3_000, shown=",.0f"),
    Target(
        "idle: p99, ms", lambda r: median(r, "idle", "p99_ms"), 25, at_least=False, shown=",.1f"
    ),
    Target(
        "updates, a tenth of them contested: of the push of 50",
        lambda r: _ratio(r, "updates", "push 50"),
        0.5,
    ),
    Target(
        "problems with steps: of the push of 50", lambda r: _ratio(r, "problems", "push 50"), 0.5
    ),
)


MEASURES: Mapping[str, Callable[[World], Awaitable[Figures]]] = {
    "push 50": lambda world: world.visits(50, BATCHES),
    "push 500": lambda world: world.visits(500, LARGE_BATCHES),
    "pull": World.pull,
    "idle": World.idle,
    "updates": World.updates,
    "problems": World.problems,
}


async def roster_database(server: str, name: str = "bench_roster") -> str:
    """The name of a database with the whole roster and no work yet, made once a folder."""
    connection = await asyncpg.connect(server)
    there = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name
    )
    await connection.close()
    if not there:
        draft = await fresh_database(server, name + "_draft")
        await asyncio.to_thread(migrations.upgrade, draft)
        pool = await open_pool(draft, 2)
        await load(
            Database(pool), Settings(database_url=draft), utc_now(), password=CHEAP.hash(PASSWORD)
        )
        await pool.execute("VACUUM ANALYZE")
        await pool.close()
        connection = await asyncpg.connect(server)
        await connection.execute(f'ALTER DATABASE "{name}_draft" RENAME TO "{name}"')
        await connection.close()
    return name


async def large_database(server: str, visits: int) -> str:
    """The name of a database with so many visits, made once a folder: the one over which reads are
    measured, too.
    """
    if await reads.kept(server, visits) is None:
        await reads.prepare(server, visits)
    return f"bench_{visits}"


async def written_down(server: str) -> None:
    """Waits until all that copying and filling left is on the disk, so that none of it is
    measured.
    """
    connection = await asyncpg.connect(server)
    await connection.execute("CHECKPOINT")
    await connection.close()
    await asyncio.to_thread(os.sync)


async def measure(
    worlds: Sequence[World], rounds: int, show: Callable[[str, int, int], None]
) -> dict[str, Rounds]:
    """Every measure in every world, round by round.

    The worlds take a measure right after one another, for the machine is not the same a minute
    later, and in turn each of them first.
    """
    found: dict[str, Rounds] = {world.name: defaultdict(list) for world in worlds}
    for number in range(rounds):
        for world in worlds:
            await world.vacuum()
        for place, (name, take) in enumerate(MEASURES.items()):
            for world in worlds if number % 2 == 0 else reversed(worlds):
                show(
                    f"round {number + 1}: {name}, {world.name}",
                    number * len(MEASURES) + place,
                    rounds * len(MEASURES),
                )
                found[world.name][name].append(await take(world))
    return found


def report(console: Console, found: dict[str, Rounds], crowd: Figures, rounds: int) -> bool:
    """The tables on the screen, the same in Markdown, and everything as JSON; whether all targets
    are met.
    """
    names = list(found)
    first = found[names[0]]
    lines = [
        "# The sync path",
        "",
        f"Medians of {rounds} rounds, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores,"
        f" {platform.python_implementation()}"
        f" {platform.python_version()}: {PROCESSES} service processes with their defaults,"
        " PostgreSQL with fsync on, and the phones that"
        f" ask, {DEVICES} of them over {CONCURRENCY} connections, all on the same cores. Bodies"
        " are gzip both ways.",
        "",
    ]
    rows = [(target, target.figure(first)) for target in TARGETS]
    if len(names) > 1:
        large = found[names[1]]
        for name in first:
            kept = statistics.median(
                one["rate"] / other["rate"]
                for one, other in zip(large[name], first[name], strict=True)
            )
            rows.append(
                (
                    Target(
                        f"{name} over {names[1]}: of the same over {names[0]}", lambda _: 0, 0.9
                    ),
                    kept,
                )
            )
    rows += [
        (Target("four times the load: kept of the best", lambda _: 0, 0.9), crowd["kept"]),
        (
            Target(
                "four times the load: largest process, MB",
                lambda _: 0,
                300,
                at_least=False,
                shown=",.0f",
            ),
            crowd["memory_mb"],
        ),
        (Target("right after it: of the best", lambda _: 0, 0.9), crowd["after"]),
        (
            Target("accepted and lost, batches", lambda _: 0, 0, at_least=False, shown=",.0f"),
            crowd["lost"],
        ),
    ]
    table = Table(title=f"medians of {rounds} rounds")
    for column in ("", "target", "measured"):
        table.add_column(column, justify="left" if not column else "right")
    lines += ["| | target | measured | |", "|---|---|---|---|"]
    for target, figure in rows:
        bound = ("≥ " if target.at_least else "≤ ") + format(target.bound, target.shown)
        met = target.met(figure)
        table.add_row(
            target.text, bound, format(figure, target.shown), style=None if met else "red"
        )
        lines.append(
            f"| {target.text} | {bound} | {format(figure, target.shown)} |"
            f" {'' if met else 'missed'} |"
        )
    console.print(table)
    lines += [
        "",
        "Each measure, median (lowest to highest):",
        "",
        "| measure | figure | " + " | ".join(names) + " |",
    ]
    lines.append("|---|---|" + "---|" * len(names))
    for name, items in first.items():
        for part in items[0]:
            cells = []
            for world in names:
                values = [item[part] for item in found[world][name]]
                shown = ",.3f" if part == "ratio" else ",.0f" if part.endswith("rate") else ",.1f"
                cells.append(
                    f"{statistics.median(values):{shown}} ({min(values):{shown}} to"
                    f" {max(values):{shown}})"
                )
            lines.append(f"| {name} | {part} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Four times the load: "
        + ", ".join(f"{name} {value:,.2f}" for name, value in crowd.items())
        + ".",
    ]
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    FIGURES.write_text(
        json.dumps({"rounds": found, "overload": crowd}, indent=1) + "\n", encoding="utf-8"
    )
    console.print(f"Written to {REPORT.name} and {FIGURES.name} beside this program.")
    return all(target.met(figure) for target, figure in rows)


async def run(server: str, folder: Path, options: Any, console: Console) -> None:
    """Sets the worlds up, measures and reports."""
    templates = {"an empty database": await roster_database(server)}
    if options.large:
        templates[f"{options.large / 1e6:g} M visits"] = await large_database(server, options.large)
    with ExitStack() as stack:
        worlds = []
        for place, (name, template) in enumerate(templates.items()):
            console.print(f"a copy of {template} for {name} …")
            url = await fresh_database(server, f"bench_sync_{place}", template)
            await asyncio.to_thread(migrations.upgrade, url)
            world = World(
                name, url, stack.enter_context(serving(url, folder / str(place), PROCESSES))
            )
            await world.settle_in()
            worlds.append(world)
        await written_down(server)
        with progress_bar() as progress:
            task = progress.add_task("", total=options.rounds * len(MEASURES))
            found = await measure(
                worlds,
                options.rounds,
                lambda what, done, total: progress.update(
                    task, description=what, completed=done, total=total
                ),
            )
            progress.update(task, description="overload")
            crowd = await overload(worlds[0], OVERLOADS)
    report(console, found, crowd, options.rounds)


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of the database server; filled databases in it are used again",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each measure is taken")
    parser.add_argument(
        "--large",
        type=int,
        default=0,
        help="also over a database with so many visits; filling it takes minutes",
    )
    options = parser.parse_args()
    with temporary_folder("bench") as temporary, embedded(options.keep or temporary) as server:
        uvloop.run(run(server, temporary / "service", options, Console()))


if __name__ == "__main__":
    main()
