"""Builders for tests: a clock, phones, supervisors, and the mutations they send."""

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg
import httpx
from fastapi import FastAPI

from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.state import State
from service.runtime import failpoints
from service.runtime.postgres import SUPERUSER, as_role
from service.writes.log_queries import read_bodies
from simulator.places import NOW, PASSWORD, SUPERVISOR, VILLAGE
from sync_protocol import clock as clocks
from sync_protocol.device import Account, Device, Store, Transport
from sync_protocol.ids import uuid7
from sync_protocol.periods import to_ms

GRID = VILLAGE + "001"
OTHER_GRID = VILLAGE + "002"
FAR_GRID = "150221104200001"
WORKER = f"W{GRID}-1"
SECRETARY = f"C{VILLAGE}-1"


class Clock:
    """A clock that moves only when told to."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        """The moment."""
        return self._now

    def ms(self) -> int:
        """Unix milliseconds."""
        return to_ms(self._now)

    def stand_at(self, moment: datetime) -> None:
        """Moves to a moment, forward or back."""
        self._now = moment

    def forward(self, **span: float) -> None:
        """Moves on by a timedelta's words: `forward(hours=2)`."""
        self._now += timedelta(**span)


class Phone(Device):
    """A reference device whose clock may be wrong by `ahead_ms`."""

    ahead_ms = 0


@contextmanager
def first_held_at(failpoint: str) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """The first exchange that comes to a failpoint sets the first event, and waits there for the
    second.
    """
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(name: str) -> None:
        if name == failpoint and not reached.is_set():
            reached.set()
            await go_on.wait()

    failpoints.set_hook(hold)
    try:
        yield reached, go_on
    finally:
        failpoints.set_hook(None)


async def until_none(still: Callable[[], Awaitable[Sequence[Any]]]) -> None:
    """Asks again and again until nothing is left, a minute at most."""
    async with asyncio.timeout(60):
        while await still():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def at_once(seconds: float) -> None:
    """Nobody waits in a test."""


class World:
    """The running service and what goes on around it."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, clock: Clock, folder: Path) -> None:
        self.app = app
        self.client = client
        self.clock = clock
        self._folder = folder
        self._numbers = itertools.count(1)
        self._phones: list[Phone] = []
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self._signing_in = asyncio.Lock()

    @property
    def state(self) -> State:
        """What the service holds."""
        return cast(State, self.app.state.gridloop)

    def phone(self, staff_code: str = WORKER, ahead_ms: int = 0, **options: Any) -> Phone:
        """A new phone of a cadre."""
        number = next(self._numbers)
        phone: Phone

        def wall() -> int:
            return self.clock.ms() + phone.ahead_ms

        phone = Phone(
            Store(self._folder / f"phone{number}.sqlite3"),
            Transport(self.client),
            Account(staff_code, PASSWORD),
            now=wall,
            rng=random.Random(number),
            sleep=at_once,
            **options,
        )
        phone.ahead_ms = ahead_ms
        self._phones.append(phone)
        return phone

    async def close(self) -> None:
        """Closes the phones' files."""
        for phone in self._phones:
            phone.store.close()

    async def token(self, staff_code: str, device: str | None = None) -> str:
        """An access token."""
        # One at a time: many at once for one account are what an attack looks like.
        async with self._signing_in:
            return await self._token(staff_code, device)

    async def _token(self, staff_code: str, device: str | None) -> str:
        key = f"{staff_code} {device}"
        known = self._tokens.get(key)
        if known is None or not timedelta(0) <= self.clock.now() - known[1] < timedelta(minutes=15):
            form = {"grant_type": "password", "username": staff_code, "password": PASSWORD}
            if device:
                form["device_id"] = device
            response = await self.client.post("/v1/auth/token", data=form)
            assert response.status_code == 200, response.text
            self._tokens[key] = known = response.json()["access_token"], self.clock.now()
        return known[0]

    async def get(self, path: str, staff_code: str = SUPERVISOR, /, **query: Any) -> httpx.Response:
        """A GET as a cadre."""
        return await self.client.get(
            path,
            params=query or None,
            headers={"Authorization": f"Bearer {await self.token(staff_code)}"},
        )

    async def post(self, path: str, body: Any, staff_code: str = SUPERVISOR) -> httpx.Response:
        """A POST as a cadre, a moment after whatever came before."""
        self.clock.forward(milliseconds=1)
        return await self.client.post(
            path, json=body, headers={"Authorization": f"Bearer {await self.token(staff_code)}"}
        )

    async def transfer(
        self, staff_code: str, unit: str, recorded_at: datetime | None = None
    ) -> None:
        """Ends a cadre's posts now, as was recorded at a moment, and begins another as grid
        worker.
        """
        now = self.clock.now()
        await self.fetch(
            "UPDATE post SET valid_to = $2, end_recorded_at = $3 WHERE staff_code = $1"
            " AND valid_to IS NULL",
            staff_code,
            now,
            recorded_at,
        )
        await self.fetch(
            "INSERT INTO post (id, staff_code, role, unit, valid_from)"
            " VALUES (gen_random_uuid(), $1, 'grid_worker', $2, $3)",
            staff_code, unit, now,
        )  # fmt: skip

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """Rows straight from the database, as its superuser: the service's own role may not do what
        tests do behind its back.
        """
        connection = await asyncpg.connect(
            as_role(str(self.state.settings.database_url), SUPERUSER)
        )
        try:
            return await connection.fetch(sql, *values)
        finally:
            await connection.close()

    def decrypted(self, table: str, column: str, row: str, value: str) -> str:
        """The plain text of what the database keeps encrypted in a column."""
        return str(
            self.state.settings.keyring.cipher("complete").shown(Place(table, column, row), value)
        )

    async def logged(self, condition: str = "true", *values: Any) -> list[dict[str, Any]]:
        """The bodies of lines of the mutation log, in order of device, moment and seq."""
        sql = (
            "SELECT device::text, seq, received_at, kind, id, grid, body FROM mutation"
            f" WHERE {condition} ORDER BY device, received_at, seq"
        )
        async with self.state.database.reading() as connection:
            bodies = await read_bodies(
                connection,
                await cipher_of(connection, self.state.settings),
                await connection.fetch(sql, *values),
            )
        return [json.loads(body.text) for body in bodies]

    def wire(self, staff_code: str = WORKER) -> "WirePhone":
        """A phone that speaks the wire by hand."""
        return WirePhone(self, staff_code, next(self._numbers))


class WirePhone:
    """A client written from the contract alone: sends just what a test tells it to."""

    def __init__(self, world: World, staff_code: str, number: int) -> None:
        self.world = world
        self.staff_code = staff_code
        self.rng = random.Random(f"wire {number}")
        self.device = uuid7(0, self.rng)
        self.cursor: str | None = None

    def new_id(self) -> str:
        """An id for a new record."""
        return uuid7(self.world.clock.ms(), self.rng)

    def mutation(self, seq: int, kind: str = "visit", **given: Any) -> dict[str, Any]:
        """A mutation with everything that a test does not say filled in."""
        fields: dict[str, Any] = (
            {"visited_at": "2026-11-20T09:00:00+08:00", "content": "走访"}
            if kind == "visit"
            else {}
        )
        plain = {
            "seq": seq,
            "kind": kind,
            "id": self.new_id(),
            "grid": GRID,
            "op": "put",
            "base": 0,
            "stamp": clocks.make_stamp(self.world.clock.ms(), seq),
            "fields": fields,
        }
        return plain | given

    async def send(self, *mutations: dict[str, Any], **envelope: Any) -> httpx.Response:
        """One exchange; remembers the cursor."""
        body = {
            "protocol": 1,
            "sent_at": self.world.clock.now().isoformat(),
            "cursor": self.cursor,
            "limit": 500,
            "queued": 0,
            "mutations": list(mutations),
        } | envelope
        response = await self.post(body)
        if response.status_code == 200:
            self.cursor = response.json()["cursor"]
        return response

    async def post(self, body: Any, path: str = "/v1/sync") -> httpx.Response:
        """Any body, as this device."""
        token = await self.world.token(self.staff_code, self.device)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if isinstance(body, bytes):
            return await self.world.client.post(path, content=body, headers=headers)
        return await self.world.client.post(path, json=body, headers=headers)
