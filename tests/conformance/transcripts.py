"""Plays transcripts against the real service, and records them anew: `python -m
tests.conformance.transcripts [stem …]`.

Recording keeps what a transcript says is done and writes down what the reference device sends, what
the service answers, and what the phone then holds. Whoever records reads the difference: what
changes there changes for every client.
"""

import asyncio
import importlib
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec

from migrations.roles import migrate
from service.app import create_app
from service.conformance import transcripts
from service.conformance.fake_server import SYNC, TOKEN, VERIFY, FakeServer
from service.conformance.loopback import Request
from service.conformance.reference import Phones
from service.conformance.transcripts import (
    FOLDER,
    SERVICE,
    Epochs,
    Step,
    Transcript,
    compact,
    scrubbed,
    whole,
    with_epochs,
)
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import as_role, embedded, fresh_database
from service.runtime.postgres import temporary_folder as database_folder
from simulator.places import NOW, PASSWORD
from simulator.throwaway import CHEAP, ROLES, TEST_CONFIG, quickest_disk
from sync_protocol import version
from tests.conftest import running
from tests.world import Clock

TOKEN_S = 600
_refusals: Any = importlib.import_module("service.sync.refusals")
_UNUSED = "http://gridloop.test"


class Service:
    """The real service over a clone of a database with units and cadres, and what can happen to
    it.
    """

    def __init__(self, server: str, template: str, name: str) -> None:
        self._server, self._template, self._name = server, template, name
        self._databases: list[str] = []
        self._stack = AsyncExitStack()
        self._backup: str | None = None
        self.clock = Clock()
        self.client: httpx.AsyncClient

    async def __aenter__(self) -> "Service":
        await self._start(await self._clone(self._template))
        return self

    async def __aexit__(self, *_: object) -> None:
        _refusals.MINIMUM = version.MINIMUM
        await self._stack.aclose()
        connection = await asyncpg.connect(self._server)
        for name in self._databases:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()

    async def _clone(self, template: str) -> str:
        name = f"{self._name}_{len(self._databases)}"
        self._databases.append(name)
        self._url = await fresh_database(self._server, name, template)
        return self._url

    async def _start(self, url: str) -> None:
        app = create_app(
            Settings(database_url=as_role(url, ROLES.service), demo=True), self.clock.now
        )
        self.client = await self._stack.enter_async_context(running(app))

    async def _stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def do(self, step: Step) -> None:
        """What happens to the server in a step."""
        match step["server"]:
            case "backup":
                await self._stop()
                present = self._url
                await self._clone(self._databases[-1])
                self._backup = self._databases[-1]
                await self._start(present)
            case "restore":
                await self._stop()
                await self._start(await self._clone(str(self._backup)))
                if step.get("epoch") == "new":
                    await self._execute("UPDATE server SET epoch = gen_random_uuid()")
            case "post":
                await self._execute(
                    "UPDATE post SET unit = $2 WHERE staff_code = $1",
                    step["staff_code"],
                    step["unit"],
                )
            case "revoke":
                await self._rest(
                    step["staff_code"], "POST", f"/v1/devices/{step['device']}/revocation", {}
                )
            case "minimum":
                _refusals.MINIMUM = step["protocol"]
            case "article":
                await self._rest(step["staff_code"], "POST", "/v1/articles", step["article"])
                await self._rest(
                    step["staff_code"],
                    "POST",
                    f"/v1/articles/{step['article']['id']}/publication",
                    {},
                )
            case "withdraw":
                await self._rest(
                    step["staff_code"], "POST", f"/v1/articles/{step['id']}/withdrawal", {}
                )
            case "term":
                path = f"/v1/vocabulary/{step['list']}/{step['code']}"
                await self._rest(step["staff_code"], "PUT", path, step["term"])
            case other:
                raise ValueError(f"nobody knows how to make happen: {other}")

    async def _execute(self, sql: str, *values: Any) -> None:
        connection = await asyncpg.connect(self._url)
        await connection.execute(sql, *values)
        await connection.close()

    async def _rest(self, staff_code: str, method: str, path: str, body: Any) -> None:
        form = {"grant_type": "password", "username": staff_code, "password": PASSWORD}
        token = (await self.client.post(TOKEN, data=form)).json()["access_token"]
        response = await self.client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert response.status_code < 300, response.text


# ------------------------------------------------------------------------------------------ playing


class Player:
    """Sends a service the requests of a transcript, as they are written."""

    def __init__(self, service: Service, transcript: Transcript) -> None:
        self._service = service
        self._transcript = transcript
        self.epochs = Epochs()
        self.cursors: dict[str, str] = {}
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self._devices = {name: phone.devices[0] for name, phone in transcript.phones.items()}

    async def play(self) -> list[Step]:
        """The steps with what the service answered."""
        played = []
        for step in self._transcript.steps:
            if "server_time" in step:
                self._service.clock.stand_at(datetime.fromisoformat(step["server_time"]))
            if "server" in step:
                await self._service.do(step)
            elif step.get("request") and step.get("lost") != "request":
                step = step | await self.send(step)
            if device := step.get("then", {}).get("device"):
                self._devices[step["phone"]] = device
            played.append(step)
        return played

    async def send(self, step: Step) -> Step:
        """What the service answers to the request of a step."""
        phone = self._transcript.phones[step["phone"]]
        device = step.get("device") or self._devices[step["phone"]]
        request = with_epochs(step["request"], self.epochs.epoch)
        # What is sent by hand beside a client moves no cursor of the client.
        place = f"{device} by hand" if step["do"] == "send" else device
        if request.get("cursor") == "last":
            request["cursor"] = self.cursors.get(place) or self.cursors.get(device)
        path = VERIFY if step["do"] == "verify" else step.get("path", SYNC)
        headers = {"Authorization": f"Bearer {await self._token(phone.staff_code, device)}"}
        response = await self._service.client.post(path, json=request, headers=headers)
        answer = response.json()
        if "cursor" in answer and "lost" not in step:
            self.cursors[place] = answer["cursor"]
        return {
            "status": response.status_code,
            "answer": scrubbed(with_epochs(answer, self.epochs.name)),
        }

    async def _token(self, staff_code: str, device: str) -> str:
        now = self._service.clock.now()
        token, since = self._tokens.get(device, ("", now))
        if not token or abs((now - since).total_seconds()) > TOKEN_S:
            form = {
                "grant_type": "password",
                "username": staff_code,
                "password": PASSWORD,
                "device_id": device,
            }
            token = (await self._service.client.post(TOKEN, data=form)).json()["access_token"]
            self._tokens[device] = token, now
        return token


# ---------------------------------------------------------------------------------------- recording


class Recorder:
    """Lives through a transcript with reference devices, against the service or against the answers
    that are written.
    """

    def __init__(self, transcript: Transcript, service: Service | None, folder: Path) -> None:
        self._transcript = transcript
        self._service = service
        self._fake = FakeServer(transcript)
        self._epochs = Epochs() if service else self._fake.epochs
        self._player = Player(service, transcript) if service else None
        self._phones = Phones(
            folder,
            lambda _: httpx.AsyncClient(
                transport=httpx.MockTransport(self._pass_on), base_url=_UNUSED
            ),
        )
        self._started: set[str] = set()
        self._cursors: dict[str, str] = {}
        self._devices: dict[str, str] = {}
        self._step: Step = {}
        self._sender = ""
        self._seen: list[Step] = []

    async def record(self) -> Transcript:
        """The transcript as it goes now."""
        steps = []
        for step in self._transcript.steps:
            if self._service and "server_time" in step:
                self._service.clock.stand_at(datetime.fromisoformat(step["server_time"]))
            if "server" in step:
                if self._service:
                    await self._service.do(step)
                steps.append(step)
            elif step["do"] == "send":
                steps.append(step | (await self._sent(step) if self._player else {}))
            else:
                steps.append(await self._done(step))
        await self._phones.close()
        return msgspec.structs.replace(self._transcript, steps=steps)

    async def _sent(self, step: Step) -> Step:
        assert self._player is not None
        self._player.epochs = self._epochs
        self._player.cursors = self._cursors
        return await self._player.send(step)

    async def _done(self, step: Step) -> Step:
        name = step["phone"]
        phone = self._transcript.phones[name]
        if name not in self._started:
            self._started.add(name)
            hook = {
                "do": "start",
                "phone": name,
                "server": _UNUSED,
                "staff_code": phone.staff_code,
                "password": PASSWORD,
            }
            await self._phones.do(
                hook | {"devices": phone.devices, "limit": phone.limit, "wall_ms": step["wall_ms"]}
            )
        self._step, self._seen = step, []
        if not self._service:
            self._fake.begin(step)
        came = await self._phones.do(step)
        if "error" in came:
            raise RuntimeError(f"{self._transcript.name}: {step}: {came['error']}")
        then = compact(await self._phones.do({"do": "show", "phone": name}))
        before, self._devices[name] = self._devices.get(name, phone.devices[0]), then["device"]
        recorded = {
            key: value
            for key, value in step.items()
            if key not in ("device", "request", "status", "answer", "then", "next")
        }
        if step["do"] in ("sync", "verify"):
            silent = step.get("request", ...) is None  # nothing gets beyond the token endpoint
            if len(self._seen) != (0 if silent else 1):
                raise RuntimeError(
                    f"{self._transcript.name}: {step['do']} sent {len(self._seen)} requests: {came}"
                )
            if self._sender != before and not silent:
                recorded["device"] = self._sender
            recorded |= {"request": None} if silent else self._seen[0]
            recorded |= {"next": came["next"]} if "next" in came else {}
        if step["do"] in ("sync", "verify") or "then" in step:
            recorded["then"] = then
        return recorded

    async def _pass_on(self, request: httpx.Request) -> httpx.Response:
        """Takes a device's request to where it goes and notes both ways."""
        plain = Request(
            request.method,
            request.url.path,
            {name.lower(): value for name, value in request.headers.items()},
            request.content,
        )
        if plain.path == TOKEN:
            return await self._token(request, plain)
        self._note_request(plain)
        if self._step.get("lost") == "request":
            raise httpx.ConnectError("lost")
        if self._service is None:
            return await self._answered_as_written(plain)
        response = await self._forward(request)
        answer = response.json()
        self._seen[-1] |= {
            "status": response.status_code,
            "answer": scrubbed(with_epochs(answer, self._epochs.name)),
        }
        if "lost" in self._step:
            raise httpx.ReadError("lost")
        if "cursor" in answer:
            self._cursors[self._device()] = answer["cursor"]
        return response

    def _note_request(self, plain: Request) -> None:
        body = with_epochs(plain.json, self._epochs.name)
        if "cursor" in body and body["cursor"] is not None:
            last = (
                self._fake.cursor("last", self._device())
                if self._service is None
                else self._cursors.get(self._device())
            )
            body["cursor"] = "last" if body["cursor"] == last else body["cursor"]
        self._sender = self._device()
        self._seen.append({"request": whole(body)})

    def _device(self) -> str:
        return self._phones.device(self._step["phone"])

    async def _token(self, request: httpx.Request, plain: Request) -> httpx.Response:
        if self._service:
            return await self._forward(request)
        reply = await self._fake.handle(plain)
        if reply is None:
            raise httpx.ReadError("lost")
        return httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))

    async def _answered_as_written(self, plain: Request) -> httpx.Response:
        self._seen[-1] |= {
            key: self._step[key] for key in ("status", "answer") if key in self._step
        }
        reply = await self._fake.handle(plain)
        if reply is None:
            raise httpx.ReadError("lost")
        return httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))

    async def _forward(self, request: httpx.Request) -> httpx.Response:
        assert self._service is not None
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "content-length")
        }
        response = await self._service.client.request(
            request.method, request.url.path, content=request.content, headers=headers
        )
        return httpx.Response(
            response.status_code,
            content=response.content,
            headers={"Retry-After": response.headers.get("Retry-After", "")},
        )


async def recorded(transcript: Transcript, server: str, template: str) -> Transcript:
    """A transcript as it goes now, on a service of its own where it is played against one."""
    with tempfile.TemporaryDirectory() as folder:
        if SERVICE not in transcript.played:
            return await Recorder(transcript, None, Path(folder)).record()
        async with Service(server, template, f"recorded_{os.getpid()}") as service:
            return await Recorder(transcript, service, Path(folder)).record()


async def _plain_template(server: str) -> str:
    url = await fresh_database(server, "plain")
    await asyncio.to_thread(migrate, url, ROLES)
    pool = await open_pool(url, 1)
    await load(Database(pool), Settings(households_per_grid=0), NOW, password=CHEAP.hash(PASSWORD))
    await pool.close()
    return "plain"


async def _record(server: str, stems: list[str]) -> None:
    template = await _plain_template(server)
    for stem, transcript in transcripts.load().items():
        if stems and stem not in stems:
            continue
        path = FOLDER / f"{stem}.json"
        before = path.read_text(encoding="utf-8")
        after = transcripts.written(await recorded(transcript, server, template))
        path.write_text(after, encoding="utf-8")
        print(f"{'same' if before == after else 'written'}  {stem}")


def main(stems: list[str]) -> None:
    """Records the transcripts of these stems, or all."""
    with (
        database_folder("record", quickest_disk()) as folder,
        embedded(folder, TEST_CONFIG) as server,
    ):
        asyncio.run(_record(server, stems))


if __name__ == "__main__":
    main(sys.argv[1:])
