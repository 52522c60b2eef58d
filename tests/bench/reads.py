"""How fast supervisors read: the same requests over 1 million visits and over 14 million, side by
side.

`make bench` or `python -m tests.bench.reads [--visits 1000000 14000000] [--keep FOLDER]`. Each
figure is the median of the handler with the database included, on the loop that the server runs;
the last column is the growth from the smaller history to the larger.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

import migrations
from service.app import create_app
from service.cli.console import bars, progress_bar
from service.demo.fill import fill
from service.kit.database import Database, open_pool
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import embedded, fresh_database, temporary_folder
from simulator.places import PASSWORD
from simulator.throwaway import CHEAP
from sync_protocol.periods import local_day
from tests.bench.read_cases import Case, Facts, cases, periods_up_to
from tests.conftest import running

REPORT = Path(__file__).parent / "reads.md"
ROUNDS = 31
GROWTH = 1.3


class Measured(NamedTuple):
    """A case's median, its spread, and how its queries reached the tables."""

    median_ms: float
    low_ms: float
    high_ms: float
    access: list[str]


async def prepare(server: str, visits: int) -> str:
    """A database with a year of work."""
    url = await fresh_database(server, f"bench_{visits}")
    await asyncio.to_thread(migrations.upgrade, url)
    pool = await open_pool(url, 2)
    settings = Settings(database_url=url)
    try:
        await load(Database(pool), settings, utc_now(), password=CHEAP.hash(PASSWORD))
        with progress_bar() as progress:
            show = bars(progress)
            await fill(
                Database(pool),
                settings,
                visits,
                visits * 2 // 70,
                local_day(utc_now()) - timedelta(days=1),
                365,
                show,
            )
    finally:
        await pool.close()
    return url


@contextmanager
def recorded() -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """The statements that the service sends meanwhile."""
    seen: list[tuple[str, tuple[Any, ...]]] = []
    driver: Any = asyncpg.Connection
    plain = driver._execute

    async def execute(self: Any, query: str, args: Any, *rest: Any, **named: Any) -> Any:
        seen.append((query, tuple(args)))
        return await plain(self, query, args, *rest, **named)

    driver._execute = execute
    try:
        yield seen
    finally:
        driver._execute = plain


async def main_access(connection: Any, statements: list[tuple[str, tuple[Any, ...]]]) -> list[str]:
    """How the plans of the statements reach the larger tables."""
    found: dict[str, None] = {}
    for sql, values in statements:
        if not sql.lstrip().upper().startswith(("SELECT", "WITH")):
            continue
        [row] = await connection.fetch("EXPLAIN (FORMAT JSON) " + sql, *values)
        for node in _nodes(json.loads(row[0])[0]["Plan"]):
            if "Relation Name" in node and node["Relation Name"] not in (
                "unit",
                "post",
                "device",
                "seal",
                "cadre",
            ):
                index = f" by {node['Index Name']}" if "Index Name" in node else ""
                found[f"{node['Node Type']} on {node['Relation Name']}{index}"] = None
            elif node["Node Type"] == "Bitmap Index Scan":
                found[f"Bitmap Index Scan by {node['Index Name']}"] = None
    return list(found)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


async def facts_of(url: str) -> Facts:
    """What the requests name in a database."""
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            "SELECT household_id::text, created_by, grid, id::text FROM visit"
            " WHERE household_id IS NOT NULL AND NOT deleted ORDER BY grid, rev DESC LIMIT 1"
        )
        assert row is not None
        household, cadre, grid, visit = row
        problem = await connection.fetchval("SELECT problem::text FROM case_file LIMIT 1")
    finally:
        await connection.close()
    last_week, last_month = periods_up_to(local_day(utc_now()) - timedelta(days=1))
    return Facts(last_week, last_month, household, problem, visit, cadre, grid)


async def measure(url: str, some: list[Case]) -> list[Measured]:
    """The medians of each case, after one request that counts for nothing."""
    times: list[list[float]] = [[] for _ in some]
    access: list[list[str]] = [[] for _ in some]
    app = create_app(Settings(database_url=url, demo=True))
    async with running(app) as client:
        form = {"grant_type": "password", "username": "S1502", "password": PASSWORD}
        token = (await client.post("/v1/auth/token", data=form)).json()["access_token"]
        headers = [(b"authorization", f"Bearer {token}".encode())]
        connection = await asyncpg.connect(url)
        for place, case in enumerate(some):
            with recorded() as statements:
                await ask(app, case, headers)
            access[place] = await main_access(connection, statements)
        await connection.close()
        for place, case in enumerate(some):
            await ask(app, case, headers)
            # What takes seconds is not asked for dozens of times.
            began = time.perf_counter()
            await ask(app, case, headers)
            once = time.perf_counter() - began
            for _ in range(ROUNDS if once < 0.5 else 3):
                began = time.perf_counter()
                await ask(app, case, headers)
                times[place].append(1000 * (time.perf_counter() - began))
    return [
        Measured(statistics.median(line), min(line), max(line), way)
        for line, way in zip(times, access, strict=True)
    ]


async def ask(app: Any, case: Case, headers: list[tuple[bytes, bytes]]) -> bytes:
    """One request, which must succeed, given to the app as the server gives it: no time of a client
    is counted in.
    """
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    query = urlencode(
        {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in case.query.items()
        }
    )
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": case.path,
        "raw_path": case.path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    assert sent[0]["status"] == 200, body
    return body


def report(
    console: Console, sizes: list[int], some: list[Case], results: list[list[Measured]]
) -> None:
    """The table on the screen, and the same with the access paths in Markdown."""
    names = [f"{size / 1e6:g} M visits" for size in sizes]
    table = Table(title=f"medians of {ROUNDS} rounds, ms")
    lines = [
        "# Reads",
        "",
        f"Medians of {ROUNDS} rounds (lowest to highest), milliseconds, handler with database, two"
        " shared cores.",
        "",
        "| request | target | " + " | ".join(names) + " | growth |",
        "|---|---|" + "---|" * len(sizes) + "---|",
    ]
    for column in ("request", "target", *names, "growth"):
        table.add_column(column, justify="left" if column == "request" else "right")
    for place, case in enumerate(some):
        figures = [result[place] for result in results]
        growth = figures[-1].median_ms / figures[0].median_ms
        cells = [
            f"{item.median_ms:.1f} ({item.low_ms:.1f} to {item.high_ms:.1f})" for item in figures
        ]
        met = figures[-1].median_ms <= case.target_ms
        shown = f"{growth:.2f}"
        table.add_row(
            case.name,
            f"≤ {case.target_ms:g}",
            *cells,
            shown,
            style=None if met and growth <= GROWTH else "red",
        )
        lines.append(
            f"| {case.name} | ≤ {case.target_ms:g} | " + " | ".join(cells) + f" | {shown} |"
        )
    lines += ["", f"How the plans reach the tables, over {names[-1]}:", ""]
    lines += [
        f"- {case.name}: {'; '.join(results[-1][place].access)}" for place, case in enumerate(some)
    ]
    console.print(table)
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(
        "Written to"
        f" {REPORT.relative_to(Path.cwd()) if REPORT.is_relative_to(Path.cwd()) else REPORT}."
    )


def main() -> None:
    """Fills, measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--visits",
        type=int,
        nargs="+",
        default=[1_000_000, 14_000_000],
        help="sizes of the histories, smallest first",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of the database server; filled databases in it are used again",
    )
    options = parser.parse_args()
    console = Console()
    with temporary_folder("bench") as temporary, embedded(options.keep or temporary) as server:
        results = []
        for visits in options.visits:
            console.print(f"{visits} visits")
            url = asyncio.run(kept(server, visits)) or asyncio.run(prepare(server, visits))
            some = cases(asyncio.run(facts_of(url)))
            results.append(uvloop.run(measure(url, some)))
        report(console, options.visits, some, results)


async def kept(server: str, visits: int) -> str | None:
    """The database of an earlier run in the same folder, if it is whole."""
    url = server.replace("/postgres?", f"/bench_{visits}?", 1)
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidCatalogNameError:
        return None
    try:
        await asyncio.to_thread(migrations.upgrade, url)
        return (
            url
            if await connection.fetchval(
                "SELECT EXISTS (SELECT FROM visit) AND EXISTS (SELECT FROM grid_tally)"
            )
            else None
        )
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
