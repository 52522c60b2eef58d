"""Compares the people and posts of an import with what is known here: what would be new,
changed, unchanged or ended, and what is wrong. Pure.

The same functions say what a dry run shows and what is written, so that both agree.
"""

from collections.abc import Iterable, Sequence, Set
from datetime import date, datetime, time, timedelta
from typing import Any

from service.imports.cells import Wrong, text_in
from service.imports.membership import holds_on, spans_wanted
from service.imports.row_faults import Faults, Where
from service.imports.row_file import Row
from service.imports.sheet_check import (
    CHANGED,
    ENDED,
    LEVELS_DOUBTFUL,
    NEW,
    UNCHANGED,
    Change,
    Person,
    Post,
    SheetCheck,
    SheetCounts,
    Spans,
    World,
    where_of,
)
from service.imports.units import level_wanted
from service.imports.words import named_post
from sync_protocol.periods import SHANGHAI, local_day
from sync_protocol.texts import Text


def check_people(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of people; good ones are known in the world from then on."""
    check = SheetCheck("people", world, faults)
    seen: dict[str, Row] = {}
    changes = []
    for row in rows:
        what = UNCHANGED
        check.name_by_keys(row, "staff_code")
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
    check.settle(row, {} if known is None else known._asdict())
    try:
        _membership(world, row)
    except Wrong as wrong:
        check.fault(row, wrong.kind, "party_member", cadre=code)
    if row.bad or (known is not None and _person_change(world, row).what == UNCHANGED):
        return
    if code in world.apps:
        check.fault(row, "person-is-app", "staff_code")
    elif known is not None and known.erased:
        check.fault(row, "person-erased", "staff_code")
    elif known is not None and not known.inside:
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
    spans = _membership(world, row)
    if spans:
        given["membership"] = [[*span] for span in spans]
        given["party_member"] = holds_on(spans, world.today.isoformat())
    if known is None:
        return Change(NEW, code, where_of(row), {}, {"phone": "", "party_member": False} | given)
    if not spans and known.membership:
        given["membership"] = []
    before = {name: getattr(known, name) for name in ("name", "phone", "party_member")}
    before["membership"] = [[*span] for span in known.membership]
    after = {name: value for name, value in given.items() if before[name] != value}
    return Change(CHANGED if after else UNCHANGED, code, where_of(row), before, after)


def _membership(world: World, row: Row) -> Spans:
    known = world.people.get(row.values["staff_code"])
    there, is_member = ((), False) if known is None else (known.membership, known.party_member)
    return spans_wanted(row.values, there, is_member, world.today.isoformat())


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
        check.name_by_keys(row, "staff_code")
        same = None if row.bad else _same_post(check, row)
        if same is not None:
            kept.add(same.id)
        elif not row.bad:
            _check_post(check, row, seen)
        if same is None and not row.bad:
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
    _end_in_world(world, changes)
    return changes, check.counts


def _end_in_world(world: World, changes: Sequence[Change]) -> None:
    """What a post that ends gave to its holder, the rows of households no longer find."""
    ends = {change.key: change.after["valid_to"] for change in changes if change.what != NEW}
    for code, posts in world.posts.items():
        if any(post.id in ends for post in posts):
            world.posts[code] = [
                post._replace(valid_to=ends[post.id] and datetime.fromisoformat(ends[post.id]))
                if post.id in ends
                else post
                for post in posts
            ]


def _same_post(check: SheetCheck, row: Row) -> Post | None:
    """The post that is here just as the row says, if the import may write there: such a row passes,
    whatever could be said of it, for it changes nothing.
    """
    world, values = check.world, row.values
    if not values.get("valid_from") or not world.covers(values["unit"]):
        return None
    last = values.get("valid_to")
    end = begin_of(date.fromisoformat(last) + timedelta(days=1)) if last else None
    for post in world.posts.get(values["staff_code"], ()):
        if (
            (post.role, post.unit) == (values["role"], values["unit"])
            and local_day(post.valid_from).isoformat() == values["valid_from"]
            and ("valid_to" not in values or _ends_like(post, end))
            and ("title" not in values or text_in(post.title) == text_in(values["title"]))
        ):
            return post
    return None


def _check_post(check: SheetCheck, row: Row, seen: dict[tuple[Any, ...], Row]) -> None:
    world, values = check.world, row.values
    code, role, unit = values["staff_code"], values["role"], values["unit"]
    found, person = world.units.get(unit), world.people.get(code)
    check.settle(row, {})
    if row.bad:
        return
    name = (code, role, unit, values.get("valid_from"))
    twin = seen.setdefault(name, row)
    if twin is not row:
        if twin.values != values:
            check.fault(row, "row-twice", "staff_code", first=twin.number)
        return
    if not world.covers(unit):
        check.fault(row, "outside", "unit", units=world.scope_text())
        return
    if LEVELS_DOUBTFUL in world.doubtful:
        check.waits(row, ("unit", unit))
        if row.bad:
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
        closed = world.tree.closed_from(unit)
        if closed is not None and (end is None or end > begin_of(closed)):
            check.fault(row, "unit-closed", "unit", day=closed.isoformat())
            return None
        after = {
            "staff_code": code,
            "role": role,
            "unit": unit,
            "valid_from": begin_of(day).isoformat(),
            "valid_to": end and end.isoformat(),
            "title": values.get("title"),
        }
        key = post_key(code, role, unit, day)
        post = Post(key, code, role, unit, begin_of(day), end, after["title"])
        world.posts.setdefault(code, []).append(post)
        return Change(NEW, key, where_of(row), {}, after, *_names(world, post))
    title = values.get("title", known.title)
    if "valid_to" not in values or _ends_like(known, end):
        what = UNCHANGED if title == known.title else CHANGED
        return _changing(world, what, known, known.valid_to, title, where_of(row))
    if end is not None and end <= known.valid_from:
        check.fault(row, "days-reversed", "valid_to")
        return None
    what = ENDED if end is not None and end <= world.now else CHANGED
    return _changing(world, what, known, end, title, where_of(row))


def _ends_like(post: Post, end: datetime | None) -> bool:
    """Whether a post ends at a moment, or at another of the same last day: a file tells days."""
    if post.valid_to is None or end is None:
        return post.valid_to is end
    return last_day_of(post.valid_to) == last_day_of(end)


def last_day_of(end: datetime) -> date:
    """The last day of what ends at a moment: the day before, where it is the first of a day."""
    day = local_day(end)
    return day - timedelta(days=1) if begin_of(day) == end else day


def _changing(
    world: World,
    what: str,
    post: Post,
    end: datetime | None,
    title: str | None,
    where: Where,
) -> Change:
    """A post with another end or title."""
    before = {"valid_to": post.valid_to and post.valid_to.isoformat(), "title": post.title}
    after = {"valid_to": end and end.isoformat(), "title": title}
    return Change(what, post.id, where, before, after, *_names(world, post))


def _names(world: World, post: Post) -> tuple[str, Text]:
    """What stands for a post in reports, and how people name it."""
    label = world.words.label("role", post.role)
    said = named_post(label, post.staff_code, post.unit)
    return f"{post.staff_code} {post.role} {post.unit}", said


def _missing_posts(world: World, units: Set[str], kept: Set[str]) -> Iterable[Change]:
    """Posts of units that the file is about and that are not in it. Administrators stay: nobody is
    to be locked out.
    """
    for posts in world.posts.values():
        for post in posts:
            is_about = post.unit in units and post.role != "admin" and post.id not in kept
            if is_about and post.is_open(world.now) and ":" not in post.id:
                end = max(world.now, post.valid_from)
                yield _changing(world, ENDED, post, end, post.title, Where("", "", 0))
