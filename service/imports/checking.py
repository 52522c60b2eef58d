"""Compares the units, people and posts of an import with what is known here: what would be new,
changed, unchanged or ended, and what is wrong. Pure.

The same functions say what a dry run shows and what is written, so that both agree.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from typing import Any

from service.imports.row_faults import Faults, Where
from service.imports.row_file import Row
from service.imports.sheet_check import (
    CHANGED,
    ENDED,
    NEW,
    UNCHANGED,
    Change,
    Person,
    Post,
    SheetCheck,
    SheetCounts,
    World,
    where_of,
)
from service.imports.units import Unit, level_wanted
from service.organisation.placing import Misplaced, misplaced
from sync_protocol.periods import SHANGHAI, local_day


def check_units(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of units; good ones are known in the world from then on."""
    check = SheetCheck("units", world, faults)
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


def _check_unit(check: SheetCheck, row: Row, seen: Mapping[str, Row]) -> None:
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
    parent = _parent_of(world, row)
    above = world.units.get(parent or "")
    if known is not None:
        # One that has moved lies elsewhere than its code says; a file does not move units.
        here = {None, scheme.parent_of(code), world.tree.parent(code, world.today), known.parent}
        if values.get("parent") not in here:
            now = world.tree.parent(code, world.today) or known.parent
            check.fault(row, "parent-other", "parent", parent=now or "—")
    elif parent is not None and above is None:
        column = "parent" if values.get("parent") else "code"
        check.fault(row, "parent-unknown", column, parent=parent)
    elif above is not None and not world.covers(parent or ""):
        check.fault(row, "outside", "parent", units=world.scope_text())
    else:
        _check_place(check, row, level, parent, above)
    check.waits(row, ("unit", parent or ""))


def _parent_of(world: World, row: Row) -> str | None:
    """Under what the row of a unit puts it: what it says, or else its code."""
    given: str | None = row.values.get("parent")
    return given or world.scheme.parent_of(row.values["code"])


def _check_place(
    check: SheetCheck, row: Row, level: str, parent: str | None, above: Unit | None
) -> None:
    scheme = check.world.scheme
    wrong = misplaced(
        row.values["code"],
        level,
        parent,
        None if above is None else above.level,
        [*scheme.labels],
        scheme.lengths,
    )
    if wrong is Misplaced.PARENT_LEVEL and above is not None:
        labels = {"level": scheme.label(level), "above": scheme.label(above.level)}
        column = "parent" if row.values.get("parent") else "code"
        check.fault(row, "parent-level", column, parent=parent, **labels)
    elif wrong is Misplaced.GRID_CODE:
        check.fault(row, "grid-code", "parent", parent=parent)


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
        unit = Unit(code, level, _parent_of(world, row), **given)
        return Change(NEW, code, where_of(row), {}, unit._asdict())
    before = known._asdict()
    after = {name: value for name, value in given.items() if before[name] != value}
    if not after:
        return Change(UNCHANGED, code, where_of(row), before, {})
    return Change(CHANGED, code, where_of(row), before, after)


def check_people(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of people; good ones are known in the world from then on."""
    check = SheetCheck("people", world, faults)
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


def _check_person(check: SheetCheck, row: Row) -> None:
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
        return Change(NEW, code, where_of(row), {}, {"phone": "", "party_member": False} | given)
    before = {name: getattr(known, name) for name in ("name", "phone", "party_member")}
    after = {name: value for name, value in given.items() if before[name] != value}
    return Change(CHANGED if after else UNCHANGED, code, where_of(row), before, after)


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
    check = SheetCheck("posts", world, faults)
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


def _check_post(check: SheetCheck, row: Row, seen: dict[tuple[Any, ...], Row]) -> None:
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


def _post_change(check: SheetCheck, row: Row) -> Change | None:
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
            known = next((p for p in same if _ends_like(p, end)), None)
    if known is None:
        day = first or world.today
        closed = world.closed_since(unit)
        if closed is not None and (end is None or end > begin_of(closed)):
            check.fault(row, "unit-closed", "unit", day=closed.isoformat())
            return None
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
        return Change(NEW, post_key(code, role, unit, day), where_of(row), {}, after)
    if "valid_to" not in values or _ends_like(known, end):
        return Change(UNCHANGED, known.id, where_of(row), {}, {})
    if end is not None and end <= known.valid_from:
        check.fault(row, "days-reversed", "valid_to")
        return None
    what = ENDED if end is not None and end <= world.now else CHANGED
    return _ending(what, known, end, where_of(row))


def _ends_like(post: Post, end: datetime | None) -> bool:
    """Whether a post ends at a moment, or at another of the same last day: a file tells days."""
    if post.valid_to is None or end is None:
        return post.valid_to is end
    return last_day_of(post.valid_to) == last_day_of(end)


def last_day_of(end: datetime) -> date:
    """The last day of what ends at a moment: the day before, where it is the first of a day."""
    day = local_day(end)
    return day - timedelta(days=1) if begin_of(day) == end else day


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
