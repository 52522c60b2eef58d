"""What the pages of problems show, from the answers of REST."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.inbox.answers import ConflictOut
from service.kit.localization import Language
from service.pages.inbox_view import joined
from service.pages.names import Names, Words
from service.pages.values import Written, field_name, written
from service.problems.answers import ProblemDetail, ProblemItem, TimelineStep
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import STATES

# The columns of the board, and the states in each.
COLUMNS: tuple[tuple[str, ...], ...] = (
    ("raised",),
    ("accepted",),
    ("assigned",),
    ("handling",),
    ("returned", "reopened"),
    ("resolved",),
)
_SHOWN = 20
# What else the record may have, in order.
_MORE = (
    *("contact", "location", "parties", "dispute_kind", "mediator", "agreement"),
    "second_visit_at",
)
# What comes so much later than it was written is told.
_LATE = timedelta(hours=12)


class Said(NamedTuple):
    """What a page says at its head."""

    text: Text | str
    is_bad: bool = False


class Row(NamedTuple):
    """A problem of a list, in words."""

    id: str
    number: str
    title: str
    place: str
    state: Word
    severity: Word
    is_urgent: bool
    duty: Word
    raised_at: datetime
    raised_by: str
    handler: str
    due: datetime | None
    overdue: bool
    is_escalated: bool


class Column(NamedTuple):
    """A column of the board: its states, the first of its problems, and how many there are."""

    states: list[Word]
    state: str
    ids: list[str]
    size: int


def row_of(item: ProblemItem, words: Words, names: Names) -> Row:
    """A problem as a row or a card."""
    return Row(
        item.id,
        item.number,
        item.title,
        names.place(item.grid),
        words.of("state", item.state),
        words.of("severity", item.severity),
        item.severity != "ordinary",
        words.of("duty", item.duty),
        item.raised_at,
        names.cadre(item.raised_by),
        names.cadre(item.handler_cadre) if item.handler_cadre else names.unit(item.handler_unit),
        item.due,
        item.overdue,
        item.escalated > 0,
    )


def columns_of(items: Sequence[ProblemItem]) -> list[Column]:
    """The board: what is overdue stands first in each column."""
    found = []
    for states in COLUMNS:
        ids = [one.id for one in sorted(items, key=lambda one: not one.overdue)
               if one.state in states]  # fmt: skip
        labels = [Word(STATES[state].en, STATES[state].zh) for state in states]
        found.append(Column(labels, states[0], ids[:_SHOWN], len(ids)))
    return found


class Case(NamedTuple):
    """A problem: its row, its texts, and what else is known of it, in words."""

    row: Row
    detail: str
    facts: list[tuple[Written, str | Text | Word]]
    household: str | None
    duplicate_of: str | None
    photos: int


def case_of(found: ProblemDetail, words: Words, names: Names) -> Case:
    """The head of a problem's page."""
    row = row_of(found, words, names)
    facts: list[tuple[Written, str | Text | Word]] = [(Text("Number of the problem"), row.number)]
    facts.append((Text("Duty"), row.duty))
    if found.category:
        facts.append((field_name("problem", "category"), words.of("category", found.category)))
    if found.source:
        facts.append((field_name("problem", "source"), words.of("source", found.source)))
    facts.append((Text("In the hands of"), row.handler))
    for name in _MORE:
        value = found.fields.get(name)
        if value is not None:
            parts = written("problem", name, value, words, names)
            facts += [(field_name("problem", name), part) for part in parts]
    if found.resolved_by:
        facts.append((Text("Resolved by"), names.cadre(found.resolved_by)))
    if found.satisfied:
        facts.append((field_name("step", "satisfied"), words.of("satisfied", found.satisfied)))
    if found.reason:
        facts.append((field_name("step", "reason"), words.of("reason", found.reason)))
    photos = found.fields.get("photos")
    return Case(
        row,
        found.detail or "",
        facts,
        found.household_id,
        found.duplicate_of,
        len(photos) if isinstance(photos, list) else 0,
    )


class Entry(NamedTuple):
    """A step of the timeline. `ineffective`: why it changed nothing; `arrived`: when it came, if
    that was much later than it was written.
    """

    id: str
    action: Word
    at: datetime | None
    by: str
    staff_code: str
    device: str | Text
    state: Word
    note: str
    details: list[tuple[Written, list[Written]]]
    ineffective: str | None
    arrived: datetime | None
    minutes_off: int | None


def timeline_of(found: ProblemDetail, words: Words, names: Names) -> list[Entry]:
    """The steps in the order in which they happened."""
    return [_entry(step, words, names) for step in found.steps]


def _entry(step: TimelineStep, words: Words, names: Names) -> Entry:
    details = [
        (field_name("step", name), written("step", name, value, words, names))
        for name, value in step.fields.items()
        if name not in ("note", "at", "action", "photos", "problem_id") and value is not None
    ]
    is_late = step.at is not None and step.received_at - step.at > _LATE
    offset = step.clock_offset_ms
    return Entry(
        step.id,
        words.of("action", step.action),
        step.at,
        step.name or step.by,
        step.by,
        names.device(step.device),
        words.of("state", step.state),
        str(step.fields.get("note") or ""),
        details,
        step.ineffective,
        step.received_at if is_late else None,
        round(offset / 60_000) if offset else None,
    )


class Lost(NamedTuple):
    """A value of the problem that lost to another."""

    id: str
    field: Written
    kept: str
    kept_by: str
    lost: str
    lost_by: str
    is_open: bool


def lost_of(
    items: Iterable[ConflictOut], words: Words, names: Names, language: Language
) -> list[Lost]:
    """What lost, in words."""
    return [
        Lost(
            item.id,
            field_name(item.kind, item.field),
            joined(written(item.kind, item.field, item.kept, words, names), language),
            names.cadre(item.kept_by),
            joined(written(item.kind, item.field, item.lost, words, names), language),
            names.cadre(item.lost_by),
            item.resolved_at is None,
        )
        for item in items
    ]


def outcome_of(found: ProblemDetail, step: str) -> Said | None:
    """What came of the step that was just taken."""
    taken = next((one for one in found.steps if one.id == step), None)
    if taken is None:
        return None
    if taken.ineffective:
        return Said(Text("The step is kept, but changed nothing: {why}", why=taken.ineffective),
                    is_bad=True)  # fmt: skip
    return Said(Text("The step is kept."))


def values_of(found: ProblemDetail, name: str) -> list[str]:
    """What the steps say in a field."""
    values: Iterable[Mapping[str, Any]] = (step.fields for step in found.steps)
    return [value for fields in values if isinstance(value := fields.get(name), str)]
