"""Compares the rows of an import with what is known here: what would be new, changed, unchanged or
ended, and what is wrong. Pure.

The same functions say what a dry run shows and what is written, so that both agree.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

import msgspec

from service.identity.views import mask
from service.imports import keys
from service.imports.columns import SHEETS, Column
from service.imports.keys import Key
from service.imports.row_faults import Faults, Where, masked
from service.imports.row_file import Row
from service.imports.units import Scheme, Unit, covered, level_wanted
from service.organisation.tree import BY_CODES, Tree
from sync_protocol.periods import SHANGHAI, local_day

NEW, CHANGED, UNCHANGED, ENDED = "new", "changed", "unchanged", "ended"
_HOUSEHOLD_FIELDS = (
    "head_name",
    "phone",
    "address",
    "members",
    "contact_member",
    "lead_member",
    "note",
)


class SheetCounts(msgspec.Struct):
    """What becomes of the rows of a sheet."""

    rows: int = 0
    bad: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    ended: int = 0

    def count(self, what: str) -> None:
        """Counts one."""
        setattr(self, what, getattr(self, what) + 1)


class Change(NamedTuple):
    """What an import does to a unit, a person or a post: `before` and `after` by field; `where` it
    stands in the file.
    """

    what: str
    key: str
    where: Where
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Person(NamedTuple):
    """A person as known here. `inside`: every post lies in the units of the import, or there is
    none.
    """

    name: str
    phone: str
    party_member: bool
    inside: bool = True
    erased: bool = False


class Post(NamedTuple):
    """A post as known here."""

    id: str
    staff_code: str
    role: str
    unit: str
    valid_from: datetime
    valid_to: datetime | None

    def is_open(self, moment: datetime) -> bool:
        """Whether it is held at a moment or later."""
        return self.valid_to is None or self.valid_to > moment


class World(msgspec.Struct):
    """What is known here of all that the rows name, with what the file adds as it is checked.

    `doubtful`: units and people of the file whose own rows are wrong: what names them waits for
    those, and is no fault of its own. `scope`: the units for which the import may write; `today`:
    the day for posts without one; `tree`: what lies under what.
    """

    scheme: Scheme
    scope: Sequence[str]
    now: datetime
    units: dict[str, Unit]
    people: dict[str, Person]
    posts: dict[str, list[Post]]
    apps: Set[str] = frozenset()
    end_missing: bool = False
    skip_bad: bool = False
    doubtful: set[tuple[str, str]] = set()
    tree: Tree = BY_CODES

    @property
    def today(self) -> date:
        """The day of the import."""
        return local_day(self.now)

    def covers(self, code: str) -> bool:
        """Whether the import may write in a unit."""
        return covered(self.scope, code, self.tree, self.today)

    def scope_text(self) -> str:
        """The units of the import, for people."""
        return ", ".join(unit for unit in self.scope if unit) or "1"


def _where(row: Row) -> Where:
    return Where(*row.where)


class _Check:
    """What checking a sheet's rows shares."""

    def __init__(self, sheet: str, world: World, faults: Faults) -> None:
        self.sheet = SHEETS[sheet]
        self.columns: Mapping[str, Column] = self.sheet.by_name
        self.world = world
        self.faults = faults
        self.counts = SheetCounts()

    def fault(self, row: Row, kind: str, column: str = "", **params: Any) -> None:
        """Notes a fault of a row, which is not taken then."""
        row.bad = True
        header, value = "", ""
        if column:
            header = self.columns[column].header.zh
            given = row.values.get(column)
            value = "" if given is None else masked(self.columns[column], str(given))
        self.faults.add(_where(row), kind, header, value, **params)

    def waits(self, row: Row, *names: tuple[str, str]) -> None:
        """Notes that a row cannot be taken if one that it names is wrong itself. Where nothing is
        taken then, that one is fault enough.
        """
        if not row.bad and not self.world.doubtful.isdisjoint(names):
            if self.world.skip_bad:
                self.fault(row, "row-waits")
            row.bad = True

    def done(self, row: Row, what: str) -> None:
        """Counts a row."""
        self.counts.rows += 1
        self.counts.count("bad" if row.bad else what)


# ------------------------------------------------------------------------------------------- units


def check_units(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of units; good ones are known in the world from then on."""
    check = _Check("units", world, faults)
    seen: dict[str, Row] = {}
    changes = []
    for row in sorted(rows, key=lambda row: len(row.values.get("code") or "")):
        if not row.bad:
            _check_unit(check, row, seen)
        what = UNCHANGED
        code = row.values.get("code") or ""
        if not row.bad and code in seen:
            continue  # the same row again
        seen.setdefault(code, row)
        if row.bad:
            _doubt_unit(world, row)
        else:
            change = _unit_change(world, row)
            what = change.what
            if what != UNCHANGED:
                changes.append(change)
                world.units[code] = Unit(**{**change.before, **change.after})
        check.done(row, what)
    return changes, check.counts


def _check_unit(check: _Check, row: Row, seen: Mapping[str, Row]) -> None:
    world, values = check.world, row.values
    code, scheme = values["code"], world.scheme
    twin = seen.get(code)
    if twin is not None:
        if twin.values != values:
            check.fault(row, "row-twice", "code", first=twin.number)
        return
    level = scheme.level_of(code)
    known = world.units.get(code)
    if level is None:
        lengths = ", ".join(map(str, scheme.lengths.values()))
        check.fault(row, "code-length", "code", count=len(code), lengths=lengths)
        return
    if not world.covers(code):
        check.fault(row, "outside", "code", units=world.scope_text())
        return
    if known is not None and known.level != level:
        check.fault(row, "unit-level-changed", "code", level=scheme.label(known.level))
    elif values.get("level") not in (None, level):
        check.fault(row, "level-other", "level", level=scheme.label(level))
    parent = scheme.parent_of(code)
    if values.get("parent") not in (None, parent):
        check.fault(row, "parent-other", "parent", parent=parent or "—")
    elif parent is not None and parent not in world.units:
        check.fault(row, "parent-unknown", "code", parent=parent)
    check.waits(row, ("unit", parent or ""))


def _doubt_unit(world: World, row: Row) -> None:
    """Keeps a unit whose row is wrong apart from those that nobody knows."""
    code = row.values.get("code") or ""
    level = world.scheme.level_of(code)
    if level is not None and code not in world.units and world.covers(code):
        world.units[code] = Unit(code, level, world.scheme.parent_of(code), code)
        world.doubtful.add(("unit", code))


def _unit_change(world: World, row: Row) -> Change:
    values, code = row.values, row.values["code"]
    known = world.units.get(code)
    given: dict[str, Any] = {
        name: values[name] for name in ("name", "name_mn", "kind", "party_group") if name in values
    }
    if given.get("kind", "") is None:
        given["kind"] = ""
    if given.get("party_group", "") is None:
        given["party_group"] = "none"
    if known is None:
        level = str(world.scheme.level_of(code))
        unit = Unit(code, level, world.scheme.parent_of(code), **given)
        return Change(NEW, code, _where(row), {}, unit._asdict())
    before = known._asdict()
    after = {name: value for name, value in given.items() if before[name] != value}
    if not after:
        return Change(UNCHANGED, code, _where(row), before, {})
    return Change(CHANGED, code, _where(row), before, after)


# ------------------------------------------------------------------------------------------ people


def check_people(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of people; good ones are known in the world from then on."""
    check = _Check("people", world, faults)
    seen: dict[str, Row] = {}
    changes = []
    for row in rows:
        what = UNCHANGED
        if not row.bad:
            code = row.values["staff_code"]
            twin = seen.get(code)
            if twin is not None and twin.values == row.values:
                continue
            if twin is not None:
                check.fault(row, "row-twice", "staff_code", first=twin.number)
            else:
                seen[code] = row
                _check_person(check, row)
        if not row.bad:
            change = _person_change(world, row)
            what = change.what
            if what != UNCHANGED:
                changes.append(change)
                known = world.people.get(change.key)
                kept = known._asdict() if known else {"phone": "", "party_member": False}
                world.people[change.key] = Person(**{**kept, **change.after})
        elif row.values.get("staff_code") and row.values["staff_code"] not in world.people:
            code = row.values["staff_code"]
            is_member = bool(row.values.get("party_member", True))
            world.people[code] = Person(code, "", is_member)
            world.doubtful.add(("person", code))
        check.done(row, what)
    return changes, check.counts


def _check_person(check: _Check, row: Row) -> None:
    world, code = check.world, row.values["staff_code"]
    known = world.people.get(code)
    if code in world.apps:
        check.fault(row, "person-is-app", "staff_code")
    elif known is not None and known.erased:
        check.fault(row, "person-erased", "staff_code")
    elif known is not None and not known.inside and _person_change(world, row).what != UNCHANGED:
        check.fault(row, "person-outside", "staff_code")


def _person_change(world: World, row: Row) -> Change:
    values, code = row.values, row.values["staff_code"]
    known = world.people.get(code)
    given: dict[str, Any] = {
        name: values[name] for name in ("name", "phone", "party_member") if name in values
    }
    if given.get("phone", "") is None:
        given["phone"] = ""
    if given.get("party_member", False) is None:
        given["party_member"] = False
    if known is None:
        return Change(NEW, code, _where(row), {}, {"phone": "", "party_member": False} | given)
    before = {name: getattr(known, name) for name in ("name", "phone", "party_member")}
    after = {name: value for name, value in given.items() if before[name] != value}
    return Change(CHANGED if after else UNCHANGED, code, _where(row), before, after)


# ------------------------------------------------------------------------------------------- posts


def begin_of(day: date) -> datetime:
    """The first moment of a day in Asia/Shanghai."""
    return datetime.combine(day, time(), SHANGHAI)


def post_key(staff_code: str, role: str, unit: str, first: date) -> str:
    """What a post's id is made of: the same post of the same day is the same."""
    return f"post:{staff_code}:{role}:{unit}:{first.isoformat()}"


def check_posts(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of posts. A post that ends in the past or today is `ended`."""
    check = _Check("posts", world, faults)
    seen: dict[tuple[Any, ...], Row] = {}
    kept: set[str] = set()
    units: set[str] = set()
    lost: set[str] = set()
    changes = []
    for row in rows:
        what = UNCHANGED
        values = row.values
        if not row.bad:
            _check_post(check, row, seen)
        if not row.bad:
            name = tuple(values.get(part) for part in ("staff_code", "role", "unit", "valid_from"))
            if name in seen and seen[name] is not row:
                continue
            change = _post_change(check, row)
            if change is not None:
                what = change.what
                kept.add(change.key)
                if what != UNCHANGED:
                    changes.append(change)
        if row.bad:
            lost.add(values.get("unit") or "")
            world.doubtful.add(("post", values.get("staff_code") or ""))
        elif values.get("unit"):
            units.add(values["unit"])
        check.done(row, what)
    if world.end_missing and "" not in lost:
        for change in _missing_posts(world, units - lost, kept):
            check.counts.ended += 1
            changes.append(change)
    return changes, check.counts


def _check_post(check: _Check, row: Row, seen: dict[tuple[Any, ...], Row]) -> None:
    world, values = check.world, row.values
    code, role, unit = values["staff_code"], values["role"], values["unit"]
    found, person = world.units.get(unit), world.people.get(code)
    name = (code, role, unit, values.get("valid_from"))
    twin = seen.setdefault(name, row)
    if twin is not row:
        if twin.values != values:
            check.fault(row, "row-twice", "staff_code", first=twin.number)
        return
    if not world.covers(unit):
        check.fault(row, "outside", "unit", units=world.scope_text())
        return
    if found is None:
        check.fault(row, "unit-unknown", "unit")
        return
    if person is None:
        check.fault(row, "person-unknown", "staff_code")
    elif person.erased:
        check.fault(row, "person-erased", "staff_code")
    elif role == "contact_member" and not person.party_member:
        check.fault(row, "post-no-member", "role")
    wanted = level_wanted(role, found.level, world.scheme)
    if wanted is not None:
        label = world.scheme.label
        check.fault(row, "role-level", "role", wanted=label(wanted), level=label(found.level))
    first, last = values.get("valid_from"), values.get("valid_to")
    if last and last < (first or world.today.isoformat()) and first:
        check.fault(row, "days-reversed", "valid_to")
    check.waits(row, ("unit", unit), ("person", code))


def _post_change(check: _Check, row: Row) -> Change | None:
    """None where the row turns out to be wrong."""
    world, values = check.world, row.values
    code, role, unit = values["staff_code"], values["role"], values["unit"]
    same = [p for p in world.posts.get(code, ()) if (p.role, p.unit) == (role, unit)]
    first = date.fromisoformat(values["valid_from"]) if values.get("valid_from") else None
    last = values.get("valid_to")
    end = begin_of(date.fromisoformat(last) + timedelta(days=1)) if last else None
    if first is not None:
        known = next((p for p in same if local_day(p.valid_from) == first), None)
        if known is None:
            begin = begin_of(first)
            rival = next(
                (p for p in same if p.is_open(begin) and (end is None or p.valid_from < end)), None
            )
            if rival is not None:
                begun = local_day(rival.valid_from).isoformat()
                check.fault(row, "post-overlaps", "valid_from", first=begun)
                return None
    else:
        known = max(
            (p for p in same if p.is_open(world.now)), key=lambda p: p.valid_from, default=None
        )
        if known is None and end is not None:
            # It ended before the file was sent, and so it stands here.
            known = next((p for p in same if p.valid_to == end), None)
    if known is None:
        day = first or world.today
        after = {
            "staff_code": code,
            "role": role,
            "unit": unit,
            "valid_from": begin_of(day).isoformat(),
            "valid_to": end and end.isoformat(),
        }
        world.posts.setdefault(code, []).append(
            Post(post_key(code, role, unit, day), code, role, unit, begin_of(day), end)
        )
        return Change(NEW, post_key(code, role, unit, day), _where(row), {}, after)
    if "valid_to" not in values or known.valid_to == end:
        return Change(UNCHANGED, known.id, _where(row), {}, {})
    if end is not None and end <= known.valid_from:
        check.fault(row, "days-reversed", "valid_to")
        return None
    what = ENDED if end is not None and end <= world.now else CHANGED
    return _ending(what, known, end, _where(row))


def _ending(what: str, post: Post, end: datetime | None, where: Where) -> Change:
    before = {"valid_to": post.valid_to and post.valid_to.isoformat()}
    return Change(what, post.id, where, before, {"valid_to": end and end.isoformat()})


def _missing_posts(world: World, units: Set[str], kept: Set[str]) -> Iterable[Change]:
    """Posts of units that the file is about and that are not in it. Administrators stay: nobody is
    to be locked out.
    """
    for posts in world.posts.values():
        for post in posts:
            is_about = post.unit in units and post.role != "admin" and post.id not in kept
            if is_about and post.is_open(world.now) and ":" not in post.id:
                yield _ending(ENDED, post, max(world.now, post.valid_from), Where("", "", 0))


# -------------------------------------------------------------------------------------- households


class Known(NamedTuple):
    """A household as known here."""

    id: str
    grid: str
    rev: int
    fields: Mapping[str, Any]
    deleted: bool = False


class Village(msgspec.Struct):
    """What is known of the households of a village, and of those elsewhere whom its rows name.

    `by_digest`: whose each key is; `numbered`: those who have a number in the city; `own_keys`: the
    digests of keys of each.
    """

    code: str
    known: dict[str, Known]
    by_digest: dict[bytes, str]
    numbered: set[str]
    by_place: dict[bytes, str] = {}

    def __post_init__(self) -> None:
        for household in self.known.values():
            if not household.deleted and covered([self.code], household.grid):
                head, address = household.fields.get("head_name"), household.fields.get("address")
                key = keys.of_place(self.code, str(head or ""), address)
                self.by_place.setdefault(key.digest, household.id)

    def behind(self, row: Row) -> str | None:
        """The one household here whose values are shown like the masked ones of a row, and whose
        head is the row's; None if there is none, or more than one.
        """
        if "address" not in row.masked:
            return None
        found = [
            household.id
            for household in self.known.values()
            if not household.deleted
            and covered([self.code], household.grid)
            and household.fields.get("head_name") == row.values.get("head_name")
            and all(
                mask(name, household.fields.get(name)) == text for name, text in row.masked.items()
            )
        ]
        return found[0] if len(found) == 1 else None


class HouseholdChange(NamedTuple):
    """What an import does to a household; `household` is None for a new one.

    `fields`: as a mutation has them; `new_keys`: keys by which it is not known yet.
    """

    what: str
    row: Row
    grid: str
    household: Known | None
    fields: Mapping[str, Any]
    new_keys: Sequence[Key]


def keys_of(row: Row, village: str) -> list[Key]:
    """The keys of a row, the most certain first."""
    values = row.values
    found = []
    if values.get("household_no"):
        found.append(keys.of_number(values["household_no"]))
    if values.get("village_no"):
        found.append(keys.of_village_number(village, values["village_no"]))
    if "address" not in row.masked:
        found.append(keys.of_place(village, values.get("head_name") or "", values.get("address")))
    return found


class HouseholdCheck(_Check):
    """Checks households village by village, in two passes or more: each time with what is known
    then. `repeated`: rows whose number stands in a row before them.
    """

    def __init__(
        self, world: World, faults: Faults, repeated: Mapping[int, tuple[str, str, int]]
    ) -> None:
        super().__init__("households", world, faults)
        self._repeated = repeated

    def village(self, rows: Iterable[tuple[int, Row]], village: Village) -> list[HouseholdChange]:
        """What becomes of the households of a village; those that are left alone are in it, too."""
        changes = []
        taken: dict[str, Row] = {}
        made: dict[bytes, Row] = {}
        bad = False
        for seq, row in rows:
            if not row.bad:
                self._check(seq, row)
            change = None if row.bad else self._change(row, village, taken, made)
            if change is not None:
                changes.append(change)
            bad = bad or row.bad
            self.done(row, UNCHANGED if change is None else change.what)
        if self.world.end_missing and not bad:
            changes += self._missing(village, taken)
        return changes

    def _check(self, seq: int, row: Row) -> None:
        world, values = self.world, row.values
        grid = values["grid"]
        unit = world.units.get(grid)
        if not world.covers(grid):
            self.fault(row, "outside", "grid", units=world.scope_text())
            return
        if unit is None:
            self.fault(row, "unit-unknown", "grid")
            return
        if unit.level != world.scheme.grid:
            self.fault(row, "not-a-grid", "grid", level=world.scheme.label(unit.level))
            return
        if seq in self._repeated:
            self.fault(row, "household-twice", "household_no", first=self._repeated[seq][2])
        for name in ("contact_member", "lead_member"):
            code = values.get(name)
            if code is not None and code not in world.people:
                self.fault(row, "member-unknown", name)
            elif code is not None and not self._may_be_near(code, grid):
                self.fault(row, "member-without-post", name)
        people = [values.get(name) or "-" for name in ("contact_member", "lead_member")]
        posts = [code for code in people if not self._is_near(code, grid)]
        names = [("person", code) for code in people] + [("post", code) for code in posts]
        self.waits(row, ("unit", grid), *names)

    def _may_be_near(self, staff_code: str, grid: str) -> bool:
        """Whether a person has a post near a grid, or would have if all rows were good."""
        return ("post", staff_code) in self.world.doubtful or self._is_near(staff_code, grid)

    def _is_near(self, staff_code: str, grid: str) -> bool:
        world = self.world
        return any(
            post.valid_from <= world.now
            and post.is_open(world.now)
            and (covered([post.unit], grid) or world.covers(post.unit))
            for post in world.posts.get(staff_code, ())
        )

    def _change(
        self, row: Row, village: Village, taken: dict[str, Row], made: dict[bytes, Row]
    ) -> HouseholdChange | None:
        own = keys_of(row, village.code)
        id = _household_of(own, village) or village.behind(row)
        twin = taken.get(id) if id is not None else _first(made.get(key.digest) for key in own)
        if twin is not None and self._are_two(row, twin):
            id, twin = None, None
        if twin is not None:
            column = "household_no" if row.values.get("household_no") else "head_name"
            self.fault(row, "household-twice", column, first=twin.number)
            return None
        if id is not None:
            taken[id] = row
        for key in own:
            made.setdefault(key.digest, row)
        known = village.known.get(id) if id is not None else None
        if row.masked and known is None:
            for name in row.masked:
                self.fault(row, "masked-new", name)
            return None
        new_keys = [key for key in own if village.by_digest.get(key.digest) is None]
        fields = _household_fields(row, known)
        grid = row.values["grid"]
        if known is None or known.deleted:
            what = NEW
        else:
            what = CHANGED if fields or known.grid != grid else UNCHANGED
        return HouseholdChange(what, row, grid, known, fields, new_keys)

    @staticmethod
    def _are_two(row: Row, twin: Row) -> bool:
        """Whether two rows of the same head and address are two households: each has a number."""
        one, other = row.values.get("household_no"), twin.values.get("household_no")
        return bool(one and other and one != other)

    def _missing(self, village: Village, taken: Mapping[str, Row]) -> list[HouseholdChange]:
        """The households of a village that the file is about and that are not in it."""
        ended = []
        for known in village.known.values():
            is_here = covered([village.code], known.grid) and not known.deleted
            if is_here and known.id not in taken and self.world.covers(known.grid):
                self.counts.ended += 1
                row = Row("", "", 0, {})
                ended.append(HouseholdChange(ENDED, row, known.grid, known, {}, ()))
        return ended


def _first(rows: Iterable[Row | None]) -> Row | None:
    return next((row for row in rows if row is not None), None)


def _household_of(own: Sequence[Key], village: Village) -> str | None:
    """Whose row it is: by its number; else by its number in the village; else by head and address,
    as in an earlier file, or as they are now. Who has another number is somebody else.
    """
    has_number = bool(own) and own[0].scope == keys.CITY
    for key in own:
        id = village.by_digest.get(key.digest)
        if id is None and key is own[-1]:
            id = village.by_place.get(key.digest)
        if id is None or id not in village.known:
            continue
        if key.scope == keys.CITY or not (has_number and id in village.numbered):
            return id
    return None


def _household_fields(row: Row, known: Known | None) -> dict[str, Any]:
    """What a mutation would have to change; an empty cell changes nothing."""
    before: Mapping[str, Any] = known.fields if known is not None else {}
    fields = {
        name: row.values[name]
        for name in _HOUSEHOLD_FIELDS
        if name in row.values and row.values[name] != before.get(name)
    }
    if "tags" in row.values:
        wanted, there = set(row.values["tags"] or ()), set(before.get("tags") or ())
        change = {"add": sorted(wanted - there), "remove": sorted(there - wanted)}
        if any(change.values()):
            fields["tags"] = {name: words for name, words in change.items() if words}
    return fields
