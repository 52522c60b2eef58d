"""What is written on the phones of a simulated history, and that it is seen at once."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.conformance.comparing import canonical
from service.conformance.real_service import VILLAGE
from service.conformance.transcripts import Step
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
# More than fit a request, by number and by size.
MANY, LARGE = 1_005, 200
# What is written, each as often as it stands here.
_WRITTEN = (
    "household",
    *("visit", "visit"),
    "problem",
    "step",
    "weekly_analysis",
    "monthly_summary",
    *("edit", "edit", "edit"),
)
_ACTIONS = ("accept", "handle", "resolve", "note", "reopen", "return")
_TEXT_FIELDS = {
    "household": ("phone", "address", "note"),
    "visit": ("content",),
    "problem": ("title", "detail"),
    "weekly_analysis": ("situation", "causes", "measures"),
    "monthly_summary": ("results", "measures"),
}


class Do(Protocol):
    """Has a phone do something: its name, the hook, and what else the hook says."""

    async def __call__(self, name: str, do: str, **hook: Any) -> Step: ...


class Writing:
    """Writes on phones: `written` is what, in order, with the phone that it was written on.

    `found` notes a broken rule, with what was wanted and what came; `now_ms` is the true time, and
    `ahead` how far the clock of each phone is ahead of it, both in milliseconds.
    """

    def __init__(
        self,
        rng: random.Random,
        do: Do,
        found: Callable[[str, Any, Any], None],
        now_ms: Callable[[], int],
        ahead: Mapping[str, int],
    ) -> None:
        self._rng = rng
        self._do = do
        self._found = found
        self._now_ms = now_ms
        self._ahead = ahead
        self.written: list[tuple[str, Step]] = []

    async def write(self, name: str) -> None:
        """Makes or edits one record on a phone."""
        shown = (await self._do(name, "show")).get("shown", [])
        _, grids, _ = PHONES[name]
        mine = [record for record in shown if record["grid"] in grids and record["kind"] in KINDS]
        kind = self._rng.choice(_WRITTEN)
        problems = [record for record in mine if record["kind"] == "problem"]
        editable = [record for record in mine if record["kind"] in _TEXT_FIELDS]
        if kind == "edit" and editable:
            await self._edit(name, self._rng.choice(editable))
        elif kind == "step" and problems:
            problem = self._rng.choice(problems)
            action = self._rng.choice(_ACTIONS)
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
        today = local_day(from_ms(self._now_ms()))
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

    async def write_many(self, name: str) -> None:
        """Weeks without coverage, and long texts."""
        for number in range(MANY):
            fields = {
                "visited_at": self._at(name),
                "content": (self._word() * 400)[: 4000 if number < LARGE else 9],
            }
            id = self._new()
            await self._do(name, "put", kind="visit", id=id, grid=GRIDS[0], fields=fields)
            self.written.append(
                (name, {"kind": "visit", "id": id, "op": "put", "grid": GRIDS[0], "fields": fields})
            )

    async def _edit(self, name: str, record: Step) -> None:
        kind, grid = record["kind"], record["grid"]
        chance = self._rng.random()
        if kind in ("visit", "household") and chance < 0.12:
            await self._do(name, "delete", kind=kind, id=record["id"], grid=grid)
            self.written.append(
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
        self.written.append(
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
        return uuid7(self._now_ms(), self._rng)

    def _word(self) -> str:
        return f"词{self._rng.getrandbits(32):08x}"

    def _at(self, name: str) -> str:
        return canonical_moment(from_ms(self._now_ms() + self._ahead[name]))
