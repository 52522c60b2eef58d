"""What can be wrong with a row, a file or a sheet: each kind with a sentence that says what is
wrong, and one that says what to do. Pure.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from service.identity.views import mask
from service.imports.cells import Wrong
from service.imports.sheets import Column
from sync_protocol.texts import Text, restored, stored

# A report lists so many; the rest is counted, by kind.
MAX_LISTED = 1_000
_SHOWN = 60


class Kind(NamedTuple):
    """A kind of fault."""

    what: Text
    todo: Text


KINDS: Mapping[str, Kind] = {
    # files and sheets
    "file-damaged": Kind(
        Text("The file cannot be read: it is damaged, or no workbook."),
        Text("Open it in the spreadsheet program, save it again as .xlsx, and send that."),
    ),
    "file-of-no-kind": Kind(
        Text("The file is no workbook and no text."), Text("Send .xlsx, .xls or .csv.")
    ),
    "file-too-large": Kind(
        Text("The file needs more memory or time than one may."),
        Text("Delete empty rows, pictures and unused sheets, or send it in several files."),
    ),
    "file-encoding": Kind(
        Text("The text is neither UTF-8 nor GB18030."),
        Text("Save it as .xlsx, or as CSV in UTF-8."),
    ),
    "file-encrypted": Kind(
        Text("The file is protected by a password."), Text("Save it without a password.")
    ),
    "file-empty": Kind(
        Text("No sheet of the file has headers that are known here."),
        Text("Use the headers of the template: ‘gridloop roster template FILE.xlsx’ writes one."),
    ),
    "sheet-without-headers": Kind(
        Text("The sheet has no row with headers that are known here."),
        Text("Put the headers of the template above the rows."),
    ),
    "column-missing": Kind(
        Text("The column ‘{header}’ is missing, so that no row can be taken."),
        Text("Add the column, with its header as in the template."),
    ),
    "column-twice": Kind(
        Text("Two columns are called alike: ‘{header}’."),
        Text("Leave one of them, or give the other another header."),
    ),
    "rows-too-many": Kind(
        Text("There are more than {max} rows."), Text("Send the rest in another file.")
    ),
    # cells
    "value-missing": Kind(Text("The cell is empty, and a value is needed."), Text("Fill it in.")),
    "number-rounded": Kind(
        Text("The spreadsheet program has rounded the number."),
        Text("Make the cell text, and type all digits again."),
    ),
    "code-form": Kind(Text("A code of a unit has digits only."), Text("Correct the code.")),
    "staff-code-form": Kind(
        Text("A staff code has 1 to 40 letters, digits, dots, dashes or underscores."),
        Text("Correct the staff code."),
    ),
    "number-form": Kind(
        Text("A number of a household has 1 to 40 letters, digits, dots, slashes or dashes."),
        Text("Correct the number, or leave the cell empty."),
    ),
    "text-long": Kind(Text("The text has {count} characters; {max} fit."), Text("Shorten it.")),
    "text-unfit": Kind(Text("The text {why}."), Text("Correct the text.")),
    "text-control": Kind(
        Text("The text has control characters."),
        Text("Type it again; it was copied from elsewhere."),
    ),
    "phone-form": Kind(
        Text("This is no telephone number."),
        Text("Write 5 to 15 digits; several numbers parted by a slash."),
    ),
    "day-form": Kind(Text("This is no day."), Text("Write it like 2026-11-01.")),
    "day-far": Kind(Text("The day lies outside {first} to {last}."), Text("Correct the day.")),
    "yes-no-form": Kind(Text("This is neither yes nor no."), Text("Write 是 or 否, yes or no.")),
    "count-form": Kind(Text("This is no whole number."), Text("Write how many people, in digits.")),
    "count-large": Kind(Text("The number is larger than {max}."), Text("Correct the number.")),
    "role-unknown": Kind(Text("There is no such role."), Text("Choose one of: {known}.")),
    "tag-unknown": Kind(
        Text("There is no such tag of households."),
        Text("Choose from: {known}; part several by commas."),
    ),
    "tag-ended": Kind(
        Text("The tag ‘{tag}’ cannot be chosen any more, or not yet."),
        Text("Choose from: {known}; part several by commas."),
    ),
    "party-group-unknown": Kind(
        Text("There is no such party group."), Text("Choose one of: {known}.")
    ),
    "level-unknown": Kind(Text("There is no such level."), Text("Choose one of: {known}.")),
    # units
    "code-length": Kind(
        Text("A code of {count} digits belongs to no level; they have {lengths} digits."),
        Text("Correct the code, or have the setting GRIDLOOP_UNIT_CODE_LENGTHS changed."),
    ),
    "level-other": Kind(
        Text("By its code the unit is of the level {level}."),
        Text("Correct the level or the code."),
    ),
    "level-form": Kind(
        Text("The identifier of a level has small letters, digits and underscores."),
        Text("Correct the identifier, for example to: township."),
    ),
    "level-lowest": Kind(
        Text("The lowest level, and no other, has the identifier grid."),
        Text("List the levels from the top down, and call the last one grid."),
    ),
    "levels-in-use": Kind(
        Text("Units of other levels are here already."),
        Text("Take the sheet of levels out of the file, or import it into an empty database."),
    ),
    "code-long": Kind(
        Text("The code has {count} digits, and at most {max} are possible."),
        Text("Give the unit a shorter code."),
    ),
    "parent-of-top": Kind(
        Text("A unit of the topmost level, {level}, lies under no other."),
        Text("Leave the parent empty, or correct the level."),
    ),
    "parent-missing": Kind(
        Text("A unit of the level {level} lies under another one, and none is named."),
        Text("Write the code of the unit above it."),
    ),
    "parent-level": Kind(
        Text("A {level} lies under a {wanted}, and {parent} is a {other}."),
        Text("Correct the parent, the level or the code."),
    ),
    "parent-moved": Kind(
        Text("The unit is known here, and lies under {parent}."),
        Text(
            "Correct the parent or leave it empty; to move the unit, use POST"
            " /v1/units/{unit}/move, as a move needs a day to come."
        ),
    ),
    "grid-code": Kind(
        Text(
            "A grid's code of more than 12 digits begins with the first {digits} digits of its"
            " parent's code ({parent}), and this one does not."
        ),
        Text("Correct the code or the parent, or give the grid a code of at most 12 digits."),
    ),
    "parent-unknown": Kind(
        Text("The unit {parent}, under which it lies, is neither in the file nor known here."),
        Text("Add that unit, or correct the code."),
    ),
    "unit-level-changed": Kind(
        Text("The unit is known here with the level {level}."),
        Text("Give the new unit another code; codes keep their meaning."),
    ),
    "outside": Kind(
        Text("It lies outside the units that you administer: {units}."),
        Text("Leave the row to whoever administers that unit."),
    ),
    "unit-closed": Kind(
        Text("The unit was closed on {day}."),
        Text("Give the unit that looks after it now."),
    ),
    "unit-unknown": Kind(
        Text("There is no such unit, neither in the file nor here."),
        Text("Add it to the sheet of units, or correct the code."),
    ),
    "not-a-grid": Kind(
        Text("The code belongs to no grid, but to a {level}."), Text("Write the code of the grid.")
    ),
    "row-waits": Kind(
        Text("A row that this one rests on is wrong itself."),
        Text("Correct that row, and this one can be taken."),
    ),
    "row-twice": Kind(
        Text("The same stands in row {first} already, with other values."),
        Text("Leave one of the two rows."),
    ),
    # people and posts
    "person-outside": Kind(
        Text("The person also has a post outside the units that you administer."),
        Text("Ask whoever administers a unit above both."),
    ),
    "person-erased": Kind(
        Text("The data of this person was erased, and the account stays empty."),
        Text("Give a person who comes back a new staff code."),
    ),
    "person-unknown": Kind(
        Text("There is no person with this staff code, neither in the file nor here."),
        Text("Add the person to the sheet of people, or correct the staff code."),
    ),
    "membership-differs": Kind(
        Text("Yes or no today, and the days of the party membership, say different things."),
        Text("Correct one of them, or leave yes or no empty."),
    ),
    "membership-reversed": Kind(
        Text("The party membership ends before it begins."), Text("Correct the days.")
    ),
    "membership-overlaps": Kind(
        Text("The days lie in an earlier span of party membership that is recorded here."),
        Text("Correct the days, or all spans with PATCH /v1/cadres/{cadre}."),
    ),
    "person-is-app": Kind(
        Text("An app has this name as its account."), Text("Choose another staff code.")
    ),
    "role-level": Kind(
        Text("This role is held at a {wanted}, and the unit is a {level}."),
        Text("Correct the role or the unit."),
    ),
    "days-reversed": Kind(Text("The post ends before it begins."), Text("Correct the days.")),
    "post-overlaps": Kind(
        Text("The person has the same post from {first} on."),
        Text("Write that first day, or end the earlier post before the new one begins."),
    ),
    "post-no-member": Kind(
        Text("A contact member must be a party member, and this person is none."),
        Text("Correct the sheet of people, or the role."),
    ),
    # households
    "household-twice": Kind(
        Text("The same household stands in row {first} already."),
        Text("Leave one of the two rows, or give each a number of its own."),
    ),
    "household-id-form": Kind(
        Text("This is no id of a household."),
        Text("Leave it as the export has written it, or empty for a new household."),
    ),
    "village-number-twice": Kind(
        Text("Another household of the village has this number, in row {first}."),
        Text("Give each of the two a number of its own, or leave one of the cells empty."),
    ),
    "number-taken": Kind(
        Text("This number is another household's, not that of the household with this id."),
        Text("Correct the number, or leave the cell of the number empty."),
    ),
    "household-elsewhere": Kind(
        Text(
            "The household lives in a grid outside the units for which you import ({units}), so"
            " that you cannot move or change it."
        ),
        Text(
            "Ask whoever administers a unit above both grids to import the row, or give another"
            " household another number."
        ),
    ),
    "household-state-unknown": Kind(
        Text("There is no such state of households."), Text("Choose one of: {known}.")
    ),
    "state-merged": Kind(
        Text("A file cannot say with which household this one was merged."),
        Text("Merge the two in the app, or leave the cell empty."),
    ),
    "member-unknown": Kind(
        Text("There is no person with this staff code, neither in the file nor here."),
        Text("Correct the staff code, or leave the cell empty."),
    ),
    "member-without-post": Kind(
        Text("The person has no post near this grid at present."),
        Text("Add the post to the sheet of posts, or correct the staff code."),
    ),
    "masked-new": Kind(
        Text(
            "The value is masked, and the household is not known here, so that nobody"
            " knows the whole one."
        ),
        Text("Write the whole value, or leave the cell empty."),
    ),
    "held": Kind(
        Text("The household could not be written: {why}"),
        Text("Correct it, or ask for help with this text."),
    ),
}


class Fault(msgspec.Struct, omit_defaults=True):
    """Something that is wrong. `row` is as spreadsheets count; 0: the whole sheet or file. `value`
    is masked where it is personal.

    `what` and `todo`: texts as `sync_protocol.texts.stored` keeps them.
    """

    kind: str
    file: str
    sheet: str
    row: int
    column: str
    value: str
    what: str
    todo: str


class Where(NamedTuple):
    """Where a row stands: the file, the sheet as it is called there, the row."""

    file: str
    sheet: str
    row: int = 0


class Faults(msgspec.Struct):
    """All that was found: the first of them whole, and of each kind how many. `heard`: is told
    each, also those that are not listed.
    """

    listed: list[Fault] = msgspec.field(default_factory=list)
    kinds: dict[str, int] = msgspec.field(default_factory=dict)
    heard: Callable[[Fault], None] | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.kinds.values())

    def add(
        self, where: Where, kind: str, column: str = "", value: str = "", **params: Any
    ) -> None:
        """Notes one. `column`: its header."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if len(self.listed) >= MAX_LISTED and self.heard is None:
            return
        what, todo = KINDS[kind]
        fault = Fault(
            kind,
            where.file,
            where.sheet,
            where.row,
            column,
            value,
            stored(Text(what.id, **params)),
            stored(Text(todo.id, **params)),
        )
        if len(self.listed) < MAX_LISTED:
            self.listed.append(fault)
        if self.heard is not None:
            self.heard(fault)

    def wrong(self, where: Where, column: Column, value: str, wrong: Wrong, title: str) -> None:
        """Notes a value that is not taken. `title`: what the column is called in the file."""
        self.add(where, wrong.kind, title, masked(column, value), **wrong.params)

    def most(self) -> list[tuple[str, int]]:
        """The kinds, those that are met most first."""
        return Counter(self.kinds).most_common()


def in_order(faults: Sequence[Fault], sheets: Sequence[Any]) -> list[Fault]:
    """Faults in the order of files, sheets (each with `file` and `title`) and rows, as who mends
    them goes through the files.
    """
    places = {(sheet.file, sheet.title): place for place, sheet in enumerate(sheets)}

    def place(fault: Fault) -> tuple[int, int]:
        return places.get((fault.file, fault.sheet), -1), fault.row

    return sorted(faults, key=place)


def masked_name(name: str) -> str:
    """A person's name as a report may show it."""
    return name[:1] + "*" * (len(name) > 1)


def masked(column: Column, value: str) -> str:
    """A value as a report may show it."""
    value = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    match column.masked:
        case "":
            return value
        case "name":
            return masked_name(value)
        case "hidden":
            return "***" if value else ""
        case name:
            return str(mask(name, value)) if value else ""


def shown(kept: str) -> str:
    """A sentence of a fault, ready for any language."""
    return restored(kept)
