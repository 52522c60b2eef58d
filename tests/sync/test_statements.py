"""The statements of the sync path that are put together from parts stand in `tests/sync/sql` as
the service sends them, for people to read and to paste into psql.

`GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py` writes them anew.
"""

import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from service.identity.views import View
from service.kit import sql
from service.sync import feed_sql
from service.writes import prefetch_sql
from sync_protocol.ids import household_id
from sync_protocol.records import KINDS
from tests.world import GRID, SECRETARY, World

FOLDER = Path(__file__).parent / "sql"
AT = "2026-11-20T09:00:00+08:00"
KIND_IDS = ", ".join(f"${place} ids of kind {kind}" for place, kind in enumerate(KINDS, 6))
PULL = (
    "$1 to $4 and $14 grids with revs, snapshots, own_since and views, $5 device, $6 to $9 and $13"
    " windows, $10 and $12 own mutations, $11 limit"
)
ABOUT = {
    "read_state": (
        "Where devices stand that hand in nothing (service/writes/prefetch_sql.py).",
        "$1 devices, $2 staff codes, $3 their mailboxes, $4 now",
    ),
    "lock_and_read": (
        "Locks and reads all that a batch of pushes needs (service/writes/prefetch_sql.py).",
        f"$1 devices, $2 staff codes, $3 their mailboxes, $4 now, $5 grids, {KIND_IDS},"
        f" ${6 + len(KINDS)} lock_timeout",
    ),
    "lock_grids_and_read": (
        "The same for mutations whose devices are locked already (service/writes/prefetch_sql.py).",
        "$1 grids, from $2 on the ids of each kind",
    ),
    "read_moved": (
        "What units bring that have other ranges than their code (service/writes/prefetch_sql.py).",
        "$1 to $3 a number for each unit, and the ends of its ranges; $4 mailboxes",
    ),
    "write_new_visits": (
        "What is written beside the COPYs of a push of new visits (service/writes/persist.py).",
        "arrays, a column each; see the `Cte`s of the modules that make the parts",
    ),
    "write_edits": (
        "What is written for a push with an edit, its conflict, a problem and its step"
        " (service/writes/persist.py).",
        "arrays, a column each; see the `Cte`s of the modules that make the parts",
    ),
    "pull_page": (
        "A page of a pull of grids that are shown whole (service/sync/feed_sql.py).",
        PULL,
    ),
    "pull_page_of_parts": (
        "A page of a pull of grids of which a part is shown, too (service/sync/feed_sql.py).",
        f"{PULL}, $15 cadre, $16 assigned problems",
    ),
    "count_of_parts": (
        "How much is still to come of grids of which a part is shown (service/sync/feed_sql.py).",
        "$1 to $3 and $10 grids with views, revs and snapshots, $4 to $7 windows, $8 cadre,"
        " $9 assigned problems",
    ),
    "digests": (
        "Count and digest of copies, for verify (service/sync/feed_sql.py).",
        "$1 and $2 grids with views, $3 to $7 windows",
    ),
}
WHOLE, PARTS = frozenset({View.FULL}), frozenset({View.FULL, View.TIED, View.ASSIGNED})


def script(name: str, statement: str) -> str:
    """A statement as it is kept."""
    what, parameters = ABOUT[name]
    count = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    nothing = ", ".join(["NULL"] * count)
    return (
        f"-- {what}\n-- Parameters: {parameters}.\n"
        "-- Shows the plan that the service has; EXPLAIN does not run the statement.\n"
        "-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py\n"
        f"SET plan_cache_mode = force_generic_plan;\nPREPARE {name} AS\n{statement.strip()};\n"
        f"EXPLAIN EXECUTE {name}({nothing});\nDEALLOCATE {name};\nRESET plan_cache_mode;\n"
    )


async def check(connection: asyncpg.Connection, name: str, statement: str) -> None:
    """Compares a statement with the one that is kept, which PostgreSQL takes as it stands."""
    path, text = FOLDER / f"{name}.sql", script(name, statement)
    if "GRIDLOOP_TEST_WRITE_SQL" in os.environ:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    kept = path.read_text(encoding="utf-8")
    assert kept == text, f"{path} shows another statement: see the top of this file"
    await connection.execute(kept)


@pytest.fixture
async def connection(world: World) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the rights of the service."""
    connection = await asyncpg.connect(str(world.state.settings.database_url))
    yield connection
    await connection.close()


STATEMENTS: dict[str, Callable[[], str]] = {
    "read_state": lambda: prefetch_sql.READ_SQL,
    "lock_and_read": lambda: prefetch_sql.push_sql(tuple(KINDS)),
    "lock_grids_and_read": lambda: prefetch_sql.grids_sql(tuple(KINDS)),
    "read_moved": lambda: prefetch_sql.MOVED_SQL,
    "pull_page": lambda: feed_sql.feed_sql(WHOLE),
    "pull_page_of_parts": lambda: feed_sql.feed_sql(PARTS),
    "count_of_parts": lambda: feed_sql.count_sql(PARTS),
    "digests": lambda: feed_sql.copies_sql(WHOLE),
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_that_reads_is_the_one_that_is_kept(
    name: str, connection: asyncpg.Connection
) -> None:
    await check(connection, name, STATEMENTS[name]())


async def test_a_statement_that_writes_is_the_one_that_is_kept(
    world: World, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    plain = sql.joined_ctes

    def joined(parts: tuple[tuple[str, str, int], ...]) -> str:
        sent.append(plain(parts))
        return sent[-1]

    monkeypatch.setattr(sql, "joined_ctes", joined)
    phone, other = world.wire(), world.wire(SECRETARY)
    visit = phone.mutation(1, fields={"visited_at": AT, "household_id": household_id(GRID, 1)})
    await phone.send(visit)
    [statement] = sent
    await check(connection, "write_new_visits", statement)
    for mine, seq in ((phone, 2), (other, 1)):
        sent.clear()
        edit = mine.mutation(seq, id=visit["id"], base=1, fields={"content": f"改{seq}"})
        problem = mine.mutation(
            seq + 1,
            "problem",
            fields={"title": "水管", "duty": "emergency", "raised_at": AT},
        )
        step = mine.mutation(
            seq + 2, "step", fields={"problem_id": problem["id"], "action": "accept", "at": AT}
        )
        answer = (await mine.send(edit, problem, step)).json()
    assert answer["verdicts"][0]["conflicts"]
    [statement] = sent
    await check(connection, "write_edits", statement)


def test_every_statement_that_is_kept_is_one_of_these() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == ABOUT.keys()
