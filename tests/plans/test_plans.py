"""How PostgreSQL reaches the larger tables for every route that reads stands in `tests/plans/kept`,
a file a route, as if there were a thousand times as many rows: an index that is lost, or a table
that is read as a whole, is another text.

`GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/plans` writes the files anew. Look at what has
changed in them before you commit them.
"""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.app import create_app
from service.demo.fill import fill
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.records.models import TABLES as RECORDS
from service.tallies.recount import TABLES as TALLIES
from simulator.places import NOW, VILLAGE
from sync_protocol.ids import household_id
from sync_protocol.periods import local_day
from tests.bench.read_cases import Case, cases
from tests.bench.reads import ask, facts_of, nodes, recorded, sign_in
from tests.conftest import cloned, running
from tests.world import FAR_GRID, Clock

KEPT = Path(__file__).parent / "kept"
LARGE = {*RECORDS, *TALLIES, "case_file", "mutation", "mutation_body", "household_change"}
# No request may read these as a whole: they grow day by day, and none needs all of them.
NEVER_WHOLE = {
    *("visit", "step", "weekly_analysis", "monthly_summary", "mutation", "mutation_body"),
    *("tally", "week_tally", "village_week_tally", "grid_tally", "cadre_tally", "hours_tally"),
    *("case_tally", "visited_household"),
}
GRIDS, HOUSEHOLDS, VISITS, PROBLEMS, DAYS = 120, 10, 6_000, 600, 100
TIMES = 1_000


async def fill_some(url: str, settings: Settings) -> None:
    """Some months of work in grids of every banner, in the same order every time."""
    connection = await asyncpg.connect(url)
    for table in sorted(LARGE):
        await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    grids = [
        row["grid"]
        for row in await connection.fetch(
            "SELECT grid FROM (SELECT grid, row_number() OVER (ORDER BY grid) AS place FROM counter"
            " WHERE grid ~ '^[0-9]{15}$') AS c"
            " WHERE place % $1 = 0 OR grid LIKE $2 || '%' OR grid LIKE $3 || '%'",
            3_202 // GRIDS,
            VILLAGE,
            FAR_GRID[:12],
        )
    ]
    await connection.execute("DELETE FROM counter WHERE grid <> ALL($1::text[])", grids)
    await connection.execute("DELETE FROM household")
    # Nothing of them is read but where they are.
    await connection.executemany(
        "INSERT INTO household (id, grid, rev, deleted, device, seq, stamp, by, created_by,"
        " received_at, echo, head_name, members, tags)"
        " VALUES ($1, $2, $3, false, $1, 1, $3, 'W', 'W', $4, false, '户主', 3, $5)",
        [
            (household_id(grid, place), grid, place, NOW, ["disabled"] if place % 5 == 0 else [])
            for grid in sorted(grids)
            for place in range(1, HOUSEHOLDS + 1)
        ],
    )
    await connection.close()
    pool = await open_pool(url, 2)
    last = local_day(NOW) - timedelta(days=1)
    try:
        await fill(
            Database(pool), settings, VISITS, PROBLEMS, last, DAYS, lambda what, done, of: None
        )
        await pool.execute(
            "UPDATE pg_class SET reltuples = $1 * reltuples WHERE relname = ANY($2::text[])"
            " OR oid IN (SELECT indexrelid FROM pg_index JOIN pg_class t ON t.oid = indrelid"
            " WHERE t.relname = ANY($2::text[]))",
            TIMES,
            sorted(LARGE),
        )
    finally:
        await pool.close()


# Whether rows are sorted or hashed before they are counted says nothing of how tables are reached,
# and costs about the same.
PASSED_OVER = {
    *("Sort", "Incremental Sort", "Aggregate", "Group", "Unique", "WindowAgg", "Limit", "Result"),
    *("Hash", "Materialize", "Memoize", "Subquery Scan", "ProjectSet"),
}


def shape(plan: dict[str, Any], depth: int = 0) -> list[str]:
    """The nodes of a plan that read tables and indexes, and those that join them."""
    name = str(plan["Node Type"])
    is_shown = name not in PASSED_OVER
    if "Index Name" in plan:
        name += f" by {plan['Index Name']}"
    if "Relation Name" in plan:
        name += f" on {plan['Relation Name']}"
    if "CTE Name" in plan:
        name += f" of {plan['CTE Name']}"
    lines = ["  " * depth + name] if is_shown else []
    for child in plan.get("Plans", ()):
        lines += shape(child, depth + is_shown)
    return lines


async def plans_of(
    connection: asyncpg.Connection, statements: list[tuple[str, tuple[Any, ...]]]
) -> list[dict[str, Any]]:
    """The plans of the statements that read a larger table."""
    found = []
    for sql, values in statements:
        if sql.lstrip().upper().startswith(("SELECT", "WITH")):
            [row] = await connection.fetch("EXPLAIN (FORMAT JSON) " + sql, *values)
            plan = json.loads(row[0])[0]["Plan"]
            if any(node.get("Relation Name") in LARGE for node in nodes(plan)):
                found.append(plan)
    return found


def text_of(some: list[tuple[Case, list[dict[str, Any]]]]) -> str:
    """The plans of a route, request by request."""
    lines = []
    for case, plans in some:
        lines.append(f"# {case.name}")
        # A request may ask two things at the same time, and the same thing again and again.
        for plan in sorted({"\n".join(shape(plan)) for plan in plans}):
            lines += ["", plan]
        lines.append("")
    return "\n".join(lines)


async def read_plans(url: str, settings: Settings) -> dict[str, list[Any]]:
    """The plans of every request, by route."""
    found: dict[str, list[Any]] = {}
    refused = []
    clock = Clock(NOW)
    connection = await asyncpg.connect(url)
    # As on a machine of the size that the targets are for, whatever this one has.
    for name, value in (
        ("effective_cache_size", "'1GB'"),
        ("work_mem", "'16MB'"),
        ("random_page_cost", "1.1"),
        ("max_parallel_workers_per_gather", "0"),
        ("jit", "off"),
    ):
        await connection.execute(f"SET {name} = {value}")
    app = create_app(settings, clock.now)
    async with running(app) as client:
        some = cases(await facts_of(url, local_day(NOW)))
        headers = await signed_in(client, {case.by for case in some})
        for case in some:
            with recorded() as statements:
                try:
                    await ask(app, case, headers[case.by])
                except AssertionError as error:
                    refused.append(f"{case.name}: {error}")
                    continue
            plans = await plans_of(connection, statements)
            found.setdefault(case.operation, []).append((case, plans))
    await connection.close()
    assert not refused
    return found


async def signed_in(client: httpx.AsyncClient, people: set[str]) -> dict[str, Any]:
    """The headers of some people."""
    return {who: await sign_in(client, who) for who in people}


@pytest.fixture
async def plans(server: str, template: str) -> dict[str, list[Any]]:
    """The plans of every request, by route."""
    async with cloned(server, template) as url:
        settings = Settings(database_url=url, demo=True, households_per_grid=HOUSEHOLDS)
        await fill_some(url, settings)
        return await read_plans(url, settings)


async def test_every_read_reaches_the_tables_as_it_is_kept(plans: dict[str, list[Any]]) -> None:
    texts = {operation: text_of(some) for operation, some in plans.items()}
    if "GRIDLOOP_TEST_WRITE_SQL" in os.environ:
        KEPT.mkdir(exist_ok=True)
        for path in KEPT.iterdir():
            path.unlink()
        for operation, text in texts.items():
            (KEPT / f"{operation}.txt").write_text(text, encoding="utf-8")
    kept = {path.stem: path.read_text(encoding="utf-8") for path in KEPT.iterdir()}
    assert kept == texts, "see the top of this file"
    whole = {
        f"{case.name}: {node['Relation Name']}"
        for some in plans.values()
        for case, found in some
        for plan in found
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in NEVER_WHOLE
    }
    assert not whole
