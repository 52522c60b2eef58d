"""Migrations, the embedded server, and what happens while the database is down."""

import asyncio
import json
import multiprocessing
import time
import uuid
import zlib
from multiprocessing.synchronize import Event
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

import migrations
from service.app import create_app
from service.kit.settings import Settings
from service.models import metadata
from service.runtime.postgres import embedded
from sync_protocol.limits import MAX_MUTATION_BYTES
from tests.conftest import cloned, running
from tests.world import GRID, Clock, World


async def test_migrations_and_models_agree(database_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import Connection

    def differences(connection: Connection) -> object:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )

    engine = create_async_engine(migrations.driver_url(database_url))
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    # Alembic's own table is the only one that the models do not know.
    assert [item for item in found if "alembic_version" not in str(item)] == []  # type: ignore[attr-defined]


async def test_the_counts_of_duties_survive_the_way_back_and_forth(
    world: World, database_url: str
) -> None:
    # Back goes only what the previous release could read.
    await world.fetch("TRUNCATE mutation, mutation_body")
    await world.fetch("UPDATE server SET encryption = 'compatible'")
    phone = world.phone()
    await phone.sync()
    at = {"visited_at": "2026-11-16T09:00:00+08:00"}
    phone.put("visit", at | {"duties": {"add": ["emergency", "public_order"]}}, grid=GRID)
    phone.put("visit", at | {"duties": {"add": ["emergency"]}}, grid=GRID)
    phone.put("visit", at, grid=GRID)
    raised = {
        "duty": "social_relief",
        "severity": "ordinary",
        "title": "补贴未到",
        "raised_at": at["visited_at"],
    }
    phone.put("problem", raised, grid=GRID)
    await phone.sync()
    kept = await world.fetch("SELECT * FROM grid_tally ORDER BY span, grid")
    found = {
        (
            row["visits"],
            row["visits_emergency"],
            row["visits_public_order"],
            row["raised_social_relief"],
        )
        for row in kept
    }
    assert found == {(3, 2, 1, 1)}
    configuration = migrations.configuration(database_url)
    await asyncio.to_thread(command.downgrade, configuration, "0006")
    rows = await world.fetch(
        "SELECT duty, visits, raised FROM grid_tally WHERE span = '2026-11' ORDER BY duty"
    )
    assert [tuple(row) for row in rows] == [
        ("", 3, 1),
        ("emergency", 2, 0),
        ("public_order", 1, 0),
        ("social_relief", 0, 1),
    ]
    await asyncio.to_thread(command.upgrade, configuration, "head")
    assert [
        tuple(row) for row in await world.fetch("SELECT * FROM grid_tally ORDER BY span, grid")
    ] == [tuple(row) for row in kept]


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ("SELECT 1", "complete"),
        ("INSERT INTO cadre VALUES ('a', 'b', '', false, NULL, false)", "compatible"),
    ],
)
async def test_a_migrated_database_keeps_the_old_form_of_encryption_and_a_new_one_needs_none(
    server: str, rows: str, state: str
) -> None:
    async with cloned(server, "template0") as url:
        configuration = migrations.configuration(url)
        await asyncio.to_thread(command.upgrade, configuration, "0007")
        connection = await asyncpg.connect(url)
        await connection.execute(rows)
        await connection.execute(
            """
            INSERT INTO held (id, device, seq, staff_code, mailbox, rev, kind, record, grid, stamp,
                offset_ms, body, reason, detail,
                              waits_for, received_at, state)
            SELECT gen_random_uuid(), gen_random_uuid(), n, 'a', '@a', n, 'visit',
                   CASE WHEN n = 2 THEN '' ELSE coalesce(w::text, '') END, '1', 0, 0,
                   json_build_object('fields', json_build_object('household_id', w)), 'r', 'd', w,
                   now(), 'open'
            FROM (VALUES (1, $1::uuid), (2, $2::uuid), (3, NULL)) AS v(n, w)
            """,
            uuid.UUID(int=1),
            uuid.UUID(int=2),
        )
        await asyncio.to_thread(command.upgrade, configuration, "head")
        assert await connection.fetchval("SELECT encryption FROM server") == state
        kinds = [
            row["waits_for_kind"]
            for row in await connection.fetch("SELECT waits_for_kind FROM held ORDER BY seq")
        ]
        assert kinds == ["visit", "household", None]
        await asyncio.to_thread(command.downgrade, configuration, "0007")
        await connection.close()


async def test_what_the_previous_release_could_not_read_is_not_downgraded(
    world: World, database_url: str
) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1))
    with pytest.raises(DBAPIError, match="restore a backup"):
        await asyncio.to_thread(command.downgrade, migrations.configuration(database_url), "0007")


async def test_what_was_held_before_and_made_every_reading_fail_is_a_copy_after_the_migration(
    server: str,
) -> None:
    deep = "[" * 300 + "]" * 300
    bodies = {
        1: '{"epoch":"\\ud83d","fields":{},"kind":"song"}',
        2: '{"fields":{"x":"a\\u0000b"},"kind":"song"}',
        3: '{"fields":{"x":' + deep + '},"kind":"song"}',
        4: '{"fields":{"x":"' + "a" * 200_000 + '"},"kind":"song"}',
        5: '{"fields":{"x":1},"kind":"song"}',
    }
    async with cloned(server, "template0") as url:
        configuration = migrations.configuration(url)
        await asyncio.to_thread(command.upgrade, configuration, "0007")
        connection = await asyncpg.connect(url)
        for seq, body in bodies.items():
            await connection.execute(
                """
                INSERT INTO held (id, device, seq, staff_code, mailbox, rev, kind, record, grid,
                    stamp, offset_ms, body, reason, detail,
                                  received_at, state)
                VALUES (gen_random_uuid(), gen_random_uuid(), $1, 'a', '@a', $1, 'song', '', '1', 0,
                    0, $2::text::json, 'r', 'd',
                        now(), 'open')
                """,
                seq,
                body,
            )
        await asyncio.to_thread(command.upgrade, configuration, "head")
        rows = await connection.fetch(
            "SELECT seq, body, original, body -> 'fields' ->> 'x' FROM held ORDER BY seq"
        )
        await connection.close()
    assert [row["seq"] for row in rows if row["original"] is not None] == [1, 2, 3, 4]
    for row in rows[:4]:
        assert zlib.decompress(row["original"]).decode() == bodies[row["seq"]]
        assert len(row["body"].encode()) <= MAX_MUTATION_BYTES
        json.dumps(json.loads(row["body"])["fields"], ensure_ascii=False).encode()
    assert rows[4]["body"] == bodies[5]


async def test_a_database_that_is_down_is_a_problem_and_comes_back(
    clock: Clock, settings: Settings
) -> None:
    gone = settings.model_copy(
        update={"database_url": str(settings.database_url).replace("/test_", "/absent_")}
    )
    async with running(create_app(gone, clock.now)) as client:
        assert (await client.get("/healthz")).status_code == 200
        for response in (
            await client.get("/readyz"),
            await client.post(
                "/v1/auth/token", data={"grant_type": "password", "username": "a", "password": "b"}
            ),
        ):
            assert (response.status_code, response.json()["type"]) == (503, "/problems/unavailable")
            assert "Retry-After" in response.headers


async def test_an_unforeseen_error_shows_no_stack_trace(world: World) -> None:
    token = await world.token("admin")
    # Tables that are missing are told as what they are; that a code is a number is not foreseen.
    await world.fetch("TRUNCATE grid_tally")
    await world.fetch("ALTER TABLE grid_tally ALTER COLUMN grid TYPE integer USING 0")
    response = await world.client.get(
        "/v1/summaries/weekly",
        params={"unit": "1502", "week": "2026-W47"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert (response.status_code, response.json()["type"]) == (500, "/problems/internal")
    assert "tally" not in response.text


def hold(folder: Path, ready: Event, leave: Event) -> None:
    with embedded(folder):
        ready.set()
        leave.wait(60)


def test_two_processes_share_one_embedded_server_and_the_last_one_stops_it(
    data_folder: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(data_folder, ready, leave))
    other.start()
    assert ready.wait(60)
    pid_file = data_folder / "postgres" / "postmaster.pid"
    pid = pid_file.read_text().splitlines()[0]
    with embedded(data_folder):
        assert pid_file.read_text().splitlines()[0] == pid
    assert pid_file.exists()
    leave.set()
    other.join(60)
    assert not pid_file.exists()


async def test_a_server_whose_owner_was_killed_is_found_and_used(data_folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(data_folder, ready, leave))
    other.start()
    assert ready.wait(60)
    other.kill()
    other.join(60)
    began = time.monotonic()
    with embedded(data_folder) as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    assert time.monotonic() - began < 60
    assert not (data_folder / "postgres" / "postmaster.pid").exists()
