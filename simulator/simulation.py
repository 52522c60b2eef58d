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
from simulator import backups, deciding, overlapping, posts, seeing, troubles, units
from simulator.devices import (
    CADRES,
    SimDevice,
    damage,
)
from simulator.ending import Ending
from simulator.history import Failure, check
from simulator.knowledge import Written, written_by
from simulator.network import Network
from simulator.servers import Servers
from simulator.writing import Writer
from sync_protocol.device import Refused, Unreachable
from sync_protocol.periods import from_ms, to_ms

START = datetime(2026, 11, 16, 0, 0, tzinfo=UTC)
FINAL_ROUNDS = 12
# Many times what the longest history takes on a busy machine.
LONGEST_S = 240


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
        # Grids that splits have made.
        self.made_grids: list[str] = []
        self.kill_at: str | None = None
        self.number = 0

    async def no_sleep(self, seconds: float) -> None:
        """Simulated time does not pass while a device waits between tries."""

    # -------------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Lives through the history and checks it; one that does not end has failed, too."""
        limit = asyncio.timeout(LONGEST_S)
        try:
            async with limit:
                await self._live()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Failure(
                f"the history had not ended after {LONGEST_S} s; it came to step {self.number}:"
                f" {' | '.join(self.trace[-3:])}"
            ) from error
        finally:
            failpoints.set_hook(None)
            await self._close()

    async def _live(self) -> None:
        url = await self.clone(self.template, "live")
        if self.was_upgraded:
            await self._write_as_before(url)
        await self.start(url)
        await posts.appoint(self)
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

    async def _write_as_before(self, url: str) -> None:
        self.counts["upgraded"] += 1
        connection = await asyncpg.connect(url)
        await set_state(connection, State.COMPATIBLE)
        await connection.close()

    @property
    def database(self) -> Database:
        """The service's database."""
        return self.servers.first.database

    @property
    def settings(self) -> Settings:
        """The service's settings."""
        return self.servers.first.settings

    async def clone(self, template: str, what: str) -> str:
        """A new database like another one; `what` it is for. Returns its URL."""
        name = f"sim_{self.seed}_{what}_{len(self.databases)}"
        self.databases.append(name)
        return await fresh_database(self.server, name, template)

    async def start(self, url: str) -> None:
        """Serves a database."""
        self.url = url
        await self.servers.start(url)
        failpoints.set_hook(self.hook)

    async def stop(self) -> None:
        """Stops all servers."""
        await self.servers.stop()

    async def _close(self) -> None:
        await self.stop()
        await self.client.aclose()
        for device in self.devices:
            device.device.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        connection = await asyncpg.connect(self.server)
        for name in self.databases:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()

    async def hook(self, name: str) -> None:
        """Ends the service where it is to be killed."""
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
            partial(overlapping.overlap, self): 4,
            self._kill_server: 3,
            self._kill_device: 3,
            self._stray: 5,
            self._jump_clock: 2,
            partial(posts.change_post, self): 3,
            partial(units.change_units, self): 2.5,
            self._pause: 0.8,
            partial(deciding.decide, self): 5,
            partial(troubles.lose_connection, self): 4,
            partial(troubles.stall, self): 1.5,
            partial(troubles.raise_problem, self): 4,
            partial(backups.back_up_device, self): 2,
            partial(backups.restore_device, self): 1.2,
            partial(backups.copy_device, self): 0.6,
            partial(backups.back_up_server, self): 1.5,
            partial(backups.restore_server, self): 1,
        }
        action = self.rng.choices(list(actions), list(actions.values()))[0]
        await action(device)

    async def _edit(self, device: SimDevice) -> None:
        for _ in range(self.rng.randint(1, 3)):
            before = device.device.store.next_seq
            places = {(view.kind, view.id): view.grid for view in device.device.records()}
            Writer(self, device).write()
            self.remember(device, before, places)

    def word(self) -> str:
        """A text that stands for itself: no other is like it."""
        return f"w{self.rng.getrandbits(24):06x}"

    def remember(self, device: SimDevice, first: int, places: dict[tuple[str, str], str]) -> None:
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
            await seeing.check_scope(self, device)
        except (Unreachable, Refused) as error:
            self.note(f"{device.name} fails to sync: {error}")
            if isinstance(error, Refused):
                raise Failure(f"the server refused a device for good: {error}") from error
        except ServerKilled as killed:
            self.note(f"the server dies at ‘{killed}’ while {device.name} syncs")
            self.counts[f"server killed: {killed}"] += 1
            await self.servers.restart_killed()
        await self.look_around(device)

    async def look_around(self, device: SimDevice) -> None:
        """Notes what a phone has seen now; nobody holds anything back any more."""
        await self.servers.end_stall()
        seeing.check_monotonic(device)
        await device.knowledge.update(device, self.url, self.settings)

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

    async def _pause(self, device: SimDevice) -> None:
        """Days pass, so that what a phone still holds may come too late."""
        self.counts["days passed"] += 1
        self.now_ms += self.rng.randint(1, 8) * 24 * 3600 * 1000

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
                await self.look_around(device)
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
