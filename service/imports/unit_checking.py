"""Compares the levels and units of an import with what is known here. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from service.imports import cells
from service.imports.cells import Wrong
from service.imports.row_faults import Faults
from service.imports.row_file import Row
from service.imports.sheet_check import (
    CHANGED,
    LEVELS_DOUBTFUL,
    NEW,
    UNCHANGED,
    Change,
    SheetCheck,
    SheetCounts,
    World,
    where_of,
)
from service.imports.units import DEEPEST, Scheme, Unit
from service.organisation.placing import Misplaced, digits_needed, misplaced
from sync_protocol.vocabulary import Label

# Codes have so many digits at most.
LONGEST_CODE = 15
# The lowest level, under whose units the records lie.
LOWEST = "grid"
LEVELS_KEY = "levels"


def check_levels(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of the levels, which are one thing: all of the file take the place of all that
    are here. Other levels come only before any unit is there; other names at any time.
    """
    check = SheetCheck("levels", world, faults)
    before = _levels_here(world)
    after: list[dict[str, Any]] = []
    seen: dict[str, Row] = {}
    here = {level["slug"]: level for level in before}
    for row in rows:
        if not row.bad:
            _check_level(check, row, seen, rows, here)
        if not row.bad:
            slug = row.values["slug"]
            after.append({**here.get(slug, {"name_en": "", "sees_tags": True}), **_given(row)})
            after[-1]["name_en"] = after[-1]["name_en"] or slug
    if any(row.bad for row in rows):
        after = []
        world.doubtful.add(LEVELS_DOUBTFUL)
    slugs, wanted = ([level["slug"] for level in some] for some in (before, after))
    if after and slugs != wanted and world.units:
        check.fault(rows[0], "levels-in-use", "slug")
        world.doubtful.add(LEVELS_DOUBTFUL)
    elif after and after != before and "" not in world.scope:
        check.fault(rows[0], "outside", "slug", units=world.scope_text())
    for row in rows:
        slug = row.values.get("slug")
        level = next((one for one in after if one["slug"] == slug), None)
        same = here.get(slug or "") == level
        check.done(row, UNCHANGED if same else CHANGED if slug in here else NEW)
    if not after or after == before or any(row.bad for row in rows):
        return [], check.counts
    labels = {one["slug"]: Label(one["name_zh"], one["name_en"]) for one in after}
    world.scheme = Scheme.of(world.code_lengths, labels)
    values = {"levels": before}, {"levels": after}
    return [Change(CHANGED, LEVELS_KEY, where_of(rows[0]), *values)], check.counts


def _levels_here(world: World) -> list[dict[str, Any]]:
    names = ("slug", "name_zh", "name_en", "sees_tags")
    return [{name: getattr(level, name) for name in names} for level in world.tree.levels.values()]


def _given(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.values.items() if value is not None}


def _check_level(
    check: SheetCheck,
    row: Row,
    seen: dict[str, Row],
    rows: Sequence[Row],
    here: Mapping[str, Any],
) -> None:
    slug = row.values["slug"]
    twin = seen.setdefault(slug, row)
    if twin is not row:
        check.fault(row, "row-twice", "slug", first=twin.number)
    elif (row is rows[-1]) != (slug == LOWEST):
        check.fault(row, "level-lowest", "slug")


def check_units(
    rows: Sequence[Row], world: World, faults: Faults
) -> tuple[list[Change], SheetCounts]:
    """What becomes of units; good ones are known in the world from then on."""
    check = SheetCheck("units", world, faults)
    seen: dict[str, Row] = {}
    changes = []
    codes = {row.values["code"] for row in rows if row.values.get("code")} | world.units.keys()
    for row, parent in _in_order(rows, world, codes):
        level = None
        if not row.bad:
            level = _check_unit(check, row, parent, seen)
        what = UNCHANGED
        code = row.values.get("code") or ""
        if not row.bad and code in seen:
            continue  # the same row again
        seen.setdefault(code, row)
        if row.bad:
            _doubt_unit(world, row, parent)
        else:
            change = _unit_change(world, row, level or "", parent)
            what = change.what
            if what != UNCHANGED:
                changes.append(change)
                world.units[code] = Unit(**{**change.before, **change.after})
        check.done(row, what)
    return changes, check.counts


def _in_order(rows: Sequence[Row], world: World, codes: set[str]) -> list[tuple[Row, str | None]]:
    """The rows of units, those above before those below, each with its parent."""
    parents: dict[str, str | None] = {}
    found = []
    for row in rows:
        code = row.values.get("code") or ""
        parent = row.values.get("parent")
        if parent is None and code in world.units:
            parent = world.units[code].parent
        elif parent is None:
            parent = world.scheme.parent_by_code(code, codes)
        parents.setdefault(code, parent)
        found.append((row, parent))

    def depth(code: str | None) -> int:
        steps = 0
        while code is not None and steps < DEEPEST:
            code, steps = parents.get(code), steps + 1
        return steps

    return sorted(found, key=lambda one: depth(one[1]))


def _check_unit(
    check: SheetCheck, row: Row, parent: str | None, seen: Mapping[str, Row]
) -> str | None:
    """The level of a unit."""
    world, values = check.world, row.values
    code, scheme = values["code"], world.scheme
    twin = seen.get(code)
    if twin is not None:
        if twin.values != values:
            check.fault(row, "row-twice", "code", first=twin.number)
        return None
    known = world.units.get(code)
    if known is None:
        check.waits(row, LEVELS_DOUBTFUL)
        if row.bad:
            return None
    check.settle(row, {} if known is None else known._asdict())
    above = None if parent is None else world.units.get(parent)
    level = _level_of(check, row, above)
    if row.bad:
        return None
    if level is None:
        lengths = ", ".join(map(str, scheme.lengths.values()))
        check.fault(row, "code-length", "code", count=len(code), lengths=lengths)
        return None
    if len(code) > LONGEST_CODE:
        check.fault(row, "code-long", "code", count=len(code), max=LONGEST_CODE)
        return None
    if not world.covers(code if known is not None or parent is None else parent):
        check.fault(row, "outside", "code", units=world.scope_text())
        return None
    by_length = scheme.level_of(code)
    if known is not None and known.level != level:
        check.fault(row, "unit-level-changed", "code", level=scheme.label(known.level))
    elif known is None and by_length is not None and by_length != level:
        check.fault(row, "level-other", "level", level=scheme.label(by_length))
    elif known is not None:
        if parent != known.parent and parent not in _parents_to_come(world, code):
            here = known.parent or "—"
            check.fault(row, "parent-moved", "parent", parent=here, unit=code)
    else:
        _check_parent(check, row, level, parent, above)
    check.waits(row, ("unit", parent or ""))
    return level


def _level_of(check: SheetCheck, row: Row, above: Unit | None) -> str | None:
    """The level as the row says; else as it is here, as the length of the code tells, or the one
    below that of its parent.
    """
    world, values = check.world, row.values
    code, scheme, given = values["code"], world.scheme, values.get("level")
    if given is not None:
        try:
            return cells.level(given, scheme.labels)
        except Wrong as wrong:
            check.fault(row, wrong.kind, "level", **wrong.params)
            return None
    if code in world.units:
        return world.units[code].level
    if scheme.lengths:
        return scheme.level_of(code)
    return next(iter(scheme.labels)) if above is None else scheme.below(above.level)


def _parents_to_come(world: World, code: str) -> set[str | None]:
    """Where a unit is to lie from a later day on."""
    unit = world.tree.units.get(code)
    return {one.parent for one in unit.spells if one.valid_from > world.today} if unit else set()


def _check_parent(
    check: SheetCheck, row: Row, level: str, parent: str | None, above: Unit | None
) -> None:
    world, scheme = check.world, check.world.scheme
    wanted = scheme.above(level)
    column = "parent" if row.values.get("parent") else "code"
    if wanted is None:
        if parent is not None:
            check.fault(row, "parent-of-top", column, level=scheme.label(level))
    elif parent is None:
        check.fault(row, "parent-missing", column, level=scheme.label(level))
    elif above is None:
        check.fault(row, "parent-unknown", column, parent=parent)
    elif (closed := world.tree.closed_from(parent)) is not None:
        check.fault(row, "unit-closed", column, day=closed.isoformat())
    else:
        _check_place(check, row, level, parent, above)


def _check_place(check: SheetCheck, row: Row, level: str, parent: str, above: Unit) -> None:
    scheme, code = check.world.scheme, row.values["code"]
    column = "parent" if row.values.get("parent") else "code"
    wrong = misplaced(code, level, parent, above.level, [*scheme.labels], scheme.lengths)
    if wrong is Misplaced.PARENT_LEVEL:
        levels = {
            "level": scheme.label(level),
            "wanted": scheme.label(scheme.above(level) or level),
            "other": scheme.label(above.level),
        }
        check.fault(row, "parent-level", column, parent=parent, **levels)
    elif wrong is Misplaced.GRID_CODE:
        check.fault(row, "grid-code", "code", parent=parent, digits=digits_needed(parent))


def _doubt_unit(world: World, row: Row, parent: str | None) -> None:
    """Keeps a unit whose row is wrong apart from those that nobody knows."""
    code = row.values.get("code") or ""
    above = world.units.get(parent or "")
    level = world.scheme.level_of(code)
    if level is None and above is not None and above.level in world.scheme.labels:
        level = world.scheme.below(above.level)
    is_new = bool(code) and code not in world.units
    is_told = level is not None or LEVELS_DOUBTFUL in world.doubtful
    if is_new and is_told and world.covers(parent if parent is not None else code):
        world.units[code] = Unit(code, level or "", parent, code)
        world.doubtful.add(("unit", code))


_GIVEN = ("name", "name_mn", "kind", "party_group", "go_live")
_CLEARED = {"kind": "", "party_group": "none"}


def _unit_change(world: World, row: Row, level: str, parent: str | None) -> Change:
    values, code = row.values, row.values["code"]
    known = world.units.get(code)
    given: dict[str, Any] = {
        name: _CLEARED.get(name) if values[name] is None else values[name]
        for name in _GIVEN
        if name in values
    }
    if known is None:
        unit = Unit(code, level, parent, **given)
        return Change(NEW, code, where_of(row), {}, unit._asdict())
    before = known._asdict()
    after = {name: value for name, value in given.items() if before[name] != value}
    if not after:
        return Change(UNCHANGED, code, where_of(row), before, {})
    return Change(CHANGED, code, where_of(row), before, after)


def day_of(text: str | None) -> date | None:
    """A day of a file as the database has it."""
    return None if text is None else date.fromisoformat(text)
