"""One simulated history: devices, the real app, the real PostgreSQL, and everything that can go wrong, all from one seed."""

import asyncio
import json
import random
import shutil
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from service.app import create_app
from service.encrypted_values import conflict_value, log_row, verdict_rest
from service.encryption import FieldCipher
from service.encryption_queries import cipher_of
from service.inbox.again import release_overdue
from service.postgres import as_role, fresh_database
from service.settings import Settings
from service.summaries.check import differences
from service.sync import seams
from service.sync.log_queries import read_bodies
from sync_protocol.clock import TOLERANCE_MS, stamp_ms
from sync_protocol.device import Account, Device, Refused, Store, SyncReport, Transport, Unreachable
from sync_protocol.device.device import moment_at
from sync_protocol.messages import Change, canonical_json
from sync_protocol.periods import from_ms, local_day, to_ms
from sync_protocol.windows import in_first_pull
from tests.conftest import ROLES
from tests.simulation.history import (
    Failure,
    Written,
    check,
    check_accounted,
    check_revisions,
    content_of,
    content_of_body,
)
from tests.simulation.network import Network
from tests.world import PASSWORD, VILLAGE, WAITING_FOR_LOCKS

START = datetime(2026, 11, 16, 0, 0, tzinfo=UTC)
GRIDS = [VILLAGE + "001", VILLAGE + "002", VILLAGE + "003"]
CADRES = [f"W{GRIDS[0]}-1", f"W{GRIDS[1]}-1", f"C{VILLAGE}-1", f"C{VILLAGE}-3"]
WEEKS = ["2026-W46", "2026-W47"]
FINAL_ROUNDS = 12


def name_of(url: str) -> str:
    """The database that a URL names."""
    return url.partition("?")[0].rpartition("/")[2]


class ServerKilled(BaseException):
    """The service process died at a seam."""


class SimDevice:
    """A phone of the simulation: its file survives the death of its process."""

    def __init__(self, sim: "Simulation", name: str, staff_code: str, ahead_ms: int) -> None:
        self.sim = sim
        self.name = name
        self.staff_code = staff_code
        self.ahead_ms = ahead_ms
        self.jumped = False
        self.path = sim.folder / f"{name}.sqlite3"
        self.backup: Path | None = None
        self.restored = False
        self.revs: dict[tuple[str, str], tuple[str, int]] = {}
        self.open()

    def open(self) -> None:
        """Starts the phone's process."""
        rng = random.Random(self.sim.rng.getrandbits(64))
        self.device = Device(
            Store(self.path),
            Transport(self.sim.client),
            Account(self.staff_code, PASSWORD),
            now=lambda: self.sim.now_ms + self.ahead_ms,
            rng=rng,
            sleep=self.sim.no_sleep,
            page=self.sim.rng.choice((3, 10, 500)),
            max_tries=2,
            name=self.name,
        )

    def kill(self) -> None:
        """Ends the phone's process and starts it again."""
        self.device.store.close()
        self.open()


class Simulation:
    """`await Simulation(seed, server, template).run()` raises `Failure` when a promise did not hold."""

    def __init__(self, seed: int, server: str, template: str, steps: int = 90) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.server = server
        self.template = template
        self.steps = steps
        self.now_ms = to_ms(START)
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.written: list[Written] = []
        self.stray_moments: set[int] = set()
        self.databases: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="gridloop-sim-"))
        self.network = Network(self.rng, self.counts)
        self.client = httpx.AsyncClient(transport=self.network, base_url="http://gridloop.test")
        self.devices: list[SimDevice] = []
        self.backup: str | None = None
        self.stack = AsyncExitStack()
        self.kill_at: str | None = None
        self.number = 0

    async def no_sleep(self, seconds: float) -> None:
        """Simulated time does not pass while a device waits between tries."""

    # ------------------------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Lives through the history and checks it."""
        try:
            await self._start(await self._clone(self.template, "live"))
            self.devices = [
                SimDevice(self, f"phone{place}", staff_code, self._wrong_by()) for place, staff_code in enumerate([*CADRES, CADRES[0]])
            ]
            for number in range(self.steps):
                self.number = number
                self.now_ms += self.rng.randint(1, 4 * 3600 * 1000)
                self.network.fault_rate = 0.25
                await self._step()
            await self._settle()
            await self._check()
        finally:
            seams.install(None)
            await self._close()

    async def _clone(self, template: str, what: str) -> str:
        name = f"sim_{self.seed}_{what}_{len(self.databases)}"
        self.databases.append(name)
        return await fresh_database(self.server, name, template)

    async def _start(self, url: str) -> None:
        self.url = url
        self.settings = Settings(database_url=as_role(url, ROLES.service), demo=True, pool_size=8)
        self.app = create_app(self.settings, lambda: from_ms(self.now_ms))
        await self.stack.enter_async_context(self.app.router.lifespan_context(self.app))
        self.network.app = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        seams.install(self._seam)

    async def _stop(self) -> None:
        await self.stack.aclose()
        self.stack = AsyncExitStack()

    async def _close(self) -> None:
        await self._stop()
        await self.client.aclose()
        for device in self.devices:
            device.device.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        connection = await asyncpg.connect(self.server)
        for name in self.databases:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()

    async def _seam(self, name: str) -> None:
        if self.kill_at == name:
            self.kill_at = None
            raise ServerKilled(name)

    def _wrong_by(self) -> int:
        day = 24 * 3600 * 1000
        return self.rng.choice((0, 0, 900, -7_000, 2 * day, -3 * day, 4 * 365 * day, -10 * 365 * day))

    def _note(self, text: str) -> None:
        self.trace.append(f"{self.number:4} {from_ms(self.now_ms):%m-%d %H:%M} {text}")

    # ------------------------------------------------------------------------------------------------- the steps

    async def _step(self) -> None:
        device = self.rng.choice(self.devices)
        actions = {
            self._edit: 40,
            self._sync: 26,
            self._overlap: 4,
            self._kill_server: 3,
            self._kill_device: 3,
            self._stray: 5,
            self._jump_clock: 2,
            self._change_post: 3,
            self._decide: 5,
            self._backup_device: 2,
            self._restore_device: 1.2,
            self._clone_device: 0.6,
            self._backup_server: 1.5,
            self._restore_server: 1,
        }
        action = self.rng.choices(list(actions), list(actions.values()))[0]
        await action(device)

    async def _edit(self, device: SimDevice) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self._write_something(device)

    def _write_something(self, device: SimDevice) -> None:
        phone, rng = device.device, self.rng
        views = [view for view in phone.records() if view.kind != "held"]
        grid = rng.choice(GRIDS)
        at = moment_at(self.now_ms + device.ahead_ms)
        before = phone.store.get("next_seq", "1")
        match rng.choices(
            ("visit", "household", "edit", "delete", "problem", "step", "analysis", "move", "bad"), (4, 1, 6, 1.5, 2, 4, 1.5, 0.7, 0.8)
        )[0]:
            case "visit":
                duties = {"add": [rng.choice(("emergency", "public_order"))]}
                phone.put_unchecked("visit", {"visited_at": at, "duties": duties, "content": self._word()}, grid=grid, id=self._id(phone))
            case "household":
                phone.put("household", {"head_name": self._word(), "tags": {"add": [self._tag()]}}, grid=grid)
            case "edit" if views:
                self._edit_record(phone, rng.choice(views))
            case "delete" if views:
                view = rng.choice(views)
                if view.kind in ("household", "visit"):
                    phone.delete(view.kind, view.id, grid=view.grid)
            case "problem":
                fields = {"title": self._word(), "duty": "emergency", "severity": self._severity(), "raised_at": at}
                phone.put_unchecked("problem", fields, grid=grid, id=self._id(phone))
            case "step":
                problems = [view for view in views if view.kind == "problem"]
                if problems:
                    problem = rng.choice(problems)
                    action = rng.choice(
                        ("accept", "handle", "resolve", "resolve", "reopen", "return", "reject", "escalate", "close", "note")
                    )
                    fields = {"problem_id": problem.id, "action": action, "at": at, "note": self._word()}
                    phone.put_unchecked("step", fields, grid=problem.grid, id=self._id(phone))
            case "analysis":
                phone.put("weekly_analysis", {"week": rng.choice(WEEKS), rng.choice(("situation", "measures")): self._word()}, grid=grid)
            case "move":
                houses = [view for view in views if view.kind == "household"]
                if houses:
                    phone.put("household", {}, grid=rng.choice(GRIDS), id=rng.choice(houses).id)
            case "bad":
                kind, fields = rng.choice(
                    (
                        ("visit", {"visited_at": "昨天"}),
                        ("telegram", {"text": self._word()}),
                        ("visit", {"visited_at": at, "household_id": self._id(phone)}),
                    )
                )
                phone.put_unchecked(kind, fields, grid=grid, id=self._id(phone))
        self._remember(device, int(before))

    def _edit_record(self, phone: Device, view: Any) -> None:
        rng = self.rng
        match view.kind:
            case "household":
                change: dict[str, Any] = rng.choice(
                    ({"phone": self._word()}, {"phone": "100"}, {"members": rng.randint(1, 3)}, {"phone": None},
                     {"tags": {"add": [self._tag()]}}, {"tags": {"remove": [self._tag()]}}, {"note": self._word()})
                )  # fmt: skip
            case "visit":
                change = rng.choice(({"content": self._word()}, {"duties": {"add": ["emergency"]}}, {"duties": {"remove": ["emergency"]}}))
            case "problem":
                change = rng.choice(({"severity": self._severity()}, {"title": self._word()}, {"mood": self._word()}))
            case "weekly_analysis":
                change = {rng.choice(("situation", "measures")): self._word()}
            case _:
                return
        phone.put_unchecked(view.kind, change, grid=view.grid, id=view.id)
        shown = next((item for item in phone.records(view.kind) if item.id == view.id), None)
        name, value = next(iter(change.items()))
        if not isinstance(value, dict):
            check(shown is not None and shown.fields.get(name) == value, f"read your writes: {view.kind} {name}")

    def _id(self, phone: Device) -> str:
        return phone._id_for("visit", {}, GRIDS[0])

    def _word(self) -> str:
        return f"w{self.rng.getrandbits(24):06x}"

    def _tag(self) -> str:
        return self.rng.choice(("veteran", "disabled"))

    def _severity(self) -> str:
        return self.rng.choice(("ordinary", "urgent", "emergency"))

    def _remember(self, device: SimDevice, first: int) -> None:
        for mutation in device.device.store._mutations("WHERE seq >= ? ORDER BY seq", (first,)):
            self.written.append(Written(content_of(mutation), self.now_ms, not device.jumped))
            self.counts["mutations"] += 1
            self._note(f"{device.name} writes {mutation.seq} {mutation.op} {mutation.kind} {mutation.id[-6:]} {mutation.fields}")

    async def _sync(self, device: SimDevice) -> None:
        self.counts["syncs"] += 1
        try:
            report = await device.device.sync()
            self._note(f"{device.name} syncs: {[(v.seq, v.outcome) for v in report.verdicts]} +{report.changes}")
            await self._check_scope(device)
        except (Unreachable, Refused) as error:
            self._note(f"{device.name} fails to sync: {error}")
            if isinstance(error, Refused):
                raise Failure(f"the server refused a device for good: {error}") from error
        except ServerKilled as killed:
            self._note(f"the server dies at ‘{killed}’ while {device.name} syncs")
            self.counts[f"server killed: {killed}"] += 1
            await self._stop()
            await self._start(self.url)
        self._check_monotonic(device)

    async def _check_scope(self, device: SimDevice) -> None:
        """After a sync a device holds nothing of grids that are not in its scope (promise 8)."""
        units = await self._units(device.staff_code)
        kept = {change.grid for change in device.device.store.pulled() if change.grid.isdigit() and not change.grid.startswith(units)}
        check(not kept, f"promise 8: {device.name} keeps records of {kept} though its scope is {units}")

    async def _units(self, staff_code: str) -> tuple[str, ...]:
        rows = await self.app.state.gridloop.database.pool.fetch(
            "SELECT unit FROM post WHERE staff_code = $1 AND valid_to IS NULL", staff_code
        )
        return tuple(row["unit"] for row in rows)

    def _check_monotonic(self, device: SimDevice) -> None:
        """A device never sees an older state of a record than before, within one history of the server."""
        epoch = device.device.store.epoch
        for change in device.device.store.pulled():
            key = (change.kind, change.id)
            place, before = f"{epoch} {change.grid}", device.revs.get(key)
            if before is not None and before[0] == place:
                check(change.rev >= before[1], f"monotonic reads: {device.name} {key} went from {before[1]} to {change.rev}")
            if change.rev:
                device.revs[key] = (place, change.rev)

    async def _kill_server(self, device: SimDevice) -> None:
        self.kill_at = self.rng.choice(seams.ALL)
        await self._sync(device)
        self.kill_at = None

    async def _kill_device(self, device: SimDevice) -> None:
        self.counts["device killed"] += 1
        device.kill()
        self._note(f"{device.name} is killed")

    async def _stray(self, device: SimDevice) -> None:
        self.stray_moments.add(self.now_ms)
        await self.network.deliver_stray()

    async def _jump_clock(self, device: SimDevice) -> None:
        self.counts["clock jumped"] += 1
        device.ahead_ms = self._wrong_by()
        device.jumped = True
        self._note(f"the clock of {device.name} is now off by {device.ahead_ms} ms")

    async def _overlap(self, device: SimDevice) -> None:
        """Two pushes at once: the first stops before its commit, the second runs into it, a third device pulls meanwhile.

        Who goes first is settled at every point, so that a seed always lives through the same history.
        """
        others = [item for item in self.devices if item is not device]
        second, third = self.rng.sample(others, 2)
        for item in (device, second):
            self._write_visit(item)
        self.network.fault_rate = 0
        release, written, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def seam(name: str) -> None:
            if asyncio.current_task() is not pushing or done.is_set():
                return
            if name == seams.PUSH_WRITTEN and not written.is_set():
                written.set()
                await release.wait()
            elif name == seams.PUSH_COMMITTED:
                await done.wait()

        seams.install(seam)
        self.counts["overlap"] += 1
        pushing = asyncio.create_task(self._exchange(device))
        reached = asyncio.create_task(written.wait())
        await asyncio.wait({pushing, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        following = looking = asyncio.create_task(self._exchange(second))
        try:
            await self._until_blocked(following)
            ids = {device.device.id, second.device.id}
            if third.device.id not in ids and not third.device.store.count_unsent():
                # It takes none of the locks and runs through, unless the first push has just found that the server was restored.
                looking = asyncio.create_task(self._exchange(third))
                await self._until_blocked(looking, beyond=0 if following.done() else 1)
            release.set()
            await following
            await looking
        finally:
            release.set()
            done.set()
            await asyncio.gather(pushing, following, looking, return_exceptions=True)
            seams.install(self._seam)
        await pushing
        self._note(f"{device.name} and {second.name} pushed at once, {third.name} looked on")

    async def _exchange(self, device: SimDevice) -> None:
        """One exchange; what remains comes with a later sync."""
        await device.device._exchange(SyncReport())
        self._check_monotonic(device)

    def _write_visit(self, device: SimDevice) -> None:
        before = int(device.device.store.get("next_seq", "1"))
        at = moment_at(self.now_ms + device.ahead_ms)
        device.device.put_unchecked("visit", {"visited_at": at, "content": self._word()}, grid=GRIDS[0], id=self._id(device.device))
        self._remember(device, before)

    async def _until_blocked(self, task: "asyncio.Task[None]", beyond: int = 0) -> None:
        """Until a task has run into another's lock, or is done; `beyond` others wait already."""
        connection = await asyncpg.connect(self.url)
        try:
            while not task.done():
                waiting = await connection.fetchval(WAITING_FOR_LOCKS)
                if waiting > beyond:
                    return
                await asyncio.sleep(0.001)
        finally:
            await connection.close()

    async def _change_post(self, device: SimDevice) -> None:
        """Transfers a worker to another grid, or back, while the phone may be offline."""
        self.counts["post changed"] += 1
        staff_code = self.rng.choice(CADRES[:2])
        unit = self.rng.choice(GRIDS)
        pool = self.app.state.gridloop.database.pool
        now = from_ms(self.now_ms)
        await pool.execute("UPDATE post SET valid_to = $2 WHERE staff_code = $1 AND valid_to IS NULL", staff_code, now)
        await pool.execute(
            "INSERT INTO post (id, staff_code, role, unit, valid_from) VALUES (gen_random_uuid(), $1, 'grid_worker', $2, $3)",
            staff_code,
            unit,
            now,
        )
        self._note(f"{staff_code} is transferred to {unit}")

    async def _decide(self, device: SimDevice) -> None:
        """A supervisor settles a conflict, or releases or discards a held mutation."""
        self.network.fault_rate = 0
        form = {"grant_type": "password", "username": f"C{VILLAGE}-1", "password": PASSWORD}
        token = (await self.client.post("/v1/auth/token", data=form)).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        conflicts = (await self.client.get("/v1/conflicts", params={"state": "open"}, headers=headers)).json()["items"]
        held = (await self.client.get("/v1/held", headers=headers)).json()["items"]
        if conflicts and self.rng.random() < 0.5:
            names = ("created_at", "record", "field", "rev", "lost_device", "lost")
            conflict = min(conflicts, key=lambda item: [str(item[name]) for name in names])
            choice = self.rng.choice(("kept", "lost"))
            response = await self.client.post(f"/v1/conflicts/{conflict['id']}/resolution", json={"choice": choice}, headers=headers)
            check(response.status_code < 500, f"settling failed: {response.text}")
            self._note(f"the conflict on {conflict['field']} is settled: {choice} ({response.status_code})")
            self.counts["settled"] += 1
        elif held:
            item = min(held, key=lambda item: (item["received_at"], item["seq"], item["device"]))
            if self.rng.random() < 0.5:
                response = await self.client.post(f"/v1/held/{item['id']}/release", json={}, headers=headers)
            else:
                response = await self.client.post(f"/v1/held/{item['id']}/discard", json={"reason": "sim"}, headers=headers)
            check(response.status_code < 500, f"deciding failed: {response.text}")
            self.counts["decided"] += 1

    async def _backup_device(self, device: SimDevice) -> None:
        device.device.store.close()
        device.backup = device.path.with_suffix(".backup")
        shutil.copy(device.path, device.backup)
        device.open()

    async def _restore_device(self, device: SimDevice) -> None:
        """The phone is restored from its backup: what it wrote since then is gone from it."""
        if device.backup is None:
            return
        self.counts["device restored"] += 1
        device.device.store.close()
        for leftover in self.folder.glob(f"{device.name}.sqlite3-*"):
            leftover.unlink()
        shutil.copy(device.backup, device.path)
        device.restored = True
        device.revs = {}
        device.open()
        self._note(f"{device.name} is restored from its backup")

    async def _clone_device(self, device: SimDevice) -> None:
        """A second phone is set up from the first one's data: both think they are the same device."""
        if len(self.devices) > 7:
            return
        self.counts["device cloned"] += 1
        device.device.store.close()
        name = f"phone{len(self.devices)}"
        shutil.copy(device.path, self.folder / f"{name}.sqlite3")
        device.open()
        twin = SimDevice(self, name, device.staff_code, device.ahead_ms)
        twin.jumped = device.jumped
        self.devices.append(twin)
        self._note(f"{name} is a copy of {device.name}")

    async def _backup_server(self, device: SimDevice) -> None:
        await self._stop()
        self.backup = name_of(await self._clone(name_of(self.url), "backup"))
        await self._start(self.url)
        self._note("the server's database is backed up")

    async def _restore_server(self, device: SimDevice) -> None:
        """The server's database is restored: it has lost its last hours."""
        if self.backup is None:
            return
        self.counts["server restored"] += 1
        await self._stop()
        await self._start(await self._clone(self.backup, "live"))
        connection = await asyncpg.connect(self.url)
        await connection.execute("UPDATE server SET epoch = gen_random_uuid()") if self.rng.random() < 0.5 else None
        await connection.close()
        for item in self.devices:
            item.revs = {}
        self._note("the server's database is restored")

    # --------------------------------------------------------------------------------------------------- the end

    async def _settle(self) -> None:
        """The faults end, and everybody syncs until nothing changes any more."""
        self.network.fault_rate = 0
        self.stray_moments.add(self.now_ms)
        while self.network.strays:
            await self.network.deliver_stray()
        self.number += 1
        self.counts["overdue"] += await self._release_overdue()
        for _ in range(FINAL_ROUNDS):
            self.now_ms += 25 * 3600 * 1000
            changes = 0
            for device in self.devices:
                device.device.doubt()
                try:
                    report = await device.device.sync()
                except (Unreachable, Refused) as error:
                    raise Failure(f"{device.name} cannot sync though all is well: {error}") from error
                changes += report.changes + len(report.verdicts) + len(report.healed)
                self._note(f"{device.name} settles: {len(report.verdicts)} verdicts, {report.changes} changes, healed {report.healed}")
                self._check_monotonic(device)
            if not changes:
                return
        raise Failure("the devices do not come to rest")

    async def _release_overdue(self) -> int:
        """What the service does once a minute."""
        return await release_overdue(self.app.state.gridloop.database, self.settings, from_ms(self.now_ms))

    async def _check(self) -> None:
        pool = self.app.state.gridloop.database.pool
        check(not await self._release_overdue(), "promise 2: something that is held waits for a record which is here")
        async with pool.acquire() as connection:
            cipher = await cipher_of(connection, self.settings)
            rows = await connection.fetch(
                "SELECT m.received_at, m.device::text AS device, m.seq, m.staff_code, m.kind, m.id, m.grid, m.stamp, m.offset_ms, m.body,"
                " m.outcome, m.rev, m.verdict, m.origin, d.name = '' AS server_side FROM mutation m LEFT JOIN device d ON d.id = m.device"
            )
            bodies = await read_bodies(connection, cipher, rows)
        log = [_decrypted_line(cipher, row, body.text) for row, body in zip(rows, bodies, strict=True)]
        held = await pool.fetch("SELECT device, seq FROM held")
        conflicts = [_decrypted_conflict(cipher, row) for row in await pool.fetch("SELECT * FROM conflict")]
        records = await self._server_records(pool, cipher)
        self._check_nothing_lost(log)
        check_accounted(log, held, conflicts, records)
        await self._check_revisions(pool, log)
        self._check_clocks(log)
        await self._check_rights(pool, log)
        await self._check_copies(records)
        async with pool.acquire() as connection:
            found = await differences(connection, self.settings)
        check(not found, f"tallies and cases differ from a recount: {found[:3]}")
        self.counts["conflicts"] += len(conflicts)
        self.counts["held"] += len(held)

    async def _server_records(self, pool: Any, cipher: FieldCipher) -> dict[tuple[str, str], Any]:
        from service.records.queries import _load_sql, stored_from
        from sync_protocol.records import KINDS

        found = {}
        for kind in KINDS.values():
            for row in await pool.fetch(_load_sql(kind).partition(" WHERE ")[0]):
                stored = stored_from(row, kind, cipher)
                found[kind.name, row["id"]] = {
                    "grid": stored.record.grid,
                    "rev": stored.record.last.rev,
                    "deleted": stored.record.deleted,
                    "fields": stored.record.fields,
                    "stamp": stored.record.last.stamp,
                    "by": stored.record.last.by,
                    "created_by": stored.record.created_by,
                }
        return found

    def _check_nothing_lost(self, log: list[Any]) -> None:
        """Every mutation that any device ever made is known to the server, but for those that a phone's own restore took with it."""
        known = {content_of_body(row["body"]) for row in log}
        holding = {content_of(mutation) for device in self.devices for mutation in device.device.store._mutations("", ())}
        gone_with_phones = any(device.restored for device in self.devices)
        for item in self.written:
            if item.content not in known:
                check(item.content not in holding, f"promise 9: a phone holds what the server has not: {item.content[:200]}")
                check(gone_with_phones, f"nothing is lost: {item.content[:200]}")

    async def _check_revisions(self, pool: Any, log: list[Any]) -> None:
        heads = {row["grid"]: row["rev"] for row in await pool.fetch("SELECT grid, rev FROM counter WHERE grid = ANY($1)", GRIDS)}
        taken = [(row["grid"], row["rev"]) for row in log if row["rev"] is not None and row["grid"] in heads]
        taken += [(row["grid"], row["rev"]) for row in await pool.fetch("SELECT grid, rev FROM departure WHERE grid = ANY($1)", GRIDS)]
        check_revisions(heads, taken)

    def _check_clocks(self, log: list[Any]) -> None:
        """Corrected stamps never lie after the server's now, and are the true time for clocks that were wrong by the same all along."""
        true = {item.content: item.true_ms for item in self.written if item.honest_clock}
        jumped = {device.staff_code for device in self.devices if device.jumped}
        for row in log:
            ms = stamp_ms(f"{row['stamp']:016x}")
            check(ms <= to_ms(row["received_at"]) + 1, f"promise 6: a stamp lies after the server's now: {row['id']}")
            made = true.get(content_of_body(row["body"]))
            if made is not None and row["staff_code"] not in jumped and row["origin"] is None and not row["server_side"]:
                # A request that was under way for long looks like a clock that is behind: then a stamp may come out later, never earlier.
                delayed = to_ms(row["received_at"]) in self.stray_moments and ms > made
                check(
                    delayed or abs(ms - made) <= TOLERANCE_MS + 1000, f"promise 6: {row['staff_code']} {row['id']} is off by {ms - made} ms"
                )

    async def _check_rights(self, pool: Any, log: list[Any]) -> None:
        """A cadre's work counts if a post allowed it when it was made, whatever the posts are at the sync (promise 7)."""
        posts = await pool.fetch("SELECT staff_code, unit, valid_from, valid_to FROM post WHERE staff_code = ANY($1)", CADRES)
        for row in log:
            if row["kind"] != "visit" or row["server_side"] or row["origin"] is not None:
                continue
            moment = from_ms(stamp_ms(f"{row['stamp']:016x}"))
            grid = json.loads(row["body"])["grid"]
            had = any(
                post["staff_code"] == row["staff_code"]
                and grid.startswith(post["unit"])
                and post["valid_from"] <= moment
                and (post["valid_to"] is None or moment < post["valid_to"])
                for post in posts
            )
            if row["outcome"] != "held":
                check(had, f"promise 7: {row['staff_code']} wrote in {grid} without a post")
            else:
                check(not (had and row["reason"] == "not-allowed"), f"promise 7: {row['staff_code']} had a post in {grid} and was refused")

    async def _check_copies(self, records: dict[tuple[str, str], Any]) -> None:
        """All devices hold the records of their scope as the server has them, and nothing else."""
        changes = [Change(kind, id, **item) for (kind, id), item in records.items()]
        within = in_first_pull(changes, local_day(from_ms(self.now_ms)))
        for device in self.devices:
            units = await self._units(device.staff_code)
            mine = {
                (change.kind, change.id): change for change in device.device.store.pulled() if change.kind != "held" and not change.deleted
            }
            # Beyond the windows of a first pull a phone may keep what it has, or not.
            mine = {key: change for key, change in mine.items() if key in within or key not in records}
            wanted = {key: records[key] for key in within if records[key]["grid"].startswith(units)}
            check(mine.keys() - wanted.keys() == set(), f"promise 8: {device.name} keeps {list(mine.keys() - wanted.keys())[:3]}")
            check(wanted.keys() - mine.keys() == set(), f"converge: {device.name} lacks {list(wanted.keys() - mine.keys())[:3]}")
            for key, change in mine.items():
                check(
                    (change.grid, change.rev, change.fields) == (wanted[key]["grid"], wanted[key]["rev"], wanted[key]["fields"]),
                    f"converge: {device.name} has {change} and the server {wanted[key]}",
                )


def _decrypted_line(cipher: FieldCipher, row: Any, body: str) -> dict[str, Any]:
    """A line of the log with its body, and the reason of its verdict."""
    rest = verdict_rest(cipher, row["kind"], log_row(row["device"], row["seq"], row["received_at"]), row["verdict"])
    return {**dict(row), "body": body, "reason": rest.get("reason")}


def _decrypted_conflict(cipher: FieldCipher, row: Any) -> dict[str, Any]:
    """A conflict with its values as JSON."""
    names = (row["kind"], row["field"], str(row["record"]), str(row["id"]))
    return {**dict(row), **{name: canonical_json(conflict_value(cipher, *names, name, row[name])) for name in ("kept", "lost")}}
