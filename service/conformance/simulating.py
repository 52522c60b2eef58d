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
from service.conformance.real_service import VILLAGE, RealService, Services
from service.conformance.reference import Phones
from service.conformance.transcripts import Step, complete, live
from service.runtime.leftovers import own_folder
from sync_protocol.ids import monthly_summary_id, uuid7, weekly_analysis_id
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import from_ms, local_day, month_of, week_of
from sync_protocol.records import KINDS
from sync_protocol.texts import Text
from sync_protocol.vocabulary import DUTIES, SEVERITIES, TAGS

GRIDS = [VILLAGE + "001", VILLAGE + "002", VILLAGE + "003"]
# phone -> whose it is, where it writes, whether it is the client's
PHONES: dict[str, tuple[str, list[str], bool]] = {
    "own-1": (f"W{GRIDS[0]}-1", GRIDS[:1], True),
    "own-2": (f"C{VILLAGE}-1", GRIDS, True),
    "other-1": (f"W{GRIDS[0]}-1", GRIDS[:1], False),
    "other-2": (f"C{VILLAGE}-1", GRIDS, False),
    "other-3": (f"W{GRIDS[1]}-1", GRIDS[1:2], False),
}
_DAY_MS = 24 * 3600 * 1000
WRONG_BY_MS = (0, 0, 0, 900, -7_000, 2 * _DAY_MS, -3 * _DAY_MS)
FAULT_RATE = 0.25
MAX_EXCHANGES = 400
FINAL_ROUNDS = 6
# More than fit a request, by number and by size.
MANY, LARGE = 1_005, 200
_DEVICES = 20
# What is written, and how often.
_WRITTEN = {
    "household": 1,
    "visit": 2,
    "problem": 1,
    "step": 1,
    "weekly_analysis": 1,
    "monthly_summary": 1,
    "edit": 3,
}
_ACTIONS = ("accept", "handle", "resolve", "note", "reopen", "return")
_TEXT_FIELDS = {
    "household": ("phone", "address", "note"),
    "visit": ("content",),
    "problem": ("title", "detail"),
    "weekly_analysis": ("situation", "causes", "measures"),
    "monthly_summary": ("results", "measures"),
}


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
        self._written: list[tuple[str, Step]] = []
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
                await self._write_many("own-1")
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
            self._write: 45,
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

    # -------------------------------------------------------------------------------------- writing

    async def _write(self, name: str) -> None:
        shown = (await self._do(name, "show")).get("shown", [])
        _, grids, _ = PHONES[name]
        mine = [record for record in shown if record["grid"] in grids and record["kind"] in KINDS]
        kind = self._rng.choice(
            (
                "household",
                "visit",
                "visit",
                "problem",
                "step",
                "weekly_analysis",
                "monthly_summary",
                "edit",
                "edit",
                "edit",
            )
        )
        problems = [record for record in mine if record["kind"] == "problem"]
        editable = [record for record in mine if record["kind"] in _TEXT_FIELDS]
        if kind == "edit" and editable:
            await self._edit(name, self._rng.choice(editable))
        elif kind == "step" and problems:
            problem = self._rng.choice(problems)
            action = self._rng.choice(("accept", "handle", "resolve", "note", "reopen", "return"))
            await self._put(
                name,
                "step",
                self._new(),
                problem["grid"],
                {"problem_id": problem["id"], "action": action, "at": self._at(name)},
            )
        else:
            await self._make(
                name, kind if kind in _TEXT_FIELDS else "visit", self._rng.choice(grids)
            )

    async def _make(self, name: str, kind: str, grid: str) -> None:
        today = local_day(from_ms(self._service.now_ms))
        word, at = self._word(), self._at(name)
        duty = self._rng.choice([*DUTIES])
        match kind:
            case "household":
                fields: Step = {
                    "head_name": word,
                    "tags": {"add": self._rng.sample([*TAGS], 2)},
                    "members": self._members(),
                }
            case "visit":
                people = {"add": [word, "\uff21" + word, "\U00020000" + word]}
                fields = {
                    "visited_at": at,
                    "content": word,
                    "duties": {"add": [duty]},
                    "people_met": people,
                }
            case "problem":
                fields = {
                    "title": word,
                    "duty": duty,
                    "severity": self._rng.choice([*SEVERITIES]),
                    "raised_at": at,
                }
            case "weekly_analysis":
                await self._put(
                    name,
                    kind,
                    weekly_analysis_id(grid, week_of(today)),
                    grid,
                    {"week": week_of(today), "situation": word},
                )
                return
            case _:
                await self._put(
                    name,
                    kind,
                    monthly_summary_id(grid, month_of(today)),
                    grid,
                    {"month": month_of(today), "results": word},
                )
                return
        await self._put(name, kind, self._new(), grid, fields)

    async def _write_many(self, name: str) -> None:
        """Weeks without coverage, and long texts."""
        for number in range(MANY):
            fields = {
                "visited_at": self._at(name),
                "content": (self._word() * 400)[: 4000 if number < LARGE else 9],
            }
            id = self._new()
            await self._do(name, "put", kind="visit", id=id, grid=GRIDS[0], fields=fields)
            self._written.append(
                (name, {"kind": "visit", "id": id, "op": "put", "grid": GRIDS[0], "fields": fields})
            )

    async def _edit(self, name: str, record: Step) -> None:
        kind, grid = record["kind"], record["grid"]
        chance = self._rng.random()
        if kind in ("visit", "household") and chance < 0.12:
            await self._do(name, "delete", kind=kind, id=record["id"], grid=grid)
            self._written.append(
                (
                    name,
                    {"kind": kind, "id": record["id"], "op": "delete", "grid": grid, "fields": {}},
                )
            )
            await self._see(name, kind, record["id"], None)
            return
        fields: Step = {self._rng.choice(_TEXT_FIELDS[kind]): self._word()}
        if kind == "household" and chance < 0.3:
            grid = self._rng.choice(PHONES[name][1])
        if kind == "household" and chance > 0.6:
            tags = self._rng.sample([*TAGS], 3)
            fields["tags"] = {"add": sorted(tags[:2]), "remove": tags[2:]}
        if kind == "household" and chance > 0.9:
            fields["members"] = None
        if kind == "problem" and chance > 0.5:
            fields["severity"] = self._rng.choice([*SEVERITIES])
        await self._put(name, kind, record["id"], grid, fields)

    async def _put(self, name: str, kind: str, id: str, grid: str, fields: Step) -> None:
        await self._do(name, "put", kind=kind, id=id, grid=grid, fields=fields)
        self._written.append(
            (name, {"kind": kind, "id": id, "op": "put", "grid": grid, "fields": fields})
        )
        await self._see(name, kind, id, canonical(kind, fields))

    async def _see(self, name: str, kind: str, id: str, fields: Step | None) -> None:
        """What was written is seen at once."""
        shown = [
            item
            for item in (await self._do(name, "show")).get("shown", [])
            if (item["kind"], item["id"]) == (kind, id)
        ]
        if fields is None:
            if shown:
                self._found(
                    Text("`delete` hides the record at once"), {"kind": kind, "id": id}, shown
                )
            return
        have = shown[0]["fields"] if shown else {}
        for field, value in fields.items():
            wanted = have.get(field)
            if isinstance(value, dict) and field in KINDS[kind].sets:
                is_seen = set(value.get("add", ())) <= set(wanted or ()) and not set(
                    value.get("remove", ())
                ) & set(wanted or ())
                is_seen = is_seen and (wanted or []) == sorted(wanted or [])
            else:
                is_seen = value == wanted
            if not is_seen:
                self._found(Text("the own edit shows at once: {field}", field=field), value, wanted)

    def _members(self) -> int | float:
        """A whole number, now and then as languages have it that know floats only."""
        number = self._rng.randint(1, 9)
        return float(number) if self._rng.random() < 0.3 else number

    def _new(self) -> str:
        return uuid7(self._service.now_ms, self._rng)

    def _word(self) -> str:
        return f"词{self._rng.getrandbits(32):08x}"

    def _at(self, name: str) -> str:
        return canonical_moment(from_ms(self._service.now_ms + self._ahead[name]))

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
        for name, written in self._written:
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
