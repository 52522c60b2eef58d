"""What is shown beside codes: what units, people and devices are called, and the words of lists."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple

from service.pages import name_queries as queries
from service.pages.page import Visit
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.terms import Vocabulary
from service.writes.queries import SERVER_PLATFORM
from sync_protocol import vocabulary
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import Label

# The lists that nobody edits.
_CLOSED: Mapping[str, Mapping[str, Label]] = {
    "state": vocabulary.STATES,
    "action": vocabulary.ACTIONS,
    "source": vocabulary.SOURCES,
    "reason": vocabulary.REJECT_REASONS,
    "satisfied": vocabulary.SATISFIED,
    "household_state": vocabulary.HOUSEHOLD_STATES,
    "tie_kind": vocabulary.TIE_KINDS,
    "finding": vocabulary.FINDINGS,
}


class Words:
    """The words of lists in both languages, as of a day."""

    def __init__(self, edited: Vocabulary, day: date) -> None:
        self._edited = edited
        self._day = day

    def of(self, name: str, code: str | None) -> Word:
        """What a word of a list is called; one that no list has by its code."""
        label = self._labels(name).get(code or "")
        if label is None:
            return Word(code or "–", code or "–")
        return Word(label.en or label.zh, label.zh)

    def choices(self, name: str) -> list[tuple[str, Word]]:
        """All words of a list, in order."""
        return [(code, self.of(name, code)) for code in self._labels(name)]

    def _labels(self, name: str) -> Mapping[str, Label]:
        closed = _CLOSED.get(name)
        return self._edited.labels(name, self._day) if closed is None else closed


async def words_of(visit: Visit) -> Words:
    """The words of today."""
    async with visit.state.database.reading() as connection:
        reference = await current_reference_data(connection)
    return Words(reference.vocabulary, visit.caller.today)


class Names(NamedTuple):
    """Names by code."""

    units: Mapping[str, str]
    above: Mapping[str, str]
    cadres: Mapping[str, str]
    devices: Mapping[str, str | Text]

    def unit(self, code: str | None) -> str:
        """A unit by its name, or by its code where it has none."""
        return self.units.get(code or "", code or "")

    def place(self, code: str) -> str:
        """A grid with the village in front of it, unless its name has that in it."""
        above, name = self.units.get(self.above.get(code, "")), self.unit(code)
        return f"{above} · {name}" if above and above not in name else name

    def cadre(self, code: str | None) -> str:
        """Somebody by name, or by staff code."""
        return self.cadres.get(code or "") or code or ""

    def device(self, id: str) -> str | Text:
        """A device by name."""
        return self.devices.get(id) or Text("a device without a name")


async def names_of(
    visit: Visit,
    units: Iterable[str | None] = (),
    cadres: Iterable[str | None] = (),
    devices: Iterable[str] = (),
) -> Names:
    """What some units, people and devices are called."""
    caller = visit.caller
    codes = {code for code in units if code}
    above = {}
    for code in codes:
        lies_in = caller.tree.above(code, caller.today)
        if lies_in:
            above[code] = lies_in[0]
    people, phones = {code for code in cadres if code}, {*devices}
    async with visit.state.database.reading() as connection:
        unit_rows = await queries.unit_names(connection, [*codes | {*above.values()}])
        cadre_rows = await queries.cadre_names(connection, [*people]) if people else []
        device_rows = await queries.device_names(connection, [*phones]) if phones else []
    return Names(
        {row["code"]: row["name"] for row in unit_rows},
        above,
        {row["staff_code"]: row["name"] for row in cadre_rows},
        {row["id"]: _device(row["name"], row["platform"]) for row in device_rows},
    )


def _device(name: str, platform: str) -> str | Text:
    if platform == SERVER_PLATFORM:
        return Text("in the browser or by a program")
    return name
