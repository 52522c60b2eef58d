"""The reference device on its own: nothing is lost, whenever its process dies."""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

from sync_protocol.cleaning import UnfitFields
from sync_protocol.device import Account, Device, Store, Transport
from sync_protocol.messages import Change, Mutation, SyncAnswer, Verdict

GRID = "150202100200001"
STATEMENTS = 12


def device(store: Store) -> Device:
    return Device(
        store, Transport(httpx.AsyncClient()), Account("W1", ""), now=lambda: 1_795_000_000_000
    )


def die_at(path: Path, statement: int, act: Callable[[Store], None]) -> None:
    """In a process of its own: acts, and is killed just before the given SQL statement."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remembered(*given: Any, **named: Any) -> sqlite3.Connection:
        opened.append(connect(*given, **named))
        return opened[-1]

    with mock.patch.object(sqlite3, "connect", remembered):
        store = Store(path)
    seen = 0

    def count(sql: str) -> None:
        nonlocal seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    [file] = opened
    file.set_trace_callback(count)
    act(store)
    os._exit(0)


def killed_at(path: Path, statement: int, act: Callable[[Store], None]) -> bool:
    process = multiprocessing.get_context("fork").Process(
        target=die_at, args=(path, statement, act)
    )
    process.start()
    process.join(30)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def put_two(store: Store) -> None:
    phone = device(store)
    phone.put(
        "household", {"head_name": "苏和"}, grid=GRID, id="00000000-0000-4000-8000-000000000001"
    )
    phone.put("household", {"phone": "1"}, grid=GRID, id="00000000-0000-4000-8000-000000000001")


@pytest.mark.filterwarnings("ignore:This process")
def test_an_edit_is_whole_or_absent_when_the_process_is_killed_between_any_two_statements(
    tmp_path: Path,
) -> None:
    deaths = 0
    for statement in range(1, 40):
        path = tmp_path / f"{statement}.sqlite3"
        deaths += killed_at(path, statement, put_two)
        store = Store(path)
        mutations = store.unsent(10)
        assert [mutation.seq for mutation in mutations] == list(range(1, len(mutations) + 1))
        phone = device(store)
        phone.put("household", {"members": 3}, grid=GRID, id="00000000-0000-4000-8000-000000000001")
        assert store.unsent(10)[-1].seq == len(mutations) + 1
        store.close()
    assert deaths > STATEMENTS


ANSWER = SyncAnswer(
    epoch="e",
    server_time="2026-11-20T00:00:00.000Z",
    acked=1,
    verdicts=[Verdict(1, "applied", 5)],
    changes=[
        Change(
            "household",
            "00000000-0000-4000-8000-000000000002",
            GRID,
            4,
            fields={"head_name": "巴图"},
        )
    ],
    dropped_grids=[],
    cursor="c",
    more=False,
    pending=0,
)


def state(path: Path) -> Any:
    with sqlite3.connect(path) as db:
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("meta", "record", "outbox")
        ]


@pytest.mark.filterwarnings("ignore:This process")
def test_an_answer_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """The cursor is never kept without its page, nor the page without its cursor."""

    def take(store: Store) -> None:
        store.take(ANSWER, store.unsent(10), from_start=True)

    whole: Any = None
    for statement in range(40, 0, -1):
        path = tmp_path / f"{statement}.sqlite3"
        store = Store(path)
        phone = device(store)
        store.set(device="d")
        phone.put(
            "household", {"head_name": "苏和"}, grid=GRID, id="00000000-0000-4000-8000-000000000001"
        )
        store.close()
        before = state(path)
        if not killed_at(path, statement, take):
            whole = state(path)
        assert state(path) in (before, whole)
    assert whole is not None


def test_fields_are_checked_before_they_are_kept(tmp_path: Path) -> None:
    store = Store(":memory:")
    with pytest.raises(UnfitFields, match="members must lie from 0 to 99"):
        device(store).put("household", {"head_name": "x", "members": 100}, grid=GRID)
    assert store.count_unsent() == 0


def test_a_phone_that_is_told_of_numbers_it_never_gave_starts_as_a_new_device() -> None:
    store = Store(":memory:")
    phone = device(store)
    store.set(epoch="e")
    phone.put("household", {"head_name": "苏和"}, grid=GRID)
    answer = SyncAnswer("e", "2026-11-20T00:00:00.000Z", 7, [], [], [], "c", False, 0)
    assert not store.out_of_step()
    store.take(answer, [], from_start=False)
    assert store.out_of_step()
    for _ in range(7):  # its numbers grow up to what was acknowledged, and still they are not those
        phone.put("household", {"head_name": "苏和"}, grid=GRID)
        assert store.out_of_step()
    store.renumber("new")
    assert not store.out_of_step()
    assert [mutation.seq for mutation in store.unsent(10)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_device_that_starts_anew_keeps_every_unacknowledged_edit_in_order() -> None:
    store = Store(":memory:")
    phone = device(store)
    for name in ("a", "b", "c"):
        phone.put("household", {"head_name": name}, grid=GRID)
    store.take_refusal({"acked": 1, "verdicts": [{"seq": 1, "outcome": "applied", "rev": 5}]})
    store.renumber("new")
    kept: list[Mutation] = store.unsent(10)
    assert [(mutation.seq, mutation.fields["head_name"]) for mutation in kept] == [
        (1, "b"),
        (2, "c"),
    ]
    assert phone.id == "new"
