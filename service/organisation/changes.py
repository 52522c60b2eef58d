"""What changes units: made, renamed, moved, split, merged, closed. Each in one transaction of the
caller, who administers the unit above; each leaves a line in the history of the unit.

A unit moves at a midnight to come, so the tree of the past is never another; households move at
once, as mutations through the one write path. See docs/decisions/0025.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from service.identity.access import Caller
from service.identity.rights import PostHeld
from service.kit.database import Connection, Row
from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, Problem
from service.kit.settings import Settings
from service.organisation import change_queries as queries
from service.organisation.placing import Misplaced, digits_needed, lengths_of, misplaced
from service.organisation.tree import LevelFacts, Tree
from service.organisation.trees import read_tree
from service.writes.server_writes import refuse_held, write_as_server
from sync_protocol.messages import Mutation
from sync_protocol.periods import midnight
from sync_protocol.texts import Text, Word

_LONGEST = 15
_NUMBER = 3  # digits of a grid within its village
_FIRST_DAY = date(2000, 1, 1)


class Moved(NamedTuple):
    """How much went from one grid to another."""

    households: int
    problems: int
    steps: int


class Changes:
    """The changes of units by a caller, in one transaction; `begin` first."""

    def __init__(self, connection: Connection, settings: Settings, caller: Caller) -> None:
        self._connection = connection
        self._settings = settings
        self._caller = caller
        self._tree = caller.tree
        self._tomorrow = caller.today + timedelta(days=1)
        # The units that are made, and those to which households go.
        self.touched: set[str] = set()

    async def begin(self) -> None:
        """Waits for who else changes units, and reads the tree as it is then."""
        await queries.lock_units(self._connection)
        self._tree = await read_tree(self._connection)

    @property
    def tree(self) -> Tree:
        """The tree as the transaction has it."""
        return self._tree

    # ------------------------------------------------------------------------------------ finding

    def _reaches(self, code: str) -> bool:
        return any(self._tree.covers(top, code, self._caller.today) for top in self._caller.units())

    async def _administered(self, code: str) -> Row:
        """A unit, locked, that lies below one that the caller administers; the topmost is changed
        by who administers it.
        """
        above = self._tree.parent(code, self._caller.today)
        found = await queries.unit(self._connection, code) if self._reaches(code) else None
        if found is None or not self._reaches(above or code):
            raise Problem(
                NOT_FOUND,
                Text("There is no unit ‘{unit}’ below one that you administer.", unit=code),
            )
        if found["closed"] is not None and found["closed"] <= self._tomorrow:
            raise Problem(NOT_NOW, Text("The unit ‘{unit}’ is closed.", unit=code))
        return found

    async def _grid(self, code: str) -> Row:
        found = await self._administered(code)
        if found["level"] != "grid":
            raise Problem(
                INVALID, Text("‘{unit}’ is no grid; only grids hold households.", unit=code)
            )
        return found

    # --------------------------------------------------------------------------- making, renaming

    async def create(self, parent: str, code: str | None, values: Mapping[str, Any]) -> str:
        """Makes a unit right below another; returns its code. A grid gets the next number if no
        code is given.
        """
        above = await queries.unit(self._connection, parent) if self._reaches(parent) else None
        if above is None:
            raise Problem(
                NOT_FOUND, Text("There is no unit ‘{unit}’ that you administer.", unit=parent)
            )
        if above["closed"] is not None:
            raise Problem(NOT_NOW, Text("The unit ‘{unit}’ is closed.", unit=parent))
        level = self._level_below(above, parent)
        if code is None:
            code = self._next_code(parent, level)
        await self._refuse_code(code, parent, level)
        row = {"code": code, "level": level.slug, "parent": parent, **values}
        await queries.add_unit(self._connection, row)
        self.touched.add(code)
        await self._done(code, "created", {"parent": parent, **values})
        return code

    def _level_below(self, above: Row, parent: str) -> LevelFacts:
        if above["level"] not in self._tree.levels:
            raise Problem(
                INVALID,
                Text(
                    "‘{unit}’ is of the level ‘{level}’, which is none of the table of levels; add"
                    " that level first.",
                    unit=parent,
                    level=above["level"],
                ),
            )
        position = self._tree.levels[above["level"]].position
        level = next((one for one in self._tree.levels.values() if one.position > position), None)
        if level is None:
            raise Problem(
                INVALID, Text("Below the grid ‘{unit}’ lies no unit.", unit=above["code"])
            )
        return level

    def _next_code(self, parent: str, level: LevelFacts) -> str:
        if level.slug != "grid":
            raise Problem(INVALID, "Give the official code of the new unit.")
        used = [
            int(code[len(parent) :])
            for code in self._tree.units
            if code.startswith(parent) and len(code) == len(parent) + _NUMBER
        ]
        return f"{parent}{max(used, default=0) + 1:0{_NUMBER}}"

    async def _refuse_code(self, code: str, parent: str, level: LevelFacts) -> None:
        if not (code.isascii() and code.isdigit() and len(code) <= _LONGEST):
            raise Problem(
                INVALID,
                Text("‘{code}’ is no code; a code has 1 to {max} digits.", code=code, max=_LONGEST),
            )
        taken = await queries.begin_with(self._connection, code)
        if taken:
            raise Problem(
                NOT_NOW,
                Text(
                    "The code {code} is taken, or begins that of another unit ({others}); a code"
                    " never gets another meaning. Take a new one.",
                    code=code,
                    others=taken,
                ),
            )
        levels = [*self._tree.levels]
        lengths = lengths_of(levels, self._settings.code_lengths)
        above = self._tree.units[parent].level
        wrong = misplaced(code, level.slug, parent, above, levels, lengths)
        if wrong is Misplaced.CODE_LENGTH:
            raise Problem(
                INVALID,
                Text(
                    "The code of a {level} has {wanted} digits, and {code} has {count}; give the"
                    " official code, or have GRIDLOOP_UNIT_CODE_LENGTHS changed.",
                    level=Word(level.name_en, level.name_zh),
                    wanted=lengths[level.slug],
                    code=code,
                    count=len(code),
                ),
            )
        if wrong is Misplaced.GRID_CODE:
            raise Problem(
                INVALID,
                Text(
                    "A grid's code of more than 12 digits begins with the first {digits} digits of"
                    " its parent's code ({parent}), and {code} does not; give another code, or one"
                    " of at most 12 digits.",
                    digits=digits_needed(parent),
                    parent=parent,
                    code=code,
                ),
            )

    async def rename(self, code: str, values: Mapping[str, Any]) -> None:
        """Changes names and other values of a unit; former names are kept with their days."""
        found = await self._administered(code)
        changed = {name: value for name, value in values.items() if found[name] != value}
        for name, language in (("name", "zh"), ("name_mn", "mn")):
            if name in changed and found[name]:
                await queries.keep_name(
                    self._connection, code, language, found[name], self._caller.today
                )
        if changed:
            await queries.set_values(self._connection, code, changed)
            before = {name: found[name] for name in changed}
            await self._done(code, "changed", {"before": before, "after": changed})

    # ------------------------------------------------------------------------------------- moving

    async def move(self, code: str, to: str, day: date) -> None:
        """Puts a unit under another parent from a day to come on."""
        found = await self._administered(code)
        if found["level"] == "grid":
            raise Problem(
                INVALID,
                Text(
                    "A grid keeps its village: make a grid in {unit} and merge ‘{grid}’ into it;"
                    " its households move with their history.",
                    unit=to,
                    grid=code,
                ),
            )
        if day < self._tomorrow:
            raise Problem(
                INVALID,
                Text(
                    "A unit moves at a midnight to come: from {day} at the earliest.",
                    day=self._tomorrow.isoformat(),
                ),
            )
        target = await queries.unit(self._connection, to) if self._reaches(to) else None
        before = self._tree.parent(code, day - timedelta(days=1))
        if target is None or before is None:
            raise Problem(
                NOT_FOUND, Text("There is no unit ‘{unit}’ that you administer.", unit=to)
            )
        if target["closed"] is not None:
            raise Problem(NOT_NOW, Text("The unit ‘{unit}’ is closed.", unit=to))
        if target["level"] != self._tree.units[before].level:
            raise Problem(
                INVALID,
                Text("‘{to}’ is not of the level of ‘{before}’.", to=to, before=before),
            )
        await queries.set_parent(self._connection, code, to, day)
        await self._done(code, "moved", {"from": before, "to": to, "day": day})

    async def close(self, code: str, to: str | None) -> Moved:
        """Closes a unit after today; of a grid the households go `to` another, of another unit the
        units below.
        """
        found = await self._administered(code)
        moved = Moved(0, 0, 0)
        if found["level"] == "grid":
            if to is not None:
                moved = await self._pour(code, to, None)
            elif await queries.households_of(self._connection, code, None):
                raise Problem(
                    NOT_NOW,
                    Text("The grid ‘{unit}’ has households; say to which grid they go.", unit=code),
                )
            elif await queries.problems_about(self._connection, code, None):
                raise Problem(
                    NOT_NOW,
                    Text(
                        "The grid ‘{unit}’ has open problems; say to which grid they go.", unit=code
                    ),
                )
        else:
            await self._empty(code, to)
        await queries.set_values(self._connection, code, {"closed": self._tomorrow})
        await self._done(code, "closed", {"to": to, **moved._asdict()})
        return moved

    async def _empty(self, code: str, to: str | None) -> None:
        below = [
            child
            for child in self._tree.children(code, self._tomorrow)
            if self._tree.units[child].is_open(self._tomorrow, self._tomorrow)
        ]
        if not below:
            return
        if to is None or self._tree.height(code) == 1:
            raise Problem(
                NOT_NOW,
                Text(
                    "Units lie below ‘{unit}’ ({below}); close, merge or move them first.",
                    unit=code,
                    below=below[:3],
                ),
            )
        for child in below:
            await self.move(child, to, self._tomorrow)

    # ---------------------------------------------------------------------- splitting and merging

    async def split(
        self, code: str, new: str | None, values: Mapping[str, Any], households: Sequence[str]
    ) -> tuple[str, Moved]:
        """Makes a grid beside one, to which some of its households go; returns its code."""
        found = await self._grid(code)
        parent = self._tree.parent(code, self._caller.today)
        assert parent is not None
        wanted = sorted(set(households))
        here = {id for id, _ in await queries.households_of(self._connection, code, wanted)}
        missing = [id for id in wanted if id not in here]
        if missing:
            raise Problem(
                INVALID,
                Text(
                    "These households are not in {unit}: {ids}; ask for its households anew.",
                    unit=code,
                    ids=missing[:20],
                ),
            )
        given = {"party_group": found["party_group"], "go_live": found["go_live"], **values}
        made = await self.create(parent, new, {**given, "since": self._caller.today})
        moved = await self._pour(code, made, wanted)
        await self._done(code, "split", {"into": made, **moved._asdict()})
        return made, moved

    async def merge(self, code: str, to: str) -> Moved:
        """Sends all households of a grid to another, and closes it after today."""
        await self._grid(code)
        return await self.close(code, to)

    async def _pour(self, code: str, to: str, households: Sequence[str] | None) -> Moved:
        """Moves households with what is not ended of their problems; what is closed stays where it
        was written.
        """
        target = await self._grid(to)
        self.touched.add(to)
        if target["code"] == code:
            raise Problem(INVALID, "The grid to go to is another one.")
        some = await queries.households_of(self._connection, code, households)
        problems = await queries.problems_about(self._connection, code, households)
        steps = await queries.steps_of(self._connection, [id for id, _ in problems])
        ties = await queries.ties_of(self._connection, [id for id, _ in some])
        mutations = [
            Mutation(0, kind, id, to, base=rev, base_grid=code, fields={})
            for kind, records in (
                ("household", some),
                ("problem", problems),
                ("step", steps),
                ("tie", ties),
            )
            for id, rev in records
        ]
        # By the tree with the unit that this transaction may have made.
        post = PostHeld(
            "admin", "", midnight(_FIRST_DAY), None, tree=await read_tree(self._connection)
        )
        verdicts = await write_as_server(
            self._connection,
            self._settings,
            self._caller.staff_code,
            post,
            mutations,
            self._caller.now,
            override=True,
        )
        for verdict in verdicts:
            refuse_held(verdict)
        return Moved(len(some), len(problems), len(steps))

    # ------------------------------------------------------------------------------------ history

    async def _done(self, code: str, action: str, details: Mapping[str, Any]) -> None:
        await queries.add_change(
            self._connection,
            self._caller.now,
            self._caller.staff_code,
            code,
            action,
            {name: value for name, value in details.items() if value is not None},
        )
        self._tree = await read_tree(self._connection)
