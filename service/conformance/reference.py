"""The reference device behind the hooks of the conformance test: `python -m
service.conformance.reference`.

Reads a hook a line from standard input and answers each with a line; docs/conformance.md describes
them.
"""

import asyncio
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from service.runtime.leftovers import own_folder
from sync_protocol.device import (
    Account,
    Device,
    DeviceRevoked,
    Refused,
    Store,
    SyncReport,
    Transport,
    Unreachable,
)
from sync_protocol.messages import Verdict

# A client that waits for an answer that never comes would end no test.
_TIMEOUT_S = 20

Hook = dict[str, Any]


class _Named(Device):
    """A reference device that takes the device ids that it is told to."""

    given: list[str]

    def new_device_id(self) -> str:
        return self.given.pop(0)


class ReferencePhone:
    """One phone: `await phone.do(hook)` does what a hook asks for."""

    def __init__(self, folder: Path, start: Hook, client: httpx.AsyncClient) -> None:
        self._path = folder / f"{start['phone']}.sqlite3"
        self._start = start
        self._client = client
        self._ids = list(start["devices"])
        self._wall = int(start["wall_ms"])
        self._failures = 0
        self._conflicts: list[Hook] = []
        self.switch_on()

    def switch_on(self) -> None:
        """Starts the client of the phone, over what its file holds."""
        kind = type("_Phone", (_Named,), {"given": self._ids})
        account = Account(self._start["staff_code"], self._start["password"])
        self.device: Device = kind(
            Store(self._path),
            Transport(self._client),
            account,
            now=lambda: self._wall,
            rng=random.Random(self._start["phone"]),
            page=self._start["limit"],
        )

    async def do(self, hook: Hook) -> Hook:
        """Does what a hook asks for and tells what came of it."""
        self._wall = int(hook.get("wall_ms", self._wall))
        match hook["do"]:
            case "put":
                return {
                    "id": self.device.put(
                        hook["kind"], hook["fields"], grid=hook["grid"], id=hook.get("id")
                    )
                }
            case "delete":
                self.device.delete(hook["kind"], hook["id"], grid=hook["grid"])
                return {}
            case "sync":
                return await self._sync()
            case "verify":
                return await self._verify()
            case "show":
                return self.state()
            case "restart":
                self.close()
                self.switch_on()
                return {}
        raise ValueError(f"there is no hook {hook['do']}")

    async def _sync(self) -> Hook:
        """One exchange, with what a refusal asks for."""
        report = SyncReport()
        self._conflicts = []
        try:
            more = await self.device.exchange_once(report)
        except Unreachable as error:
            self._failures += 1
            return {
                "next": "later",
                "wait_s": self.device.pause_s(self._failures - 1, error.retry_after),
            }
        except Refused as error:
            try:
                await self.device.mend(error)
            except (Refused, DeviceRevoked):
                return {"next": "stopped"}
            return {"next": "at once"}
        self._failures = 0
        self._conflicts = self._told(report.verdicts)
        store = self.device.store
        return {
            "next": "at once" if more or store.count_unsent() or store.out_of_step() else "done"
        }

    def _told(self, verdicts: list[Verdict]) -> list[Hook]:
        records = {mutation.seq: mutation.id for mutation in self.device.store.written()}
        return [
            {"id": records[verdict.seq], "field": item.field, "kept": item.kept, "lost": item.lost}
            for verdict in verdicts
            for item in verdict.conflicts or ()
        ]

    async def _verify(self) -> Hook:
        while True:
            try:
                mismatched = await self.device.verify()
            except Unreachable as error:
                return {"wait_s": self.device.pause_s(0, error.retry_after)}
            except Refused as error:
                await self.device.mend(error)
                continue
            self.device.store.ask_again(mismatched, self._wall)
            return {"mismatched": mismatched}

    def state(self) -> Hook:
        """What the phone holds and shows."""
        store = self.device.store
        stale = store.stale()
        records = [
            {"kind": change.kind, "id": change.id, "grid": change.grid}
            | ({"stale": True} if (change.kind, change.id) in stale else {"rev": change.rev})
            | ({"deleted": True} if change.deleted else {"fields": change.fields})
            for change in store.pulled()
            if change.kind != "held"
        ]
        shown = [
            {"kind": view.kind, "id": view.id, "grid": view.grid, "fields": view.fields}
            | ({"pending": True} if view.pending else {})
            for view in self.device.records()
            if view.kind != "held"
        ]
        return {
            "device": store.get("device"),
            "acked": store.acked,
            "tracing": store.tracing,
            "pending": [mutation.seq for mutation in store.unsent(1_000_000)],
            "held": [
                {"kind": item.kind, "id": item.id, "reason": item.reason} for item in store.held()
            ],
            "conflicts": self._conflicts,
            "records": records,
            "shown": shown,
        }

    def close(self) -> None:
        """Closes the phone's file."""
        self.device.store.close()


class Phones:
    """The phones of one process. `client` makes a phone's HTTP client for a server's base URL."""

    def __init__(self, folder: Path, client: Callable[[str], httpx.AsyncClient]) -> None:
        self._folder = folder
        self._make = client
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._phones: dict[str, ReferencePhone] = {}

    async def do(self, hook: Hook) -> Hook:
        """Does what a hook asks for, or says what went wrong."""
        try:
            name = hook["phone"]
            if hook["do"] == "start":
                self._clients[name] = self._make(hook["server"])
                self._phones[name] = ReferencePhone(self._folder, hook, self._clients[name])
                return {}
            if hook["do"] == "end":
                await self._end(name)
                return {}
            return await self._phones[name].do(hook)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def device(self, name: str) -> str:
        """The device id that a phone has now."""
        return self._phones[name].device.id

    async def _end(self, name: str) -> None:
        self._phones.pop(name).close()
        await self._clients.pop(name).aclose()
        for file in self._folder.glob(f"{name}.sqlite3*"):
            file.unlink()

    async def close(self) -> None:
        """Ends all phones."""
        for name in [*self._phones]:
            await self._end(name)


async def serve(phones: Phones) -> None:
    """Answers hooks until standard input ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer = await phones.do(json.loads(line))
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    await phones.close()


def main() -> None:
    """The process of the reference adapter."""
    with own_folder("reference") as folder:
        asyncio.run(
            serve(
                Phones(
                    folder,
                    lambda server: httpx.AsyncClient(
                        base_url=server, timeout=_TIMEOUT_S, trust_env=False
                    ),
                )
            )
        )


if __name__ == "__main__":
    main()
