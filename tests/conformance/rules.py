"""A client in small, written from PROTOCOL.md alone: what the vectors are tested with, and broken on purpose.

It imports nothing of what it writes again. Each rule is a plain function; `Phone` is a client over them, whose whole memory is one
dictionary of JSON. Nothing here is fast, and nothing talks to a network: `send` does.
"""

import copy
import hashlib
import json
import re
import unicodedata
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

Json = dict[str, Any]
ZERO = "0" * 16
MINUTE, DAY = 60_000, 24 * 3600 * 1000
SHANGHAI = timezone(timedelta(hours=8))

# ------------------------------------------------------------------------------------------------------- clocks


def stamp_of(ms: int) -> str:
    return f"{ms:012x}0000"


def successor(stamp: str) -> str:
    return f"{int(stamp, 16) + 1:016x}"


def tick(last: str, wall_ms: int) -> str:
    """The stamp of an edit made at a wall clock, after the last stamp."""
    wall = stamp_of(wall_ms)
    if wall > last:
        return wall
    if int(last[:12], 16) - wall_ms > MINUTE:
        return wall
    return successor(last)


def offset(now_ms: int, sent_at_ms: int) -> int:
    """What the server adds to a phone's times; up to two seconds are what a network adds."""
    difference = now_ms - sent_at_ms
    return difference if abs(difference) > 2000 else 0


def corrected(stamps: list[str], offset_ms: int, now_ms: int, last: str) -> list[str]:
    """Stamps of one phone in the order of seq by the server's clock."""
    moved = []
    for stamp in stamps:
        ms = max(0, min(int(stamp[:12], 16) + offset_ms, now_ms))
        moved.append(f"{ms:012x}{stamp[12:]}")
    for place in range(len(moved) - 2, -1, -1):
        moved[place] = min(moved[place], moved[place + 1])
    for place, stamp in enumerate(moved):
        before = moved[place - 1] if place else last
        if stamp <= before:
            moved[place] = successor(before)
    return moved


# ---------------------------------------------------------------------------------------------------------- ids

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "gridloop")


def computed_id(kind: str, grid: str, key: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{kind}:{grid}:{key}"))


# ----------------------------------------------------------------------------------------------------- canonical

DUTIES = ["party_building", "social_security", "public_order", "emergency", "social_relief", "public_service"]
DISPUTES = ["family", "neighbours", "land", "homestead", "debt", "contract", "labour", "damage", "other"]
TAGS = ["elderly_alone", "low_income", "five_guarantee", "monitored", "disabled", "veteran", "left_behind", "key_attention"]
SEVERITIES = ["ordinary", "urgent", "emergency"]
ACTIONS = ["accept", "assign", "handle", "resolve", "verify", "close", "return", "reopen", "escalate", "extend", "reject", "join", "note"]
UNIT = r"\d{4}(\d{2}(\d{3}(\d{3}(\d{3})?)?)?)?"
WORD = r"[a-z][a-z0-9_]{0,39}"
STAFF = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"


class InvalidValue(Exception):
    """A value that a field does not take."""


def need(fits: Any) -> None:
    if not fits:
        raise InvalidValue


def text(most: int, least: int = 0) -> Callable[[Any], str]:
    def clean(value: Any) -> str:
        need(isinstance(value, str))
        need(not re.search("[\ud800-\udfff\0]", value))
        value = unicodedata.normalize("NFC", value)
        value = value.strip(" \t\r\n\f\v\u3000")
        need(least <= len(value) <= most)
        return str(value)

    return clean


def one_of(words: list[str]) -> Callable[[Any], str]:
    def clean(value: Any) -> str:
        need(isinstance(value, str) and value in words)
        return str(value)

    return clean


def form(pattern: str, lower: bool = False) -> Callable[[Any], str]:
    def clean(value: Any) -> str:
        need(isinstance(value, str))
        value = value.lower() if lower else value
        need(re.fullmatch(pattern, value, re.ASCII))
        return str(value)

    return clean


def whole_number(least: int, most: int) -> Callable[[Any], int]:
    def clean(value: Any) -> int:
        need(type(value) in (int, float) and value == int(value))
        need(least <= value <= most)
        return int(value)

    return clean


def moment(event: bool) -> Callable[[Any], str]:
    def clean(value: Any) -> str:
        need(isinstance(value, str))
        shape = r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?([.,]\d{1,9})?([Zz]|[+-]\d\d:?\d\d|[+-]\d\d)"
        found = re.fullmatch(shape, value, re.ASCII)
        need(found)
        day, minute, second, fraction, zone = found.groups()  # type: ignore[union-attr]
        need(second or not fraction)
        zone = "+00:00" if zone in "Zz" else zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
        milliseconds = (fraction or ".")[1:4].ljust(3, "0")
        try:
            read = datetime.fromisoformat(f"{day}T{minute}{second or ':00'}.{milliseconds}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidValue from None
        need(event or 2000 <= read.year <= 2199)
        return read.strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0") + f"{read.microsecond // 1000:03d}Z"

    return clean


def six_decimals(value: float) -> float:
    return float(Decimal(value).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)) + 0.0


def place(value: Any) -> Json:
    need(isinstance(value, dict))
    clean = {}
    for name, bound in (("lat", 90), ("lon", 180)):
        need(type(value.get(name)) in (int, float) and -bound <= value[name] <= bound)
        clean[name] = six_decimals(value[name])
    accuracy = value.get("accuracy")
    if accuracy is not None:
        need(type(accuracy) in (int, float) and abs(accuracy) <= 1_000_000)
        if accuracy >= 0:
            clean["accuracy"] = six_decimals(accuracy)
    return clean


def week(value: Any) -> str:
    found = re.fullmatch(r"(\d{4})-W(\d\d)", value, re.ASCII) if isinstance(value, str) else None
    need(found)
    year, number = int(found[1]), int(found[2])  # type: ignore[index]
    need(2000 <= year <= 2199)
    need(1 <= number <= date(year, 12, 28).isocalendar().week)
    return str(value)


def month(value: Any) -> str:
    found = re.fullmatch(r"(\d{4})-(\d\d)", value, re.ASCII) if isinstance(value, str) else None
    need(found)
    need(2000 <= int(found[1]) <= 2199 and 1 <= int(found[2]) <= 12)  # type: ignore[index]
    return str(value)


def day(value: Any) -> str:
    need(isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII))
    try:
        date.fromisoformat(value)
    except ValueError:
        raise InvalidValue from None
    need(2000 <= date.fromisoformat(value).year <= 2199)
    return str(value)


def number(value: Any) -> int | float:
    need(type(value) in (int, float) and -1e12 <= value <= 1e12)
    found = round(float(value), 4)
    return int(found) if found == int(found) else found


def any_period(value: Any) -> str:
    need(isinstance(value, str))
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        return day(value)
    if "W" in value:
        return week(value)
    if re.fullmatch(r"\d{4}-\d\d", value, re.ASCII):
        return month(value)
    found = re.fullmatch(r"(\d{4})(-Q[1-4]|-H[12])?", value, re.ASCII)
    need(found)
    need(2000 <= int(found[1]) <= 2199)  # type: ignore[index]
    return str(value)


def set_of(item: Callable[[Any], str], most: int = 50) -> Callable[[Any], Json]:
    def clean(value: Any) -> Json:
        need(isinstance(value, dict) and value.keys() <= {"add", "remove"})
        change = {}
        for side in ("add", "remove"):
            elements = value.get(side, [])
            need(isinstance(elements, list) and len(elements) <= most)
            change[side] = sorted({item(element) for element in elements})
        need(not set(change["add"]) & set(change["remove"]))
        return {side: elements for side, elements in change.items() if elements}

    return clean


ID = form(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", lower=True)
PHOTOS = (set_of(form("[0-9a-f]{64}", lower=True), 20), "set")
LONG = text(4000)

# kind -> field -> what brings a value into its canonical form, and the policy; the required ones are named after that.
KINDS: dict[str, dict[str, tuple[Callable[[Any], Any], str]]] = {
    "household": {
        "head_name": (text(60, 1), "latest"),
        "phone": (text(40), "latest"),
        "address": (text(200), "latest"),
        "members": (whole_number(0, 99), "latest"),
        "tags": (set_of(one_of(TAGS)), "set"),
        "contact_member": (form(STAFF), "latest"),
        "lead_member": (form(STAFF), "latest"),
        "location": (place, "latest"),
        "note": (LONG, "text"),
        "state": (one_of(["present", "away", "died", "merged"]), "latest"),
        "state_since": (day, "latest"),
        "merged_into": (ID, "latest"),
    },
    "visit": {
        "household_id": (ID, "latest"),
        "visited_at": (moment(event=True), "latest"),
        "duties": (set_of(one_of(DUTIES)), "set"),
        "content": (LONG, "text"),
        "people_met": (set_of(text(60, 1)), "set"),
        "location": (place, "latest"),
        "photos": PHOTOS,
    },
    "problem": {
        "visit_id": (ID, "latest"),
        "household_id": (ID, "latest"),
        "duty": (one_of(DUTIES), "latest"),
        "category": (text(60), "latest"),
        "title": (text(200, 1), "latest"),
        "detail": (LONG, "text"),
        "severity": (one_of(SEVERITIES), "most_severe"),
        "raised_at": (moment(event=True), "fixed"),
        "location": (place, "latest"),
        "photos": PHOTOS,
        "source": (one_of(["visit", "worker", "app", "inspection"]), "fixed"),
        "contact": (text(100), "latest"),
        "parties": (text(200), "latest"),
        "dispute_kind": (one_of(DISPUTES), "latest"),
        "mediator": (text(60), "latest"),
        "agreement": (LONG, "text"),
        "second_visit_at": (moment(event=True), "latest"),
    },
    "step": {
        "problem_id": (ID, "fixed"),
        "action": (one_of(ACTIONS), "fixed"),
        "at": (moment(event=True), "fixed"),
        "note": (LONG, "fixed"),
        "to_unit": (form(UNIT), "fixed"),
        "to_cadre": (form(STAFF), "fixed"),
        "satisfied": (one_of(["yes", "no", "unasked"]), "fixed"),
        "reason": (one_of(["unfounded", "out_of_scope", "withdrawn"]), "fixed"),
        "duplicate_of": (ID, "fixed"),
        "until": (moment(event=False), "fixed"),
        "photos": PHOTOS,
    },
    "indicator_value": {
        "indicator": (form(WORD), "fixed"),
        "period": (any_period, "fixed"),
        "value": (number, "latest"),
        "source": (text(200), "latest"),
        "evidence": PHOTOS,
        "note": (LONG, "text"),
    },
    "visit_check": {
        "visit_id": (ID, "fixed"),
        "checked_at": (moment(event=True), "fixed"),
        "finding": (one_of(["seen", "confirmed", "not_confirmed"]), "latest"),
        "note": (LONG, "text"),
    },
    "tie": {
        "household_id": (ID, "fixed"),
        "cadre": (form(STAFF), "fixed"),
        "kind": (one_of(["contact", "contracted", "family"]), "fixed"),
        "valid_from": (day, "latest"),
        "valid_to": (day, "latest"),
    },
    "weekly_analysis": {"week": (week, "fixed"), **dict.fromkeys(("situation", "causes", "measures", "next_week"), (LONG, "text"))},
    "monthly_summary": {"month": (month, "fixed"), **dict.fromkeys(("results", "shortfalls", "measures", "next_month"), (LONG, "text"))},
}
REQUIRED = {
    "household": {"head_name"},
    "visit": {"visited_at"},
    "problem": {"duty", "title", "raised_at"},
    "step": {"problem_id", "action", "at"},
    "weekly_analysis": {"week"},
    "monthly_summary": {"month"},
    "indicator_value": {"indicator", "period", "value"},
    "visit_check": {"visit_id", "checked_at", "finding"},
    "tie": {"household_id", "cadre", "kind", "valid_from"},
}


def policy_of(kind: str, name: str) -> str:
    return KINDS[kind][name][1] if name in KINDS[kind] else "latest"


def fits_unknown(value: Any, depth: int = 20) -> bool:
    """Whether a field of a newer app can be kept."""
    if isinstance(value, str):
        return not re.search("[\ud800-\udfff\0]", value)
    if isinstance(value, (dict, list)):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(fits_unknown(item, depth - 1) for item in items)
    if type(value) is float:
        return value - value == 0
    return type(value) is not int or -(2**63) < value < 2**63


def canonical(kind: str, fields: Json) -> tuple[Json, list[str]]:
    """The fields in their canonical form, and the names of those that are wrong."""
    clean: Json = {}
    wrong = []
    for name, value in fields.items():
        try:
            if name not in KINDS[kind]:
                need(name.isidentifier() and len(name) <= 60 and name != "unreadable" and fits_unknown(value))
                clean[name] = value
            elif value is None:
                need(name not in REQUIRED[kind] and policy_of(kind, name) != "set")
                clean[name] = None
            else:
                clean[name] = KINDS[kind][name][0](value)
        except InvalidValue:
            wrong.append(name)
    unknown = [name for name in clean if name not in KINDS[kind]]
    if len(unknown) > 30:
        wrong += unknown[30:]
    return clean, sorted(wrong)


# --------------------------------------------------------------------------------------------------------- merge


def first_values(fields: Json, kind: str) -> Json:
    values = {name: (value.get("add") or None) if policy_of(kind, name) == "set" else value for name, value in fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def seniority(clock: Json) -> tuple[str, str]:
    return clock["stamp"], clock["device"]


class Merging:
    """A record on the server with, for each field, who last set it at which rev; `apply` takes an edit in and tells what lost."""

    def __init__(self, kind: str, edit: Json) -> None:
        self.kind = kind
        self.fields = first_values(edit["fields"], kind)
        self.grid = edit["grid"]
        self.deleted = edit["op"] == "delete"
        self.first = self.last = {"rev": 1, "stamp": edit["stamp"], "device": edit["device"]}
        self.clocks: dict[str, list[Json]] = {}
        # who added an element that is there, or removed one that is not
        self.claims: dict[tuple[str, str], list[Json]] = {}
        # the grids that the record has left: by which move, and its last rev there
        self.left: dict[str, Json] = {}
        self.losses: list[Json] = []

    def holders(self, name: str) -> list[Json]:
        """Who claims a field's value."""
        if name in self.clocks:
            return self.clocks[name]
        return [self.first] if name in self.fields or name == "deleted" else []

    def lose(self, name: str, kept: Any, lost: Any, rule: str, kept_by: Json, lost_by: Json) -> None:
        devices = {"kept_device": kept_by["device"], "lost_device": lost_by["device"]}
        self.losses.append({"rev": self.clock["rev"], "field": name, "kept": kept, "lost": lost, "rule": rule, **devices})

    def concurrent(self, clock: Json) -> bool:
        """Whether the edit at hand did not know of what another device did."""
        if clock["device"] == self.clock["device"]:
            return False
        return bool(self.rebased or clock["rev"] > self.base or (clock["stamp"], clock["device"]) == self.unknown_move)

    def locate(self, edit: Json) -> None:
        """What the edit's device knew, in the count of the grid where the record stands; 0 for nothing."""
        self.base, self.unknown_move = edit["base"], None
        home = edit["base_grid"] or edit["grid"]
        if self.base == 0 or self.rebased:
            return
        if edit["seen"] is not None and edit["base"] > edit["seen"]:
            self.base = 0  # the device had not pulled so far
        elif home in self.left:
            left, moved = self.left[home], self.clocks["grid"][0]
            self.base = 0
            if (left["stamp"], left["device"]) == (moved["stamp"], moved["device"]) and edit["base"] == left["rev"]:
                self.base, self.unknown_move = moved["rev"], (moved["stamp"], moved["device"])
        elif home != self.grid:
            self.base = 0  # the record was never there

    def standing(self) -> list[Json]:
        """What was done to it and stands."""
        claims = [clock for some in self.claims.values() for clock in some]
        return [self.first, *(clock for some in self.clocks.values() for clock in some), *claims]

    def apply(self, edit: Json, rev: int) -> bool:
        """Takes an edit in; whether it was merged with what others did."""
        self.clock = {"rev": rev, "stamp": edit["stamp"], "device": edit["device"]}
        self.rebased, self.base_grid = edit["rebased"], edit["base_grid"]
        self.locate(edit)
        merged = any(map(self.concurrent, [self.last, *self.standing()]))
        lost_before = len(self.losses)
        if edit["op"] == "delete":
            self.delete()
        else:
            self.put(edit)
        self.last = self.clock
        return merged or len(self.losses) > lost_before

    def is_later(self, others: list[Json]) -> bool:
        """Whether an edit of another epoch was made after what it would undo."""
        return bool(self.rebased and seniority(self.clock) > max(map(seniority, others)))

    def delete(self) -> None:
        if self.deleted:
            self.clocks["deleted"] = [clock for clock in self.holders("deleted") if clock["device"] != self.clock["device"]] + [self.clock]
            return
        edits = [clock for clock in self.standing() if self.concurrent(clock)]
        if edits and self.is_later(edits):
            self.lose("deleted", True, False, "epoch", self.clock, max(edits, key=seniority))
        elif edits:
            newest = max(edits, key=lambda clock: (clock["rev"], clock["stamp"]))
            self.lose("deleted", False, True, "delete", newest, self.clock)
            return
        self.deleted = True
        self.clocks["deleted"] = [self.clock]

    def put(self, edit: Json) -> None:
        unknown = [clock for clock in self.holders("deleted") if self.concurrent(clock)]
        if self.deleted and self.rebased and unknown and not self.is_later(unknown):
            self.lose("deleted", True, False, "epoch", max(unknown, key=seniority), self.clock)
        elif self.deleted:
            for clock in unknown:
                self.lose("deleted", False, True, "delete", self.clock, clock)
            self.deleted = False
            self.clocks["deleted"] = [self.clock]
        for name, value in edit["fields"].items():
            if policy_of(self.kind, name) == "set":
                self.change_set(name, value)
            else:
                self.set_field(name, value)
        if edit["grid"] != self.grid:
            self.move(edit["grid"])
        elif self.base_grid not in (None, self.grid):
            moves = self.clocks.get("grid", [])
            self.clocks["grid"] = [*moves[:1], *(clock for clock in moves[1:] if clock["device"] != self.clock["device"]), self.clock]
        if not self.deleted and self.clock not in self.standing():
            self.clocks["deleted"] = [*filter(self.concurrent, self.holders("deleted")), self.clock]

    def move(self, grid: str) -> None:
        moves = self.clocks.get("grid", [])
        own = [clock for clock in moves if clock["device"] == self.clock["device"] and clock["stamp"] < self.clock["stamp"]]
        if self.base_grid is None and grid in self.left and not own:
            return  # the device had not heard that the record left
        rivals = [*filter(self.concurrent, moves)]
        if rivals and seniority(self.clock) < max(map(seniority, rivals)):
            self.lose("grid", self.grid, grid, "latest", max(rivals, key=seniority), self.clock)
            return
        for rival in rivals:
            self.lose("grid", grid, self.grid, "latest", self.clock, rival)
        self.left[self.grid] = {**self.clock, "rev": self.last["rev"]}
        self.left.pop(grid, None)
        rev = {"rev": self.clock["rev"]}
        self.first = {**self.first, **rev}
        self.clocks = {name: [{**clock, **rev} for clock in some] for name, some in self.clocks.items()}
        self.claims = {element: [{**clock, **rev} for clock in some] for element, some in self.claims.items()}
        self.grid = grid
        self.clocks["grid"] = [self.clock]

    def set_field(self, name: str, value: Any) -> None:
        current = self.fields.get(name)
        holders = self.holders(name)
        rivals = [clock for clock in holders if self.concurrent(clock)]
        policy = policy_of(self.kind, name)
        if json.dumps(value, sort_keys=True) == json.dumps(current, sort_keys=True):
            self.clocks[name] = [*rivals, self.clock]
            return
        if policy == "fixed" and current is not None:
            rivals = rivals or holders
            wins = False
        elif not rivals:
            wins = True
        elif policy == "most_severe":
            wins = severity(value) > severity(current) or self.is_later(rivals)
        else:
            wins = seniority(self.clock) > max(map(seniority, rivals))
        if not wins:
            self.lose(name, current, value, policy, max(rivals, key=seniority), self.clock)
            return
        for rival in rivals:
            self.lose(name, value, current, policy, self.clock, rival)
        self.clocks[name] = [self.clock]
        if value is None:
            self.fields.pop(name, None)
        else:
            self.fields[name] = value

    def rivals(self, name: str, element: str, elements: set[str]) -> list[Json]:
        """Who added an element, or removed it, unknown to the edit."""
        made = [self.first] if element in elements else []
        return [*filter(self.concurrent, self.claims.get((name, element), made))]

    def change_set(self, name: str, change: Json) -> None:
        elements = set(self.fields.get(name, []))
        for element in change.get("add", []):
            rivals = self.rivals(name, element, elements)
            if element not in elements:
                if rivals and self.rebased and not self.is_later(rivals):
                    self.lose(name, {"remove": [element]}, {"add": [element]}, "epoch", max(rivals, key=seniority), self.clock)
                    continue
                for rival in rivals:
                    self.lose(name, {"add": [element]}, {"remove": [element]}, "set", self.clock, rival)
                elements.add(element)
                rivals = []
            self.claims[name, element] = [*rivals, self.clock]
        for element in change.get("remove", []):
            rivals = self.rivals(name, element, elements)
            if element in elements:
                if rivals and not self.is_later(rivals):
                    self.lose(name, {"add": [element]}, {"remove": [element]}, "set", max(rivals, key=seniority), self.clock)
                    continue
                for rival in rivals:
                    self.lose(name, {"remove": [element]}, {"add": [element]}, "epoch", self.clock, rival)
                elements.discard(element)
                rivals = []
            self.claims[name, element] = [*rivals, self.clock]
        if elements:
            self.fields[name] = sorted(elements)
        else:
            self.fields.pop(name, None)


def severity(word: Any) -> int:
    return SEVERITIES.index(word) if word in SEVERITIES else -1


# ------------------------------------------------------------------------------------------------------- overlay


def overlay(fields: Json, changes: Json, sets: set[str]) -> Json:
    """Fields with a pending mutation over them."""
    shown = dict(fields)
    for name, value in changes.items():
        if name in sets and isinstance(value, dict):
            elements = (set(shown.get(name, [])) | set(value.get("add", []))) - set(value.get("remove", []))
            value = sorted(elements) or None
        if value is None:
            shown.pop(name, None)
        else:
            shown[name] = value
    return shown


def sets_of(kind: str) -> set[str]:
    return {name for name, (_, policy) in KINDS.get(kind, {}).items() if policy == "set"}


# -------------------------------------------------------------------------------------------- digest and windows


def digest(pairs: list[tuple[str, int]]) -> str:
    value = 0
    for record, rev in pairs:
        value ^= int.from_bytes(hashlib.sha256(uuid.UUID(record).bytes + rev.to_bytes(8, "big")).digest()[:8], "big")
    return f"{value:016x}"


def begins(day: date) -> str:
    """The moment at which a day of Asia/Shanghai begins, in canonical form."""
    return moment(event=True)(f"{day.isoformat()}T00:00:00+08:00")


def week_of(day: date) -> str:
    year, number, _ = day.isocalendar()
    return f"{year:04d}-W{number:02d}"


def months_before(day: date, months: int) -> str:
    count = day.year * 12 + day.month - 1 - months
    return f"{count // 12:04d}-{count % 12 + 1:02d}"


def in_first_pull(records: list[Json], today: date, own_work_from: str) -> list[Json]:
    """The live records that a first pull would give on a day of Asia/Shanghai."""
    since = begins(today - timedelta(days=62))
    over = set()
    for problem in records:
        if problem["kind"] == "problem":
            steps = [step for step in records if step["kind"] == "step" and not step.get("deleted")]
            own = [step for step in steps if step["fields"].get("problem_id") == problem["id"]]
            ended = fold(problem["fields"], problem["grid"], own, own_work_from)["ended_at"]
            if ended is not None and ended < since:
                over.add(problem["id"])
    shown = []
    for record in records:
        fields = record.get("fields", {})
        inside = not record.get("deleted")
        if record["kind"] == "visit":
            inside = inside and fields.get("visited_at", "") >= since
        elif record["kind"] == "visit_check":
            inside = inside and fields.get("checked_at", "") >= since
        elif record["kind"] == "problem":
            inside = inside and record["id"] not in over
        elif record["kind"] == "step":
            inside = inside and fields.get("problem_id") not in over
        elif record["kind"] == "weekly_analysis":
            inside = inside and fields.get("week", "") >= week_of(today - timedelta(weeks=26))
        elif record["kind"] == "monthly_summary":
            inside = inside and fields.get("month", "") >= months_before(today, 13)
        elif record["kind"] == "article":
            inside = inside and fields.get("published_at", "") >= begins(today - timedelta(days=365))
        elif record["kind"] == "held":
            inside = inside and fields["state"] == "open"
        if inside:
            shown.append(record)
    return shown


# ---------------------------------------------------------------------------------------------------- life cycle

OPEN = {"raised", "accepted", "assigned", "handling", "returned", "reopened"}
CITY, VILLAGE, LEVELS = 4, 12, [4, 6, 9, 12, 15]
TRANSITIONS: dict[str, tuple[set[str], str | None]] = {
    "accept": ({"raised", "returned", "reopened"}, "accepted"),
    "assign": (OPEN, "assigned"),
    "handle": ({"raised", "accepted", "assigned", "returned", "reopened"}, "handling"),
    "resolve": (OPEN, "resolved"),
    "verify": ({"resolved"}, "verified"),
    "close": ({"resolved", "verified"}, "closed"),
    "return": ({"accepted", "assigned", "handling", "resolved"}, "returned"),
    "reopen": ({"resolved", "verified", "closed", "rejected", "joined"}, "reopened"),
    "escalate": (OPEN, "raised"),
    "extend": (OPEN, None),
    "reject": (OPEN, "rejected"),
    "join": (OPEN, "joined"),
    "note": (OPEN | {"resolved", "verified", "closed", "rejected", "joined"}, None),
}
NOTHING = dict.fromkeys(("handler_cadre", "resolved_at", "resolved_by", "ended_at", "satisfied", "reason", "duplicate_of", "due"))


def fold(problem: Json, grid: str, steps: list[Json], own_work_from: str | None) -> Json:
    """Where a problem stands after its steps, with the state after each of them and whether it had an effect."""
    case: Json = {"state": "raised", "handler_unit": grid[:VILLAGE], "escalated": 0, **NOTHING}
    case["raised_at"] = problem.get("raised_at")
    history = []
    came_from: list[str] = []
    for step in sorted(steps, key=lambda step: (step["stamp"], step["id"])):
        effective = has_effect(case, step, own_work_from)
        if effective:
            take_step(case, step, came_from)
        history.append({"id": step["id"], "state": case["state"], "effective": effective})
    return {**case, "history": history}


def author(step: Json) -> str:
    return str(step.get("created_by") or step.get("by"))


def has_effect(case: Json, step: Json, own_work_from: str | None) -> bool:
    fields = step["fields"]
    action = fields.get("action", "note")
    if case["state"] not in TRANSITIONS.get(action, (set(), None))[0]:
        return False
    if action == "verify" and author(step) == case["resolved_by"]:
        return own_work_from is None or step["stamp"] < own_work_from
    if action == "assign":
        return bool(fields.get("to_unit") or fields.get("to_cadre"))
    if action == "escalate":
        return len(case["handler_unit"]) > CITY
    if action == "join":
        return bool(fields.get("duplicate_of")) and fields["duplicate_of"] != fields.get("problem_id")
    if action == "extend":
        return bool(fields.get("until"))
    return True


def take_step(case: Json, step: Json, came_from: list[str]) -> None:
    fields = step["fields"]
    action = fields.get("action", "note")
    if action in ("accept", "handle"):
        case["handler_cadre"] = author(step)
    if action == "assign":
        case["handler_unit"] = fields.get("to_unit") or case["handler_unit"]
        case["handler_cadre"] = fields.get("to_cadre")
    if action == "resolve":
        case["resolved_at"], case["resolved_by"] = fields.get("at"), author(step)
    if action == "verify":
        case["satisfied"] = fields.get("satisfied") or "unasked"
    if action in ("return", "reopen"):
        case |= dict.fromkeys(("resolved_at", "resolved_by", "satisfied", "reason", "duplicate_of"))
    if action == "return" and came_from:
        case["handler_unit"] = came_from.pop()
    if action == "escalate":
        came_from.append(case["handler_unit"])
        case["handler_unit"] = case["handler_unit"][: LEVELS[LEVELS.index(len(case["handler_unit"])) - 1]]
        case["escalated"] += 1
    if action in ("return", "reopen", "escalate"):
        case["handler_cadre"] = None
    if action == "extend":
        case["due"] = fields.get("until")
    if action == "reject":
        case["reason"] = fields.get("reason")
    if action == "join":
        case["duplicate_of"] = fields.get("duplicate_of")
    after = TRANSITIONS[action][1]
    if after is not None:
        case["state"] = after
        case["ended_at"] = fields.get("at") if after in ("closed", "rejected", "joined") else None


# ----------------------------------------------------------------------------------------------------- the phone

Answer = tuple[int, Json, Json]
# What carries a request: path, headers and what is sent, and gives back status, headers and content; None when no answer came.
Send = Callable[[str, Json, Json], Answer | None]


class Phone:
    """A client. `memory` is all that a restart leaves it."""

    def __init__(self, start: Json, send: Send, memory: Json | None = None) -> None:
        self.send = send
        self.start = start
        self.wall = start["wall_ms"]
        self.failures = 0
        self.access = ""
        self.offset = 0
        self.conflicts: list[Json] = []
        self.memory: Json = memory or {
            "device": start["devices"][0],
            "devices_used": 1,
            "next_seq": 1,
            "acked": 0,
            "stamp": ZERO,
            "epoch": None,
            "cursor": None,
            "refresh": None,
            "predecessor": None,
            "tracing": False,
            "copied": False,
            "parts_at": 0,
            "again": [],
            "own_work_from": ZERO,
            "outbox": [],
            "records": {},
            "grids": [],
            "stale_grids": [],
        }

    def restarted(self) -> "Phone":
        return Phone(self.start | {"wall_ms": self.wall}, self.send, json.loads(json.dumps(self.memory)))

    # ------------------------------------------------------------------------------------------------ editing

    def edit(self, op: str, kind: str, record: str, grid: str, fields: Json) -> None:
        """Puts a mutation into the outbox."""
        memory = self.memory
        stamp = tick(memory["stamp"], self.wall)
        mutation = {"seq": memory["next_seq"], "kind": kind, "id": record, "grid": grid, "op": op, "base": 0}
        mutation |= {"stamp": stamp, "fields": fields}
        copied = memory["records"].get(f"{kind} {record}")
        if copied:
            mutation["base"] = copied["rev"]
            if copied["grid"] != grid:
                mutation["base_grid"] = copied["grid"]
        if memory["epoch"]:
            mutation["epoch"] = memory["epoch"]
        memory["outbox"].append({"mutation": mutation, "outcome": None, "rev": None, "acked_ms": None, "reason": None})
        memory["next_seq"] += 1
        memory["stamp"] = stamp

    def unsent(self) -> list[Json]:
        return [item["mutation"] for item in self.memory["outbox"] if item["mutation"]["seq"] > self.memory["acked"]]

    # ---------------------------------------------------------------------------------------------- exchanging

    def request(self) -> Json:
        """The next request of the exchange."""
        unsent = self.unsent()
        parts_at = self.memory["parts_at"]
        batch = [mutation for mutation in unsent[:1000] if not parts_at or mutation["seq"] < parts_at]
        sent_at = datetime.fromtimestamp(self.wall / 1000, UTC).isoformat()
        request = {"protocol": 1, "sent_at": sent_at, "cursor": self.memory["cursor"], "limit": self.start["limit"]}
        request |= {"queued": len(unsent) - len(batch), "mutations": batch}
        if self.memory["again"]:
            request["again"] = self.memory["again"]
        return copy.deepcopy(request)

    def sync(self) -> Json:
        """One exchange; what comes next."""
        if self.out_of_step():
            self.start_anew()
        self.conflicts = []
        came = self.token()
        if came is None:
            request = self.request()
            came = self.post("/v1/sync", request)
            if came is not None and came[0] == 200:
                self.failures = 0
                self.take(came[2], request)
                return {"next": "at once" if came[2]["more"] or self.unsent() or self.out_of_step() else "done"}
        return self.refused(came)

    def post(self, path: str, body: Json) -> Answer | None:
        return self.send(path, {"authorization": f"Bearer {self.access}", "content-type": "application/json"}, body)

    def token(self) -> Answer | None:
        """Gets an access token, if there is none; else what stood against it."""
        if self.access:
            return None
        memory = self.memory
        form = {"device_id": memory["device"]}
        if memory["refresh"]:
            came = self.send("/v1/auth/token", {}, form | {"grant_type": "refresh_token", "refresh_token": memory["refresh"]})
            if came is None or came[0] in (200, 408, 429, 503):
                return self.keep_tokens(came)
            memory["refresh"] = None
        form |= {"grant_type": "password", "username": self.start["staff_code"], "password": self.start["password"]}
        before = memory["predecessor"] or memory["cursor"]
        came = self.send("/v1/auth/token", {}, form | ({"predecessor": before} if before else {}))
        return self.keep_tokens(came)

    def keep_tokens(self, came: Answer | None) -> Answer | None:
        if came is None or came[0] != 200:
            return came or (0, {}, {})
        self.memory["refresh"] = came[2]["refresh_token"]
        self.memory["predecessor"] = None
        self.access = came[2]["access_token"]
        return None

    def refused(self, came: Answer | None) -> Json:
        """Does what an answer asks for that is no answer of the exchange."""
        status, headers, problem = came or (0, {}, {})
        slug = problem.get("type", "").rpartition("/")[2]
        memory = self.memory
        if status in (0, 408, 429) or status >= 500:
            self.failures += 1
            return {"next": "later", "wait_s": float(headers.get("retry-after", 0)) + min(60, 0.5 * 2**self.failures)}
        if slug in ("token-expired", "token-invalid"):
            self.access = ""
            return {"next": "at once"}
        if slug == "session-ended":
            self.access, memory["refresh"] = "", None
            return {"next": "at once"}
        if slug == "seq-gap":
            self.trace_back(problem["expected"] - 1)
            return {"next": "at once"}
        if slug == "device-forked":
            if memory["tracing"]:
                memory["parts_at"] = problem["seq"]
            else:
                self.trace_back(problem["seq"] - 1)
            return {"next": "at once"}
        if slug in ("device-revoked", "upgrade-needed"):
            if problem["acked"] < memory["acked"]:
                self.trace_back(problem["acked"])
            else:
                self.acknowledge(problem["acked"], [verdict["seq"] for verdict in problem["verdicts"]])
                for verdict in problem["verdicts"]:
                    self.note_verdict(verdict)
            if slug == "upgrade-needed":
                return {"next": "stopped"}
            if problem["wipe"]:
                self.memory = {**Phone(self.start, self.send).memory, "device": ""}
                return {"next": "stopped"}
            return {"next": "at once"}
        return {"next": "stopped"}

    # ------------------------------------------------------------------------------------------------- recovery

    def out_of_step(self) -> bool:
        """Whether the numbers here cannot go on from what the server has acknowledged."""
        memory = self.memory
        if 0 < memory["parts_at"] <= memory["acked"] + 1:
            return True
        return memory["copied"] or [item["seq"] for item in self.unsent()] != [*range(memory["acked"] + 1, memory["next_seq"])]

    def acknowledge(self, acked: int, sent: list[int]) -> None:
        """What the server holds beyond what was sent may be a copy's: while tracing that is shown, too."""
        memory = self.memory
        self.set_acked(min(acked, sent[-1] if sent else memory["acked"]) if memory["tracing"] else acked)
        if not (memory["tracing"] and self.unsent()):
            memory |= {"tracing": False, "copied": memory["copied"] or acked >= memory["next_seq"]}

    def set_acked(self, acked: int) -> None:
        for item in self.memory["outbox"]:
            if item["mutation"]["seq"] > acked:
                item |= {"outcome": None, "rev": None, "acked_ms": None, "reason": None}
            elif item["acked_ms"] is None:
                item["acked_ms"] = self.memory.get("server_ms", 0)
        self.memory["acked"] = acked

    def trace_back(self, acked: int) -> None:
        """Shows the server again everything that is kept without a gap up to the newest."""
        first = self.memory["next_seq"]
        for item in reversed(self.memory["outbox"]):
            if item["mutation"]["seq"] != first - 1:
                break
            first -= 1
        self.set_acked(min(acked, first - 1))
        self.memory |= {"tracing": True, "parts_at": 0}

    def start_anew(self) -> None:
        """Starts as a new device with the mutations that the server does not hold."""
        memory = self.memory
        kept = [item["mutation"] for item in memory["outbox"] if item["mutation"]["seq"] > memory["acked"] or item["outcome"] is None]
        before = memory["refresh"] or memory["cursor"]
        device = self.start["devices"][memory["devices_used"]]
        memory |= {"device": device, "devices_used": memory["devices_used"] + 1, "predecessor": before}
        memory |= {"acked": 0, "cursor": None, "refresh": None, "tracing": False, "copied": False, "parts_at": 0, "next_seq": len(kept) + 1}
        memory["outbox"] = [
            {"mutation": mutation | {"seq": seq}, "outcome": None, "rev": None, "acked_ms": None, "reason": None}
            for seq, mutation in enumerate(kept, 1)
        ]
        self.make_stale(lambda record: True)
        self.access = ""

    def make_stale(self, which: Callable[[Json], bool]) -> None:
        self.memory["stale_grids"] += [grid for grid in self.memory["grids"] if which({"grid": grid})]
        for record in self.memory["records"].values():
            if which(record):
                record["stale"] = True

    # --------------------------------------------------------------------------------------------------- taking

    def take(self, answer: Json, request: Json) -> None:
        """Takes a whole answer."""
        memory = self.memory
        restored = answer["acked"] < memory["acked"] or (memory["epoch"] not in (None, answer["epoch"]))
        if answer["epoch"] != memory["epoch"]:
            memory["epoch"] = answer["epoch"]
            self.make_stale(lambda record: True)
            for record in memory["records"].values():
                record["rev"] = 0
        again = request.get("again", [])
        self.make_stale(lambda record: record["grid"] in again)
        memory["again"] = []
        sent = {mutation["seq"]: mutation for mutation in request["mutations"]}
        for verdict in answer["verdicts"]:
            self.note_verdict(verdict)
            self.fold_in(sent[verdict["seq"]], verdict, request["cursor"] is None)
            for conflict in verdict.get("conflicts", []):
                names = {name: conflict[name] for name in ("field", "kept", "lost")}
                self.conflicts.append({"id": sent[verdict["seq"]]["id"], **names})
        for change in answer["changes"]:
            self.take_change(change)
        for grid in answer["dropped_grids"]:
            memory["records"] = {key: record for key, record in memory["records"].items() if record["grid"] != grid}
            memory["grids"] = [code for code in memory["grids"] if code != grid]
        if not answer["more"]:
            memory["records"] = {key: record for key, record in memory["records"].items() if not record.get("stale")}
            memory["grids"] = [grid for grid in memory["grids"] if grid not in memory["stale_grids"]]
            memory["stale_grids"] = []
            self.await_no_longer()
            self.note_decided()
        server_ms = round(datetime.fromisoformat(answer["server_time"]).timestamp() * 1000)
        memory |= {"cursor": answer["cursor"], "server_ms": server_ms}
        memory["own_work_from"] = answer["rules"]["own_work_from"] if answer.get("rules") else ZERO
        self.offset = server_ms - self.wall
        if restored:
            self.trace_back(answer["acked"])
        else:
            self.acknowledge(answer["acked"], [*sent])
        memory["outbox"] = [item for item in memory["outbox"] if not self.may_go(item)]

    def await_no_longer(self) -> None:
        """All was pulled: what is awaited has come, or is gone."""
        for item in self.memory["outbox"]:
            item["rev"] = None

    def note_decided(self) -> None:
        """All was pulled: what is held and has no open notice was decided."""
        notices = [record["fields"] for record in self.memory["records"].values() if record["kind"] == "held"]
        open_ = {notice["seq"] for notice in notices if notice["state"] == "open" and notice["device"] == self.memory["device"]}
        for item in self.memory["outbox"]:
            if item["outcome"] == "held" and item["mutation"]["seq"] not in open_:
                item["outcome"] = "decided"

    def may_go(self, item: Json) -> bool:
        """Whether a mutation was acknowledged more than 30 days ago."""
        old = item["acked_ms"] is not None and item["acked_ms"] < self.memory["server_ms"] - 30 * DAY
        return old and item["outcome"] != "held"

    def note_verdict(self, verdict: Json) -> None:
        for item in self.memory["outbox"]:
            if item["mutation"]["seq"] == verdict["seq"]:
                item["outcome"] = verdict.get("first") or verdict["outcome"]
                item["rev"], item["reason"] = verdict.get("rev"), verdict.get("reason")

    def fold_in(self, mutation: Json, verdict: Json, from_start: bool) -> None:
        """What was applied as it was sent is not sent back: it moves into the copy."""
        first = verdict.get("first") or verdict["outcome"]
        [item] = [item for item in self.memory["outbox"] if item["mutation"]["seq"] == mutation["seq"]]
        taken, item["taken"] = item.get("taken"), True
        if first != "applied" or (taken and verdict["outcome"] == "duplicate"):
            return
        key = f"{mutation['kind']} {mutation['id']}"
        record = self.memory["records"].get(key)
        if record and record.get("stale"):
            record = None
        if record is None and (mutation["base"] > 0 or (from_start and verdict["outcome"] == "duplicate")):
            return  # the feed brings the record, if it is still there
        if record and record["grid"] == mutation["grid"] and record["rev"] >= verdict["rev"]:
            return
        fields = overlay(record["fields"] if record else {}, mutation["fields"], sets_of(mutation["kind"]))
        whole = {"kind": mutation["kind"], "id": mutation["id"], "grid": mutation["grid"], "rev": verdict["rev"], "fields": fields}
        whole |= {"deleted": mutation["op"] == "delete", "stamp": mutation["stamp"], "by": self.start["staff_code"]}
        self.name_grid(mutation["grid"])
        self.memory["records"][key] = whole | {"created_by": (record or {}).get("created_by", self.start["staff_code"])}

    def take_change(self, change: Json) -> None:
        key = f"{change['kind']} {change['id']}"
        record = self.memory["records"].get(key)
        if change.get("gone"):
            if record and record["grid"] == change["grid"] and (record.get("stale") or record["rev"] <= change["rev"]):
                del self.memory["records"][key]
        elif record is None or record["grid"] != change["grid"] or record.get("stale") or record["rev"] <= change["rev"]:
            self.memory["records"][key] = dict(change)
            self.name_grid(change["grid"])

    def name_grid(self, grid: str) -> None:
        """A grid of which the copy has something is named in proofs even when it has lost all of it."""
        self.memory["grids"] = [*{*self.memory["grids"], grid}]
        self.memory["stale_grids"] = [code for code in self.memory["stale_grids"] if code != grid]

    # -------------------------------------------------------------------------------------------------- proving

    def verify(self) -> Json:
        """Proves the copy, and asks for what differs with the next exchange."""
        came = self.token() or self.post("/v1/sync/verify", {"grids": self.account()})
        if came is None or came[0] != 200:
            return self.refused(came)
        self.memory["again"] = came[2]["mismatched"]
        return {"mismatched": came[2]["mismatched"]}

    def account(self) -> list[Json]:
        records = list(self.memory["records"].values())
        named = sorted({*self.memory["grids"], *(record["grid"] for record in records)})
        today = datetime.fromtimestamp((self.wall + self.offset) / 1000, SHANGHAI).date()
        shown = in_first_pull(records, today, self.memory["own_work_from"])
        grids = []
        for grid in named:
            pairs = [(record["id"], record["rev"]) for record in shown if record["grid"] == grid]
            rev = max([0, *(record["rev"] for record in records if record["grid"] == grid)])
            grids.append({"grid": grid, "rev": rev, "count": len(pairs), "digest": digest(pairs)})
        return grids

    # -------------------------------------------------------------------------------------------------- showing

    def shown(self) -> list[Json]:
        """The copy with everything over it that it does not hold yet."""
        memory = self.memory
        shown: dict[str, Json | None] = {
            key: {name: record[name] for name in ("kind", "id", "grid", "fields")}
            for key, record in memory["records"].items()
            if not record.get("deleted")
        }
        for item in memory["outbox"]:
            mutation = item["mutation"]
            key = f"{mutation['kind']} {mutation['id']}"
            if not self.is_pending(item, memory["records"].get(key)):
                continue
            if mutation["op"] == "delete":
                shown[key] = None
                continue
            under = shown.get(key)
            fields = overlay(under["fields"] if under else {}, mutation["fields"], sets_of(mutation["kind"]))
            shown[key] = {"kind": mutation["kind"], "id": mutation["id"], "grid": mutation["grid"], "fields": fields, "pending": True}
        return [record for record in shown.values() if record is not None and record["kind"] != "held"]

    def is_pending(self, item: Json, record: Json | None) -> bool:
        """Whether an own edit is still to be seen over the copy."""
        mutation = item["mutation"]
        if mutation["seq"] > self.memory["acked"] or item["outcome"] is None:
            return True
        if item["outcome"] not in ("applied", "merged") or item["rev"] is None:
            return False
        if record is None:
            return True
        if record["grid"] != mutation["grid"]:
            return bool(record["grid"] == mutation.get("base_grid"))
        return bool(record["rev"] < item["rev"])

    def held(self) -> list[Json]:
        """The own mutations that the server keeps aside: by their verdicts, and by the notices in the feed, which are newer."""
        found = {
            item["mutation"]["seq"]: {"kind": item["mutation"]["kind"], "id": item["mutation"]["id"], "reason": item["reason"]}
            for item in self.memory["outbox"]
            if item["outcome"] == "held"
        }
        others = []
        for record in self.memory["records"].values():
            if record["kind"] == "held":
                notice = record["fields"]
                told = {"kind": notice["kind"], "id": notice["record"], "reason": notice["reason"]}
                own = notice["device"] == self.memory["device"]
                if own:
                    found.pop(notice["seq"], None)
                if notice["state"] == "open" and own:
                    found[notice["seq"]] = told
                elif notice["state"] == "open":
                    others.append(told)
        return [*others, *found.values()]

    def state(self) -> Json:
        records = [
            {"kind": record["kind"], "id": record["id"], "grid": record["grid"]}
            | ({"stale": True} if record.get("stale") else {"rev": record["rev"]})
            | ({"deleted": True} if record.get("deleted") else {"fields": record["fields"]})
            for record in self.memory["records"].values()
            if record["kind"] != "held"
        ]
        memory = self.memory
        state = {"device": memory["device"], "acked": memory["acked"], "tracing": memory["tracing"]}
        state["pending"] = [mutation["seq"] for mutation in self.unsent()]
        return state | {"held": self.held(), "conflicts": self.conflicts, "records": records, "shown": self.shown()}

    # ---------------------------------------------------------------------------------------------------- hooks

    def do(self, hook: Json) -> Json:
        """What a hook of the conformance test asks for."""
        self.wall = hook.get("wall_ms", self.wall)
        match hook["do"]:
            case "put":
                fields, wrong = canonical(hook["kind"], hook["fields"])
                assert not wrong
                record = hook.get("id") or computed_id(hook["kind"], hook["grid"], fields.get("week") or fields["month"])
                self.edit("put", hook["kind"], record, hook["grid"], fields)
                return {"id": record}
            case "delete":
                self.edit("delete", hook["kind"], hook["id"], hook["grid"], {})
                return {}
            case "sync":
                return self.sync()
            case "verify":
                return self.verify()
        return self.state()
