"""Plays all vectors against a set of rules, as they stand in rules.py or broken."""

import json
from collections.abc import Callable, Coroutine, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlencode

from service.conformance.fake_server import FakeServer
from service.conformance.loopback import Request
from service.conformance.playing import Playing
from service.conformance.transcripts import CLIENT, Step, Transcript, played_by

VECTORS = Path(__file__).parents[2] / "sync_protocol" / "vectors"
GRID = "150202100200001"
ZERO = "0" * 16

T = TypeVar("T")


@cache
def cases(name: str) -> Any:
    """The cases of a file of vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["cases"]


@cache
def transcripts() -> dict[str, Transcript]:
    """The transcripts of clients."""
    return played_by(CLIENT)


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


class Hooks:
    """The phones of one transcript, as rules have them."""

    def __init__(self, rules: ModuleType, fake: FakeServer) -> None:
        self._rules = rules
        self._fake = fake
        self._phones: dict[str, Any] = {}

    async def do(self, hook: Step) -> Step:
        """What a hook asks for."""
        name = hook["phone"]
        if hook["do"] == "start":
            self._phones[name] = self._rules.Phone(hook, self._send)
        elif hook["do"] == "restart":
            self._phones[name] = self._phones[name].restarted()
        elif hook["do"] != "end":
            answer: Step = json.loads(json.dumps(self._phones[name].do(hook)))
            return answer
        return {}

    def _send(self, path: str, headers: Step, body: Step) -> tuple[int, Any, Any] | None:
        content = urlencode(body) if path.endswith("/token") else json.dumps(body)
        reply = finished(self._fake.handle(Request("POST", path, headers, content.encode())))
        return None if reply is None else (reply.status, reply.headers, json.loads(reply.body))


def wrong(rules: ModuleType, only: str = "") -> Iterator[str]:
    """The vectors that rules do not pass, one after another."""
    checks: dict[str, Callable[[ModuleType, Any], bool]] = {
        "clock_tick": _ticks,
        "clock_offset": lambda rules, case: (
            rules.offset(case["now_ms"], case["sent_at_ms"]) == case["offset_ms"]
        ),
        "clock_correct": _corrects,
        "ids": lambda rules, case: (
            rules.computed_id(case["kind"], case["grid"], case["key"]) == case["id"]
        ),
        "fields": _fields,
        "merge": _merges,
        "overlay": lambda rules, case: (
            rules.overlay(case["fields"], case["changes"], {"tags"}) == case["shown"]
        ),
        "digest": lambda rules, case: rules.digest(case["records"]) == case["digest"],
        "windows": _windows,
        "lifecycle": _lifecycle,
    }
    for name, check in checks.items():
        for number, case in enumerate(cases(name)) if only in ("", name) else ():
            if not _passes(check, rules, case):
                yield f"{name}: {case.get('name', number)}"
    for stem, transcript in transcripts().items():
        if only in ("", "exchange", stem):
            found = _plays(rules, transcript)
            if found:
                yield f"exchange: {stem}: {found}"


def _passes(check: Callable[[ModuleType, Any], bool], rules: ModuleType, case: Any) -> bool:
    try:
        return check(rules, json.loads(json.dumps(case)))
    except Exception:  # whatever a broken rule does, it has been noticed
        return False


def _plays(rules: ModuleType, transcript: Transcript) -> str:
    fake = FakeServer(transcript)
    try:
        findings = finished(Playing(transcript, fake, Hooks(rules, fake), "").play())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "; ".join(f"step {one.step}: {one.rule}: {one.wanted} / {one.came}" for one in findings)


def _ticks(rules: ModuleType, case: Any) -> bool:
    last, stamps = case["last"], []
    for wall in case["walls"]:
        last = rules.tick(last, wall)
        stamps.append(last)
    return bool(stamps == case["stamps"])


def _corrects(rules: ModuleType, case: Any) -> bool:
    return bool(
        rules.corrected(case["stamps"], case["offset_ms"], case["now_ms"], case["last"])
        == case["corrected"]
    )


def _fields(rules: ModuleType, case: Any) -> bool:
    clean, refused = rules.canonical(case["kind"], case["fields"])
    if "refused" in case:
        return bool(refused == case["refused"])
    # As text, so that 31 is not 31.0, and an order counts.
    written = [json.dumps(value, sort_keys=True) for value in (clean, case["canonical"])]
    return (
        not refused
        and _same_numbers(clean, case["canonical"])
        and written[0].replace(".0", "") == written[1].replace(".0", "")
    )


def _same_numbers(one: Any, other: Any) -> bool:
    return bool(one == other)


def _merges(rules: ModuleType, case: Any) -> bool:
    plain = {"grid": GRID, "op": "put", "rebased": False, "base_grid": None, "seen": None}
    edits = [
        plain | edit | {"fields": rules.canonical(case["kind"], edit["fields"])[0]}
        for edit in case["edits"]
    ]
    record = rules.Merging(case["kind"], edits[0])
    merged = [False, *(record.apply(edit, rev) for rev, edit in enumerate(edits[1:], 2))]
    after = {"grid": record.grid, "deleted": record.deleted, "fields": record.fields}
    return bool(
        merged == case["merged"] and after == case["record"] and record.losses == case["losses"]
    )


def _windows(rules: ModuleType, case: Any) -> bool:
    shown = rules.in_first_pull(
        case["records"], date.fromisoformat(case["today"]), case.get("own_work_from", ZERO)
    )
    return [*sorted(record["id"] for record in shown)] == [*case["shown"]]


def _lifecycle(rules: ModuleType, case: Any) -> bool:
    problem = case["problem"]
    found = rules.fold(
        problem["fields"], problem["grid"], case["steps"], case.get("own_work_from", ZERO)
    )
    return bool(
        found["history"] == case["history"]
        and {name: found.get(name) for name in case["case"]} == case["case"]
    )


def main() -> None:
    """What rules.py does not pass."""
    from tests.conformance import rules

    for line in wrong(rules):
        print(line)


if __name__ == "__main__":
    main()
