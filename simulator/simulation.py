"""One simulated history: devices, the real app, the real PostgreSQL, and everything that can go
wrong, all from one seed.
"""

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import asyncpg
import httpx

from service.inbox.retry_held import release_overdue
from service.kit.database import Database
from service.kit.encryption import State
from service.kit.encryption_queries import set_state
from service.kit.settings import Settings
from service.privacy.reencrypt import reencrypt
from service.runtime import failpoints
from service.runtime.postgres import fresh_database
from simulator import troubles
from simulator.devices import (
    CADRES,
    COMMITTEE,
    CONTACT,
    GRIDS,
    SECRETARY,
    WORKERS,
    SimDevice,
    damage,
)
from simulator.ending import Ending
from simulator.history import Failure, check
from simulator.knowledge import Written, written_by
from simulator.network import Network
from simulator.places import PASSWORD, TOWNSHIP, VILLAGE, WAITING_FOR_LOCKS
from simulator.servers import Servers, patient
from simulator.visible import EVERY_POST, HIDDEN, Post, view_of
from simulator.writing import Writer, new_id
from sync_protocol.device import Refused, SyncReport, Unreachable
from sync_protocol.moments import moment_at
from sync_protocol.periods import from_ms, to_ms

START = datetime(2026, 11, 16, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FINAL_ROUNDS = 12


def name_of(url: str) -> str:
    """The database that a URL names."""
    return url.partition("?")[0].rpartition("/")[2]


class ServerKilled(BaseException):
    """The service process died at a failpoint."""


class Simulation:
    """`await Simulation(seed, server, template).run()` raises `Failure` when a promise did not
    hold.

    `faults`: those of the database and its servers that happen, see `troubles`.
    """

    def __init__(
        self,
        seed: int,
        server: str,
        template: str,
        steps: int = 110,
        faults: frozenset[str] = troubles.ALL,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.server = server
        self.template = template
        self.steps = steps
        self.now_ms = to_ms(START)
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.written: list[Written] = []
        # What each cadre wrote itself: the staff code, the record and the field.
        self.own: set[tuple[str, str, str]] = set()
        self.stray_moments: set[int] = set()
        # From here on nobody verifies the own resolution.
        self.own_work_from = START + timedelta(days=self.rng.randint(0, 6))
        self.databases: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="gridloop-sim-"))
        self.faults = faults
        # Some histories begin right after an upgrade: what is encrypted is written as the release
        # before can read it.
        self.was_upgraded = self.rng.random() < 0.5
        self.servers = Servers(
            self.rng, lambda: from_ms(self.now_ms), troubles.TWO_SERVERS in faults
        )
        self.network = Network(self.rng, self.counts, self.servers)
        self.client = httpx.AsyncClient(transport=self.network, base_url="http://gridloop.test")
        self.devices: list[SimDevice] = []
        self.backup: str | None = None
        # What was asked for over REST, and how much of it by the time of the backup.
        self.asked: list[troubles.Asked] = []
        self.asked_at_backup = 0
        self.kill_at: str | None = None
        self.number = 0

    async def no_sleep(self, seconds: float) -> None:
        """Simulated time does not pass while a device waits between tries."""

    # -------------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Lives through the history and checks it."""
        try:
            url = await self._clone(self.template, "live")
            if self.was_upgraded:
                await self._write_as_before(url)
            await self._start(url)
            await self._appoint()
            self.devices = [
                SimDevice(self, f"phone{place}", cadre, self._wrong_by())
                for place, cadre in enumerate(CADRES)
            ]
            for number in range(self.steps):
                self.number = number
                self.now_ms += self.rng.randint(1, 4 * 3600 * 1000)
                self.network.fault_rate = 0.25
                await self._step()
            await self._settle()
            await self._end()
        finally:
            failpoints.set_hook(None)
            await self._close()

    async def _write_as_before(self, url: str) -> None:
        self.counts["upgraded"] += 1
        connection = await asyncpg.connect(url)
        await set_state(connection, State.COMPATIBLE)
        await connection.close()

    async def _appoint(self) -> None:
        """A contact member, who has no post in the roster."""
        pool = self.database.pool
        await pool.execute(
            "INSERT INTO cadre SELECT $1, '联系人', '', true, password, true FROM cadre"
            " WHERE staff_code = $2",
            CONTACT,
            SECRETARY,
        )
        await self._post(CONTACT, "contact_member", VILLAGE, LONG_AGO)
        owner = await asyncpg.connect(self.url)
        await owner.execute("UPDATE server SET own_work_from = $1", self.own_work_from)
        await owner.close()

    async def _post(self, staff_code: str, role: str, unit: str, since: datetime) -> None:
        """A cadre's posts end, and another begins."""
        pool = self.database.pool
        await pool.execute(
            "UPDATE post SET valid_to = $2 WHERE staff_code = $1 AND valid_to IS NULL",
            staff_code,
            since,
        )
        await pool.execute(
            "INSERT INTO post (id, staff_code, role, unit, valid_from)"
            " VALUES (gen_random_uuid(), $1, $2, $3, $4)",
            staff_code,
            role,
            unit,
            since,
        )

    @property
    def database(self) -> Database:
        """The service's database."""
        return self.servers.first.database

    @property
    def settings(self) -> Settings:
        """The service's settings."""
        return self.servers.first.settings

    async def _clone(self, template: str, what: str) -> str:
        name = f"sim_{self.seed}_{what}_{len(self.databases)}"
        self.databases.append(name)
        return await fresh_database(self.server, name, template)

    async def _start(self, url: str) -> None:
        self.url = url
        await self.servers.start(url)
        failpoints.set_hook(self._hook)

    async def _stop(self) -> None:
        await self.servers.stop()

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

    async def _hook(self, name: str) -> None:
        if self.kill_at == name:
            self.kill_at = None
            raise ServerKilled(name)

    def _wrong_by(self) -> int:
        day = 24 * 3600 * 1000
        # The last is a phone whose battery was empty: it begins again on 2 January 1970.
        return self.rng.choice(
            (
                0,
                0,
                900,
                -7_000,
                2 * day,
                -3 * day,
                4 * 365 * day,
                -10 * 365 * day,
                day - self.now_ms,
            )
        )

    def note(self, text: str) -> None:
        """Adds a line to the trace, which is shown when a promise did not hold."""
        self.trace.append(f"{self.number:4} {from_ms(self.now_ms):%m-%d %H:%M} {text}")

    # ------------------------------------------------------------------------------------ the steps

    async def _step(self) -> None:
        device = self.rng.choices(self.devices, [device.cadre.weight for device in self.devices])[0]
        actions: dict[Callable[[SimDevice], Awaitable[None]], float] = {
            self._edit: 40,
            self._sync: 26,
            self._overlap: 4,
            self._kill_server: 3,
            self._kill_device: 3,
            self._stray: 5,
            self._jump_clock: 2,
            self._change_post: 3,
            self._pause: 0.8,
            self._decide: 5,
            partial(troubles.lose_connection, self): 4,
            partial(troubles.stall, self): 1.5,
            partial(troubles.raise_problem, self): 4,
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
            before = device.device.store.next_seq
            places = {(view.kind, view.id): view.grid for view in device.device.records()}
            Writer(self, device).write()
            self._remember(device, before, places)

    def word(self) -> str:
        """A text that stands for itself: no other is like it."""
        return f"w{self.rng.getrandbits(24):06x}"

    def _remember(self, device: SimDevice, first: int, places: dict[tuple[str, str], str]) -> None:
        """Notes what a phone has written; `places`: where it showed its records before."""
        for mutation in device.device.store.written(first):
            key = mutation.kind, mutation.id
            moves = mutation.op == "put" and places.get(key, mutation.grid) != mutation.grid
            places[key] = mutation.grid
            self.written.append(written_by(device, mutation, self.now_ms, moves))
            self.own.update((device.staff_code, mutation.id, name) for name in mutation.fields)
            self.counts["mutations"] += 1
            self.note(
                f"{device.name} writes {mutation.seq} {mutation.op} {mutation.kind}"
                f" {mutation.id[-6:]} {mutation.fields}"
            )

    async def push(self, device: SimDevice) -> None:
        """A sync that hands something in."""
        await self._edit(device)
        await self._sync(device)

    async def _sync(self, device: SimDevice) -> None:
        self.counts["syncs"] += 1
        try:
            report = await device.device.sync()
            self.note(
                f"{device.name} syncs: {[(v.seq, v.outcome) for v in report.verdicts]}"
                f" +{report.changes}"
            )
            await self._check_scope(device)
        except (Unreachable, Refused) as error:
            self.note(f"{device.name} fails to sync: {error}")
            if isinstance(error, Refused):
                raise Failure(f"the server refused a device for good: {error}") from error
        except ServerKilled as killed:
            self.note(f"the server dies at ‘{killed}’ while {device.name} syncs")
            self.counts[f"server killed: {killed}"] += 1
            await self.servers.restart_killed()
        await self._look_around(device)

    async def _look_around(self, device: SimDevice) -> None:
        """Notes what a phone has seen now; nobody holds anything back any more."""
        await self.servers.end_stall()
        self._check_monotonic(device)
        await device.knowledge.update(device, self.database, self.settings)

    async def _check_scope(self, device: SimDevice) -> None:
        """After a sync a device holds nothing that its cadre's present posts do not show (promise
        8).
        """
        rows = await self.database.pool.fetch(
            f"{EVERY_POST} WHERE staff_code = $1", device.staff_code
        )
        posts, now = [Post(*row[1:]) for row in rows], from_ms(self.now_ms)
        for change in device.device.store.pulled():
            if not change.grid.isdigit():
                continue
            view = view_of(posts, change.grid, now)
            # What was assigned is shown from elsewhere, too; which problems that are is checked at
            # the end.
            check(
                view or change.kind in ("problem", "step"),
                f"promise 8: {device.name} keeps {change} beyond its scope",
            )
            shown = {
                name
                for name in change.fields.keys() & HIDDEN
                if (device.staff_code, change.id, name) not in self.own
            }
            check(
                not shown or view in ("full", "tied"),
                f"promise 8: {device.name} was shown {shown} of {change}",
            )

    def _check_monotonic(self, device: SimDevice) -> None:
        """A device never sees an older state of a record than before, within one history of the
        server.
        """
        epoch = device.device.store.epoch
        for change in device.device.store.pulled():
            key = (change.kind, change.id)
            place, before = f"{epoch} {change.grid}", device.revs.get(key)
            if before is not None and before[0] == place:
                check(
                    change.rev >= before[1],
                    f"monotonic reads: {device.name} {key} went from {before[1]} to {change.rev}",
                )
            if change.rev:
                device.revs[key] = (place, change.rev)

    async def _kill_server(self, device: SimDevice) -> None:
        self.kill_at = self.rng.choice(failpoints.ALL)
        await self._sync(device)
        self.kill_at = None

    async def _kill_device(self, device: SimDevice) -> None:
        self.counts["device killed"] += 1
        device.kill()
        self.note(f"{device.name} is killed")

    async def _stray(self, device: SimDevice) -> None:
        self.stray_moments.add(self.now_ms)
        await self.network.deliver_stray()

    async def _jump_clock(self, device: SimDevice) -> None:
        self.counts["clock jumped"] += 1
        device.ahead_ms = self._wrong_by()
        device.jumped = True
        self.note(f"the clock of {device.name} is now off by {device.ahead_ms} ms")

    async def _overlap(self, device: SimDevice) -> None:
        """Two pushes at once: the first stops before its commit, the second runs into it, a third
        device pulls meanwhile.

        Who goes first is settled at every point, so that a seed always lives through the same
        history.
        """
        workers = [item for item in self.devices if item.cadre.writes == "logs"]
        device = device if device in workers else workers[0]
        others = [item for item in workers if item is not device]
        second, third = self.rng.sample(others, 2)
        for item in (device, second):
            self._write_visit(item)
        self.network.fault_rate = 0
        release, written, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def hook(name: str) -> None:
            if asyncio.current_task() is not pushing or done.is_set():
                return
            if name == failpoints.PUSH_WRITTEN and not written.is_set():
                written.set()
                await release.wait()
            elif name == failpoints.PUSH_COMMITTED:
                await done.wait()

        failpoints.set_hook(hook)
        self.counts["overlap"] += 1
        pushing = asyncio.create_task(self._exchange(device, waits=False))
        reached = asyncio.create_task(written.wait())
        await asyncio.wait({pushing, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        following = looking = asyncio.create_task(self._exchange(second))
        try:
            await self._until_blocked(following)
            ids = {device.device.id, second.device.id}
            if third.device.id not in ids and not third.device.store.count_unsent():
                # It takes none of the locks and runs through, unless the first push has just found
                # that the server was restored.
                looking = asyncio.create_task(self._exchange(third))
                await self._until_blocked(looking, beyond=0 if following.done() else 1)
            release.set()
            await following
            await looking
        finally:
            release.set()
            done.set()
            await asyncio.gather(pushing, following, looking, return_exceptions=True)
            failpoints.set_hook(self._hook)
        await pushing
        self.note(f"{device.name} and {second.name} pushed at once, {third.name} looked on")

    async def _exchange(self, device: SimDevice, waits: bool = True) -> None:
        """One exchange; what remains comes with a later sync. `waits`: with the process that waits
        for others' locks.
        """
        patient.set(waits)
        await device.device.exchange(SyncReport())
        await self._look_around(device)

    def _write_visit(self, device: SimDevice) -> None:
        before = device.device.store.next_seq
        at = moment_at(self.now_ms + device.ahead_ms)
        device.device.put_unchecked(
            "visit",
            {"visited_at": at, "content": self.word()},
            grid=GRIDS[0],
            id=new_id(device.device),
        )
        self._remember(device, before, {})

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
        """Transfers a worker to another grid, or back, while the phone may be offline; or makes a
        cadre of the village one who supervises, or a contact member of grids that the cadre did not
        have, so that the view changes.
        """
        self.counts["post changed"] += 1
        staff_code, role, unit = self.rng.choice(
            [(worker, "grid_worker", grid) for worker in WORKERS for grid in GRIDS]
            + [
                (COMMITTEE, "village_committee", VILLAGE),
                (COMMITTEE, "supervisor", TOWNSHIP),
                (CONTACT, "contact_member", VILLAGE),
            ]
            + [(CONTACT, "contact_member", GRIDS[0]), (CONTACT, "village_committee", VILLAGE)]
        )
        await self._post(staff_code, role, unit, from_ms(self.now_ms))
        self.note(f"{staff_code} is {role} of {unit} now")

    async def _pause(self, device: SimDevice) -> None:
        """Days pass, so that what a phone still holds may come too late."""
        self.counts["days passed"] += 1
        self.now_ms += self.rng.randint(1, 8) * 24 * 3600 * 1000

    async def _decide(self, device: SimDevice) -> None:
        """A supervisor settles a conflict, or releases or discards a held mutation."""
        self.network.fault_rate = 0
        form = {"grant_type": "password", "username": SECRETARY, "password": PASSWORD}
        token = (await self.client.post("/v1/auth/token", data=form)).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        conflicts = (
            await self.client.get("/v1/conflicts", params={"state": "open"}, headers=headers)
        ).json()["items"]
        held = (await self.client.get("/v1/held", headers=headers)).json()["items"]
        if conflicts and self.rng.random() < 0.5:
            names = ("created_at", "record", "field", "rev", "lost_device", "lost")
            conflict = min(conflicts, key=lambda item: [str(item[name]) for name in names])
            choice = self.rng.choice(("kept", "lost"))
            response = await self.client.post(
                f"/v1/conflicts/{conflict['id']}/resolution",
                json={"choice": choice},
                headers=headers,
            )
            check(response.status_code < 500, f"settling failed: {response.text}")
            self.note(
                f"the conflict on {conflict['field']} is settled: {choice} ({response.status_code})"
            )
            self.counts["settled"] += 1
        elif held:
            item = min(held, key=lambda item: (item["received_at"], item["seq"], item["device"]))
            if self.rng.random() < 0.5:
                response = await self.client.post(
                    f"/v1/held/{item['id']}/release", json={}, headers=headers
                )
            else:
                response = await self.client.post(
                    f"/v1/held/{item['id']}/discard", json={"reason": "sim"}, headers=headers
                )
            check(response.status_code < 500, f"deciding failed: {response.text}")
            self.counts["decided"] += 1

    async def _backup_device(self, device: SimDevice) -> None:
        device.device.store.close()
        device.backup = device.path.with_suffix(".backup")
        device.knew_at_backup = device.knowledge.copy()
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
        device.knowledge = device.knew_at_backup.copy()
        device.open()
        self.note(f"{device.name} is restored from its backup")

    async def _clone_device(self, device: SimDevice) -> None:
        """A second phone is set up from the first one's data: both think they are the same
        device.
        """
        if len(self.devices) > len(CADRES) + 2:
            return
        self.counts["device cloned"] += 1
        device.device.store.close()
        name = f"phone{len(self.devices)}"
        shutil.copy(device.path, self.folder / f"{name}.sqlite3")
        device.open()
        twin = SimDevice(self, name, device.cadre, device.ahead_ms)
        twin.jumped = device.jumped
        twin.knowledge = device.knowledge.copy()
        self.devices.append(twin)
        self.note(f"{name} is a copy of {device.name}")

    async def _backup_server(self, device: SimDevice) -> None:
        await self._stop()
        self.backup = name_of(await self._clone(name_of(self.url), "backup"))
        self.asked_at_backup = len(self.asked)
        await self._start(self.url)
        self.note("the server's database is backed up")

    async def _restore_server(self, device: SimDevice) -> None:
        """The server's database is restored: it has lost its last hours."""
        if self.backup is None:
            return
        self.counts["server restored"] += 1
        await self._stop()
        await self._start(await self._clone(self.backup, "live"))
        connection = await asyncpg.connect(self.url)
        await connection.execute(
            "UPDATE server SET epoch = gen_random_uuid()"
        ) if self.rng.random() < 0.5 else None
        await connection.close()
        for item in self.devices:
            item.revs = {}
        for asked in self.asked[self.asked_at_backup :]:
            asked.lost = True
        self.note("the server's database is restored")

    # -------------------------------------------------------------------------------------- the end

    async def _settle(self) -> None:
        """The faults end, and everybody syncs until nothing changes any more."""
        self.network.fault_rate = 0
        self.stray_moments.add(self.now_ms)
        while self.network.strays:
            await self.network.deliver_stray()
        # The last process of the release before is gone, as after every upgrade.
        await self.servers.end_older()
        if self.was_upgraded:
            await reencrypt(self.database, self.settings)
        self.number += 1
        self.counts["overdue"] += await self._release_overdue()
        for device in self.devices:
            # Promise 12: every round below verifies the copies, and is not the last one while
            # something is healed.
            self.counts["notices damaged"] += damage(
                device.path, "DELETE FROM record WHERE kind = 'held'"
            )
        for _ in range(FINAL_ROUNDS):
            self.now_ms += 25 * 3600 * 1000
            changes = 0
            for device in self.devices:
                device.device.doubt()
                try:
                    report = await device.device.sync()
                except (Unreachable, Refused) as error:
                    raise Failure(
                        f"{device.name} cannot sync though all is well: {error}"
                    ) from error
                changes += report.changes + len(report.verdicts) + len(report.healed)
                self.note(
                    f"{device.name} settles: {len(report.verdicts)} verdicts, {report.changes}"
                    f" changes, healed {report.healed}"
                )
                await self._look_around(device)
            if not changes:
                return
        raise Failure("the devices do not come to rest")

    async def _release_overdue(self) -> int:
        """What the service does once a minute."""
        return await release_overdue(self.database, self.settings, from_ms(self.now_ms))

    async def _end(self) -> None:
        """Every promise is checked."""
        check(
            not await self._release_overdue(),
            "promise 2: something that is held waits for a record which is here",
        )
        await Ending(self).check()
