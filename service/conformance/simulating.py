"""A seeded history of a client's phones and of reference devices beside them, against the real
service over a bad network.

Nobody says beforehand what has to come out: at the end the client's phones must hold what a
reference device pulls that begins anew, and the server everything that anybody wrote.
"""

import json
import random
from collections.abc import Callable
from typing import Any

import httpx

from service.conformance.comparing import canonical
from service.conformance.fake_server import PASSWORD
from service.conformance.loopback import serving
from service.conformance.playing import Client, ClientFailed, Finding
from service.conformance.real_service import RealService, Services
from service.conformance.reference import Phones
from service.conformance.simulated_writing import PHONES, Writing
from service.conformance.transcripts import Step, complete, live
from service.runtime.leftovers import own_folder
from sync_protocol.ids import uuid7
from sync_protocol.texts import Text

_DAY_MS = 24 * 3600 * 1000
WRONG_BY_MS = (0, 0, 0, 900, -7_000, 2 * _DAY_MS, -3 * _DAY_MS)
FAULT_RATE = 0.25
MAX_EXCHANGES = 400
FINAL_ROUNDS = 6
_DEVICES = 20


class Simulated:
    """One history; `await Simulated(…).live()` returns what the client got wrong."""

    def __init__(
        self,
        seed: int,
        steps: int,
        client: Client,
        service: RealService,
        url: str,
        others: Phones,
        prefix: str = "",
    ) -> None:
        self._seed = seed
        self._steps = steps
        self._rng = random.Random(f"conformance {seed}")
        self._own = client
        self._others = others
        self._service = service
        self._url = url
        self._prefix = prefix
        self._ahead = {name: self._wrong_by() for name in PHONES}
        self._writing = Writing(
            self._rng, self._do, self._found, lambda: service.now_ms, self._ahead
        )
        self._number = 0
        self.findings: list[Finding] = []

    async def live(self) -> list[Finding]:
        """Lives through the history and checks how it ends."""
        try:
            for name in PHONES:
                await self._start(name)
            for number in range(1, self._steps + 1):
                self._number = number
                await self._step()
                if self.findings:
                    return self.findings
            if self._seed % 3 == 0:
                await self._writing.write_many("own-1")
            await self._settle()
            if not self.findings:
                await self._check()
        except ClientFailed as error:
            self._found(Text("does what the hook asks for"), "", str(error))
        finally:
            await self._end()
        return self.findings

    def _found(self, rule: str, wanted: Any = "", came: Any = "") -> None:
        shown = [
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:300]
            for value in (wanted, came)
        ]
        self.findings.append(Finding(f"seed {self._seed}", "The idea", self._number, rule, *shown))

    async def _do(self, name: str, do: str, **hook: Any) -> Step:
        whole = {
            "do": do,
            "phone": self._prefix + name,
            "wall_ms": self._service.now_ms + self._ahead.get(name, 0),
            **hook,
        }
        own = PHONES[name][2] if name in PHONES else False
        answer = await (self._own if own else self._others).do(whole)
        if not own and "error" in answer:
            raise RuntimeError(f"a reference device failed at {do}: {answer['error']}")
        return answer

    async def _start(self, name: str, staff_code: str = "") -> None:
        devices = [uuid7(self._service.now_ms, self._rng) for _ in range(_DEVICES)]
        limit = 500 if self._seed % 3 == 0 else self._rng.choice((5, 20, 500))
        code = staff_code or PHONES[name][0]
        await self._do(
            name,
            "start",
            server=self._url,
            staff_code=code,
            password=PASSWORD,
            devices=devices,
            limit=limit,
        )

    async def _end(self) -> None:
        for name, (_, _, own) in PHONES.items():
            if own:
                try:
                    await self._do(name, "end")
                except ClientFailed as error:
                    self._found(Text("ends when it is told to"), "", str(error))

    # ------------------------------------------------------------------------------------ the steps

    async def _step(self) -> None:
        self._service.now_ms += self._rng.randint(1_000, 40 * 60_000)
        self._service.fault_rate = FAULT_RATE
        name = self._rng.choice([*PHONES])
        # Every second history lives through a server that loses some of its hours.
        if self._seed % 2 == 0 and self._number in (self._steps // 3, 2 * self._steps // 3):
            await (self._back_up if self._number == self._steps // 3 else self._restore)(name)
        actions: dict[Callable[[str], Any], float] = {
            self._writing.write: 45,
            self._sync: 35,
            self._verify: 4,
            self._restart: 6,
            self._jump: 2,
            self._back_up: 3,
            self._restore: 2,
        }
        await self._rng.choices([*actions], [*actions.values()])[0](name)

    async def _restart(self, name: str) -> None:
        before = await self._do(name, "show")
        await self._do(name, "restart")
        after = await self._do(name, "show")
        for key in ("device", "acked", "pending", "records", "shown"):
            if _sorted(before.get(key)) != _sorted(after.get(key)):
                self._found(
                    Text("a phone that is switched off forgets nothing: {key}", key=key),
                    before.get(key),
                    after.get(key),
                )

    async def _jump(self, name: str) -> None:
        self._ahead[name] = self._wrong_by()

    def _wrong_by(self) -> int:
        # An empty battery: the phone begins again on 2 January 1970.
        return self._rng.choice((*WRONG_BY_MS, _DAY_MS - self._service.now_ms))

    async def _back_up(self, name: str) -> None:
        await self._service.back_up()

    async def _restore(self, name: str) -> None:
        await self._service.restore()

    async def _verify(self, name: str) -> None:
        await self._do(name, "verify")

    async def _sync(self, name: str) -> bool:
        """Exchanges until the phone says that it is done; whether it was. Gives up after a few
        failures, as a phone does.
        """
        failures = 0
        for _ in range(MAX_EXCHANGES):
            came = await self._do(name, "sync")
            match came.get("next"):
                case "at once":
                    continue
                case "done":
                    return True
                case "later":
                    failures += 1
                    if failures == 3:
                        return False
                    self._service.now_ms += min(60_000, int(1000 * float(came.get("wait_s") or 0)))
                case _:
                    self._found(
                        Text("never stops handing in: nothing here was refused for good"),
                        "done",
                        came,
                    )
                    return False
        self._found(
            Text("comes to an end: {count} exchanges were not enough", count=MAX_EXCHANGES),
            "done",
            "at once",
        )
        return False

    # -------------------------------------------------------------------------------------- the end

    async def _settle(self) -> None:
        """The network is good, and everybody syncs until nothing is left to do."""
        self._service.fault_rate = 0
        for _ in range(FINAL_ROUNDS):
            quiet = True
            for name in PHONES:
                self._service.now_ms += 60_000
                before = await self._do(name, "show")
                if not await self._sync(name) and not self.findings:
                    self._found(
                        Text(
                            "hands in everything and pulls until there is nothing more, once the"
                            " network is good"
                        ),
                        "done",
                        "later",
                    )
                if self.findings:
                    return
                came = await self._do(name, "verify")
                quiet &= came.get("mismatched") == [] and before == await self._do(name, "show")
            if quiet:
                return
        self._found(
            Text("comes to rest: {count} rounds of everybody were not enough", count=FINAL_ROUNDS),
            "",
            "",
        )

    async def _check(self) -> None:
        for name, (staff_code, _, own) in PHONES.items():
            if own:
                await self._check_copy(name, staff_code)
        known = {_content(body) for body in await self._service.log()}
        for name, written in self._writing.written:
            if PHONES[name][2] and _content(written) not in known:
                self._found(
                    Text("nothing that was written is ever lost: {phone}", phone=name), written, "–"
                )

    async def _check_copy(self, name: str, staff_code: str) -> None:
        fresh = f"fresh of {name}"
        await self._start(fresh, staff_code)
        while (await self._do(fresh, "sync"))["next"] == "at once":
            pass
        truth, state = (
            complete(await self._do(fresh, "show")),
            complete(await self._do(name, "show")),
        )
        checks = {
            Text("the copy is that of a phone that pulls from the start"): (
                live(truth["records"]),
                live(state["records"]),
            ),
            Text("nothing stays pending once everything was acknowledged"): ([], state["pending"]),
            Text("shown is the copy, when nothing is pending"): (
                live(truth["records"]),
                [_plain(item) for item in state["shown"]],
            ),
            Text("everything that is held is told to its author"): (truth["held"], state["held"]),
        }
        for rule, (wanted, came) in checks.items():
            left, right = _sorted(wanted), _sorted(came)
            if left != right:
                self._found(
                    rule,
                    [item for item in left if item not in right],
                    [item for item in right if item not in left],
                )


def _plain(item: Step) -> Step:
    return {name: value for name, value in item.items() if name != "pending"}


def _sorted(value: Any) -> Any:
    return (
        sorted(value, key=lambda item: json.dumps(item, sort_keys=True))
        if isinstance(value, list)
        else value
    )


def _content(mutation: Step) -> str:
    fields = canonical(mutation["kind"], mutation["fields"])
    return json.dumps(
        [mutation["kind"], mutation["id"], mutation["op"], mutation["grid"], fields], sort_keys=True
    )


async def simulate(
    seed: int, steps: int, client: Client, some: Services, prefix: str = ""
) -> list[Finding]:
    """One history on a service of its own."""
    async with some.running(seed) as service, serving(service.handle) as url:
        with own_folder("simulated") as folder:
            others = Phones(
                folder,
                lambda server: httpx.AsyncClient(base_url=server, timeout=20, trust_env=False),
            )
            try:
                return await Simulated(seed, steps, client, service, url, others, prefix).live()
            finally:
                await others.close()
