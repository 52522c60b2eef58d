"""Compares the households of an import with what is known here, village by village. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from service.identity.views import mask
from service.imports import keys
from service.imports.keys import Key
from service.imports.pace import Pace
from service.imports.row_faults import Faults
from service.imports.row_file import Row
from service.imports.sheet_check import (
    CHANGED,
    ENDED,
    LEVELS_DOUBTFUL,
    NEW,
    UNCHANGED,
    Post,
    SheetCheck,
    World,
)
from sync_protocol.texts import Word

_HOUSEHOLD_FIELDS = (
    "head_name",
    "phone",
    "address",
    "members",
    "contact_member",
    "lead_member",
    "note",
)
_PIECE = 10  # rows between two turns of others
_MERGED, _PRESENT = "merged", "present"


class Known(NamedTuple):
    """A household as known here, and the village in which it lives."""

    id: str
    grid: str
    rev: int
    fields: Mapping[str, Any]
    deleted: bool = False
    village: str = ""


class Village(msgspec.Struct):
    """What is known of the households of a village, and of those elsewhere whom its rows, or those
    of other villages that were asked for with it, name.

    `by_digest`: whose each key is; `numbered`: those who have a number in the city; `keys`: those
    of each row, by its own number; `by_place`: who lives here, by head and address.
    """

    code: str
    known: dict[str, Known]
    by_digest: dict[bytes, str]
    numbered: set[str]
    keys: Mapping[int, Sequence[Key]]
    by_place: Mapping[bytes, str]

    def named(self, row: Row) -> str | None:
        """The household whose id an export has written into a row, if it is here."""
        id = row.values.get("id")
        return id if id in self.known else None

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
            and household.village == self.code
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
    if values.get("id"):
        found.append(keys.of_id(values["id"]))
    if values.get("household_no"):
        found.append(keys.of_number(values["household_no"]))
    if values.get("village_no"):
        found.append(keys.of_village_number(village, values["village_no"]))
    if "address" not in row.masked:
        found.append(keys.of_place(village, values.get("head_name") or "", values.get("address")))
    return found


class HouseholdCheck(SheetCheck):
    """Checks households village by village, in two passes or more: each time with what is known
    then. `repeated`: rows whose number stands in a row before them.
    """

    def __init__(
        self, world: World, faults: Faults, repeated: Mapping[int, tuple[str, str, int]]
    ) -> None:
        super().__init__("households", world, faults)
        self._repeated = repeated
        # Asked for every row, and the same for many.
        self._grids: dict[str, _Grid] = {}
        self._near: dict[tuple[str, str], bool] = {}

    async def village(
        self, rows: Iterable[tuple[int, Row]], village: Village, pace: Pace
    ) -> list[HouseholdChange]:
        """What becomes of the households of a village; those that are left alone are in it, too."""
        changes = []
        taken: dict[str, Row] = {}
        made: dict[bytes, Row] = {}
        bad = False
        for place, (seq, row) in enumerate(rows):
            if place % _PIECE == 0:
                await pace.breathe()
            self.name_by_keys(row, "contact_member", "lead_member")
            if not row.bad:
                self._check(seq, row)
            own = village.keys.get(seq, ())
            if village.named(row) is not None:
                own = [key for key in own if key.scope != keys.ELSEWHERE]
            change = None if row.bad else self._change(row, own, village, taken, made)
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
        place = self._grid(grid)
        if not place.is_covered:
            self.fault(row, "outside", "grid", units=world.scope_text())
            return
        if (closed := world.tree.closed_from(grid)) is not None:
            self.fault(row, "unit-closed", "grid", day=closed.isoformat())
            return
        if LEVELS_DOUBTFUL in world.doubtful:
            self.waits(row, ("unit", grid))
            if row.bad:
                return
        if place.level is None:
            self.fault(row, "unit-unknown", "grid")
            return
        if place.level != world.scheme.grid:
            self.fault(row, "not-a-grid", "grid", level=world.scheme.label(place.level))
            return
        if seq in self._repeated:
            column = "household_no" if values.get("household_no") else "id"
            self.fault(row, "household-twice", column, first=self._repeated[seq][2])

    def _check_ties(self, row: Row, known: Known | None) -> None:
        """Whether the people whom a row names may be tied to it; to whom it is tied already, it may
        stay tied.
        """
        world, grid = self.world, row.values["grid"]
        names = [("unit", grid)]
        for name in ("contact_member", "lead_member"):
            code = row.values.get(name)
            if code is None or (known is not None and known.fields.get(name) == code):
                continue
            if code not in world.people:
                self.fault(row, "member-unknown", name)
            elif not self._may_be_near(code, grid):
                self.fault(row, "member-without-post", name)
            names.append(("person", code))
            if not self._is_near(code, grid):
                names.append(("post", code))
        self.waits(row, *names)

    def _may_be_near(self, staff_code: str, grid: str) -> bool:
        """Whether a person has a post near a grid, or would have if all rows were good."""
        return ("post", staff_code) in self.world.doubtful or self._is_near(staff_code, grid)

    def _is_near(self, staff_code: str, grid: str) -> bool:
        """As the write path judges: a post at the grid, above it, beside it within the township, or
        in the units of who imports.
        """
        found = self._near.get((staff_code, grid))
        if found is None:
            found = any(self._is_post_near(p, grid) for p in self.world.posts.get(staff_code, ()))
            self._near[staff_code, grid] = found
        return found

    def _is_post_near(self, post: Post, grid: str) -> bool:
        world = self.world
        if not (post.valid_from <= world.now and post.is_open(world.now)):
            return False
        above = self._grid(grid).above
        return (
            post.unit == grid
            or post.unit in above
            or (len(above) > 1 and world.lies_under(post.unit, above[1:2]))
            or world.covers(post.unit)
        )

    def _grid(self, code: str) -> "_Grid":
        found = self._grids.get(code)
        if found is None:
            unit = self.world.units.get(code)
            level = None if unit is None else unit.level
            above = self.world.above(code)
            found = self._grids[code] = _Grid(level, self.world.covers(code), above)
        return found

    def _change(
        self,
        row: Row,
        own: Sequence[Key],
        village: Village,
        taken: dict[str, Row],
        made: dict[bytes, Row],
    ) -> HouseholdChange | None:
        id = village.named(row) or _household_of(own, village) or village.behind(row)
        twin = taken.get(id) if id is not None else _first(made.get(key.digest) for key in own)
        if twin is not None and self._are_two(row, twin):
            id, twin = None, None
        if twin is not None:
            column = "household_no" if row.values.get("household_no") else "head_name"
            self.fault(row, "household-twice", column, first=twin.number)
            return None
        other = _first(made.get(key.digest) for key in own if key.village_number is not None)
        if other is not None:
            self.fault(row, "village-number-twice", "village_no", first=other.number)
            return None
        if self._has_anothers_number(own, village, id):
            self.fault(row, "number-taken", "household_no")
            return None
        if id is not None:
            taken[id] = row
        for key in own:
            made.setdefault(key.digest, row)
        known = village.known.get(id) if id is not None else None
        if known is not None and not self._grid(known.grid).is_covered:
            # The write path would hold it: who imports may not take it out of its grid.
            self.fault(row, "household-elsewhere", "household_no", units=self.world.scope_text())
            return None
        if row.masked and known is None:
            for name in row.masked:
                self.fault(row, "masked-new", name)
            return None
        self.settle(row, {} if known is None else known.fields)
        if not row.bad:
            self._check_ties(row, known)
        if row.bad:
            return None
        new_keys = [key for key in own if village.by_digest.get(key.digest) is None]
        fields = _household_fields(row, known)
        if not (self._take_state(row, known, fields) and self._may_add_tags(row, fields)):
            return None
        grid = row.values["grid"]
        if known is None or known.deleted:
            what = NEW
        else:
            what = CHANGED if fields or known.grid != grid else UNCHANGED
        return HouseholdChange(what, row, grid, known, fields, new_keys)

    def _take_state(self, row: Row, known: Known | None, fields: dict[str, Any]) -> bool:
        """Puts a state and its day among the fields; False for a row that is wrong."""
        before: Mapping[str, Any] = {} if known is None else known.fields
        was = before.get("state") or _PRESENT
        state = row.values.get("state") or _PRESENT if "state" in row.values else was
        since = row.values.get("state_since")
        if state == _MERGED != was:
            self.fault(row, "state-merged", "state")
            return False
        if state != was:
            fields["state"] = state
            fields["state_since"] = since or self.world.today.isoformat()
            if was == _MERGED:
                fields["merged_into"] = None
        elif since is not None and since != before.get("state_since"):
            fields["state_since"] = since
        return True

    def _may_add_tags(self, row: Row, fields: Mapping[str, Any]) -> bool:
        """Whether all tags that a row adds can be chosen today; one that has ended stays where it
        is, and is given to nobody any more.
        """
        words = self.world.words
        for tag in fields.get("tags", {}).get("add", ()):
            if not words.can_be_chosen("tag", tag):
                label = words.label("tag", tag)
                named = Word(label.en, label.zh)
                self.fault(row, "tag-ended", "tags", tag=named, known=words.known("tag"))
                return False
        return True

    @staticmethod
    def _has_anothers_number(own: Sequence[Key], village: Village, id: str | None) -> bool:
        """Whether a household that is known by its id would get a number that another has."""
        holders = (village.by_digest.get(key.digest) for key in own if key.scope == keys.CITY)
        return id is not None and any(holder not in (None, id) for holder in holders)

    @staticmethod
    def _are_two(row: Row, twin: Row) -> bool:
        """Whether two rows of the same head and address are two households: each has a number, or
        an id, of its own.
        """
        pairs = [(row.values.get(name), twin.values.get(name)) for name in ("household_no", "id")]
        return any(one and other and one != other for one, other in pairs)

    def _missing(self, village: Village, taken: Mapping[str, Row]) -> list[HouseholdChange]:
        """The households of a village that the file is about and that are not in it."""
        ended = []
        for known in village.known.values():
            is_here = known.village == village.code and not known.deleted
            if is_here and known.id not in taken and self._grid(known.grid).is_covered:
                self.counts.ended += 1
                row = Row("", "", 0, {})
                ended.append(HouseholdChange(ENDED, row, known.grid, known, {}, ()))
        return ended


class _Grid(NamedTuple):
    """What every row of a grid needs to know of it: its level (None: no unit), whether the import
    may write there, and the units above it.
    """

    level: str | None
    is_covered: bool
    above: Sequence[str]


def _first(rows: Iterable[Row | None]) -> Row | None:
    return next((row for row in rows if row is not None), None)


def _household_of(own: Sequence[Key], village: Village) -> str | None:
    """Whose row it is: by its number; else by its number in the village; else by head and address,
    as in an earlier file, or as they are now. Who has another number is somebody else.
    """
    has_number = any(key.scope == keys.CITY for key in own)
    for key in own:
        id = village.by_digest.get(key.digest)
        if id is None and key is own[-1]:
            id = village.by_place.get(key.digest)
        if id is None or id not in village.known:
            continue
        if key.scope in (keys.CITY, keys.ELSEWHERE) or not (has_number and id in village.numbered):
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
