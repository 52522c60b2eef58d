"""Promise 9: the server may lose its last hours; nothing that any phone still holds is lost."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.app import create_app
from service.kit.settings import Settings
from service.runtime.postgres import fresh_database
from sync_protocol.device import DeviceRevoked, Transport
from tests.conftest import running
from tests.world import GRID, SECRETARY, WORKER, Clock, Phone, World

AT = {"visited_at": "2026-11-20T09:00:00+08:00"}


class Restorable:
    """A service whose database can be copied and put back."""

    def __init__(self, server: str, settings: Settings, clock: Clock, folder: Path) -> None:
        self.server, self.settings, self.clock, self.folder = server, settings, clock, folder
        self.stack = AsyncExitStack()
        self.phones: list[Phone] = []
        self.names: list[str] = []

    async def start(self, url: str | None = None) -> None:
        """Serves a database, and lets every phone find the service."""
        url = url or str(self.settings.database_url)
        self.url = url
        app = create_app(self.settings.model_copy(update={"database_url": url}), self.clock.now)
        self.client: httpx.AsyncClient = await self.stack.enter_async_context(running(app))
        self.world = World(app, self.client, self.clock, self.folder)
        for phone in self.phones:
            phone.transport = Transport(self.client)

    async def stop(self) -> None:
        """Stops the service."""
        await self.stack.aclose()
        self.stack = AsyncExitStack()

    def phone(self, staff_code: str) -> Phone:
        """A phone that survives the service."""
        phone = self.world.phone(staff_code)
        self.phones.append(phone)
        return phone

    async def backup(self) -> str:
        """Copies the database as it is."""
        await self.stop()
        name = await self._copy(self.url)
        await self.start(self.url)
        return name

    async def restore(self, backup: str, new_epoch: bool = False) -> None:
        """Serves what the backup holds; with `new_epoch` as a careful operator does it."""
        await self.stop()
        url = await fresh_database(self.server, f"{backup}_restored", backup)
        self.names.append(f"{backup}_restored")
        if new_epoch:
            connection = await asyncpg.connect(url)
            await connection.execute("UPDATE server SET epoch = gen_random_uuid()")
            await connection.close()
        await self.start(url)

    async def _copy(self, url: str) -> str:
        source = url.partition("?")[0].rpartition("/")[2]
        name = f"{source}_backup{len(self.names)}"
        await fresh_database(self.server, name, source)
        self.names.append(name)
        return name

    async def close(self) -> None:
        """Stops the service and drops the copies."""
        for phone in self.phones:
            phone.store.close()
        await self.stop()
        connection = await asyncpg.connect(self.server)
        for name in self.names:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()


@pytest.fixture
async def service(
    server: str, settings: Settings, clock: Clock, tmp_path: Path
) -> AsyncIterator[Restorable]:
    service = Restorable(server, settings, clock, tmp_path)
    await service.start()
    yield service
    await service.close()


def contents(phone: Phone) -> list[Any]:
    return sorted(view.fields.get("content") for view in phone.records("visit"))


@pytest.mark.parametrize("new_epoch", [True, False])
async def test_what_the_server_lost_comes_back_from_the_phones(
    service: Restorable, new_epoch: bool
) -> None:
    worker, secretary = service.phone(WORKER), service.phone(SECRETARY)
    worker.put("visit", AT | {"content": "备份之前"}, grid=GRID)
    await worker.sync()
    await secretary.sync()
    backup = await service.backup()
    service.clock.forward(hours=1)
    for phone in (worker, secretary):
        phone.put("visit", AT | {"content": f"备份之后 {phone.account.staff_code}"}, grid=GRID)
        await phone.sync()
    worker.put("visit", AT | {"content": "还没交"}, grid=GRID)
    old_epoch = worker.store.epoch

    await service.restore(backup, new_epoch)
    for phone in (worker, secretary, worker, secretary):
        await phone.sync()

    assert worker.store.epoch == secretary.store.epoch != old_epoch
    wanted = sorted(["备份之前", f"备份之后 {WORKER}", f"备份之后 {SECRETARY}", "还没交"])
    assert contents(worker) == contents(secretary) == wanted
    assert len(await service.world.fetch("SELECT FROM visit")) == 4
    assert await worker.verify() == await secretary.verify() == []


async def test_a_base_of_the_lost_history_is_compared_by_stamps(service: Restorable) -> None:
    worker, secretary = service.phone(WORKER), service.phone(SECRETARY)
    await worker.sync()
    await secretary.sync()
    house = worker.records("household", GRID)[0].id
    backup = await service.backup()
    worker.put("household", {"phone": "1"}, grid=GRID, id=house)
    await worker.sync()
    await secretary.sync()
    service.clock.forward(minutes=5)
    secretary.put("household", {"phone": "2"}, grid=GRID, id=house)  # it saw the worker's 1

    await service.restore(backup)
    for phone in (secretary, worker, secretary):  # the later edit comes first
        await phone.sync()

    assert {
        view.fields["phone"]
        for phone in (worker, secretary)
        for view in phone.records("household")
        if view.id == house
    } == {"2"}


async def test_a_forged_cursor_proves_nothing(world: World) -> None:
    phone = world.wire()
    first = (await phone.send()).json()
    raw = list(phone.cursor or "")
    raw[40] = "A" if raw[40] != "A" else "B"
    phone.cursor = "".join(raw)
    answer = (await phone.send()).json()
    assert answer["epoch"] == first["epoch"]
    assert answer["changes"] == first["changes"]


async def test_a_device_that_the_restored_server_never_knew_is_taken_in_again(
    service: Restorable,
) -> None:
    backup = await service.backup()
    worker = service.phone(WORKER)
    worker.put("visit", AT | {"content": "甲"}, grid=GRID)
    await worker.sync()
    worker.put("visit", AT | {"content": "乙"}, grid=GRID)
    await service.restore(backup)
    await worker.sync()
    assert contents(worker) == ["乙", "甲"]
    assert len(await service.world.fetch("SELECT FROM visit")) == 2


async def test_server_and_phone_restored_both_at_once_lose_only_what_nobody_holds(
    service: Restorable,
) -> None:
    worker, secretary = service.phone(WORKER), service.phone(SECRETARY)
    worker.put("visit", AT | {"content": "1"}, grid=GRID)
    await worker.sync()
    old_phone = worker.store.copy_to(service.folder / "old.sqlite3")
    backup = await service.backup()
    worker.put("visit", AT | {"content": "2"}, grid=GRID)
    await worker.sync()
    await secretary.sync()
    secretary.put("visit", AT | {"content": "3"}, grid=GRID)
    await secretary.sync()

    await service.restore(backup)
    worker.store.close()
    worker.store = old_phone
    worker.put("visit", AT | {"content": "4"}, grid=GRID)
    for phone in (worker, secretary, worker, secretary):
        await phone.sync()

    # The worker's 2 was on the worker's phone and the server only: both lost it.
    assert contents(worker) == contents(secretary) == ["1", "3", "4"]
    assert await worker.verify() == await secretary.verify() == []


# --------------------------------------------------------------------- more than a request can hold


KEPT = 3_500


def write_many(phone: Phone, name: str, first: int, last: int) -> None:
    """Visits with these numbers, each with a content of its own."""
    for number in range(first, last + 1):
        phone.put("visit", AT | {"content": f"{name}{number}"}, grid=GRID)


async def numbers_of(service: Restorable, device: str) -> list[int]:
    return [
        row["seq"]
        for row in await service.world.fetch(
            "SELECT seq FROM mutation WHERE device = $1 ORDER BY seq", device
        )
    ]


async def kept_contents(service: Restorable) -> set[str]:
    return {
        row["content"]
        for row in await service.world.fetch(
            "SELECT content FROM visit WHERE content ~ '^[ab][0-9]+$'"
        )
    }


def named(name: str, first: int, last: int) -> set[str]:
    return {f"{name}{number}" for number in range(first, last + 1)}


async def test_a_phone_that_keeps_more_than_a_request_holds_shows_all_of_it_again(
    service: Restorable,
) -> None:
    phone = service.phone(WORKER)
    write_many(phone, "a", 1, 2_000)
    await phone.sync()
    backup = await service.backup()
    write_many(phone, "a", 2_001, KEPT)
    await phone.sync()
    device = phone.id

    await service.restore(backup)
    report = await phone.sync()

    again = [verdict.seq for verdict in report.verdicts if verdict.outcome == "duplicate"]
    assert sorted({*again}) == list(range(1, 2_001))
    assert await numbers_of(service, device) == list(range(1, KEPT + 1))
    assert await kept_contents(service) == named("a", 1, KEPT)
    assert (phone.id, phone.store.acked, phone.store.count_unsent(), phone.store.tracing) == (
        device,
        KEPT,
        0,
        False,
    )
    assert await phone.verify() == []


async def test_what_a_copy_of_the_phone_wrote_under_later_numbers_is_found_and_nothing_is_skipped(
    service: Restorable,
) -> None:
    phone = service.phone(WORKER)
    write_many(phone, "a", 1, 1_500)
    await phone.sync()
    backup = await service.backup()
    copy = service.phone(WORKER)
    copy.store.close()
    copy.store = phone.store.copy_to(service.folder / "copy.sqlite3")
    write_many(phone, "a", 1_501, KEPT)
    await phone.sync()
    device = phone.id

    await service.restore(backup)
    service.clock.forward(hours=1)
    write_many(copy, "b", 1_501, 2_500)
    await copy.sync()
    await phone.sync()

    assert await numbers_of(service, device) == list(range(1, 2_501))
    assert phone.id != device
    # The two histories part at 1501: just what lies from there on is the new device's.
    assert await numbers_of(service, phone.id) == list(range(1, KEPT - 1_500 + 1))
    assert await kept_contents(service) == named("a", 1, KEPT) | named("b", 1_501, 2_500)
    assert await service.world.fetch("SELECT FROM conflict") == []
    assert await phone.verify() == []


async def test_what_the_server_lost_in_the_middle_is_handed_in_again(service: Restorable) -> None:
    phone = service.phone(WORKER)
    write_many(phone, "a", 1, KEPT)
    await phone.sync()
    device = phone.id
    await service.world.fetch(
        "DELETE FROM visit USING mutation m WHERE m.id = visit.id::text AND m.device = $1"
        " AND m.seq BETWEEN 1200 AND 1300",
        device,
    )
    await service.world.fetch(
        "DELETE FROM mutation WHERE device = $1 AND seq BETWEEN 1200 AND 1300", device
    )
    await service.world.fetch("UPDATE server SET epoch = gen_random_uuid()")

    await phone.sync()

    assert await kept_contents(service) == named("a", 1, KEPT)
    assert await numbers_of(service, phone.id) == list(range(1, KEPT - 1_199 + 1))
    assert await phone.verify() == []


async def test_a_revoked_phone_that_shows_all_again_is_wiped_only_when_all_was_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = world.phone()
    write_many(phone, "a", 1, 1_500)
    await phone.sync()
    await world.fetch(
        "UPDATE device SET revoked_at = $2 WHERE id = $1", phone.id, world.clock.now()
    )
    phone.store.trace_back(0)
    shown: list[int] = []
    take_refusal = phone.store.take_refusal

    def note(problem: Mapping[str, Any]) -> None:
        shown.extend(verdict["seq"] for verdict in problem["verdicts"])
        take_refusal(problem)

    monkeypatch.setattr(phone.store, "take_refusal", note)
    with pytest.raises(DeviceRevoked):
        await phone.sync()
    assert shown == list(range(1, 1_501))
    assert phone.records() == []
