"""What the page of decisions shows of conflicts and held mutations, from the answers of REST."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from service.identity.access import Caller
from service.identity.rights import may_settle, may_write
from service.inbox.answers import AboutOut, ConflictOut, HeldOut
from service.kit.localization import Language, in_language
from service.pages.dates import day_name, period_name
from service.pages.held_fields import HeldField, fields_of
from service.pages.names import Names, Words
from service.pages.values import Piece, Written, differences, field_name, kind_name, written
from sync_protocol.periods import local_day, named
from sync_protocol.texts import Text

# What is held for each reason, in few words; the answer of REST says more of each.
REASONS: Mapping[str, Text] = {
    "unreadable": Text("Cannot be read"),
    "too-large": Text("Too large"),
    "kind-unknown": Text("Of a newer app"),
    "fields-wrong": Text("A value is wrong"),
    "fields-missing": Text("Something is missing"),
    "record-missing": Text("The record is not here"),
    "reference-missing": Text("Refers to a record that is not here"),
    "id-wrong": Text("The id does not fit"),
    "grid-unknown": Text("There is no such grid"),
    "grid-mismatch": Text("Belongs to another grid"),
    "not-allowed": Text("The author had no right to it"),
    "needs-acceptance": Text("A move that waits for acceptance"),
    "device-revoked": Text("From a phone that was revoked"),
    "late-after-post": Text("Came long after the post had ended"),
    "stamp-too-old": Text("Dated before the phone was registered"),
    "append-only": Text("Steps cannot be deleted"),
    "reference-outside": Text("Names somebody or something elsewhere"),
    "erased": Text("Of somebody whose data was erased"),
}


# The fields by whose beginning a row is known that names no household.
_TEXTS = ("content", "note", "detail", "situation", "results")
_SHORT = 24


class Alike(NamedTuple):
    """Rows that are alike: the value of the filter, in words, and how many there are."""

    key: str
    label: list[Written]
    size: int


class Row(NamedTuple):
    """A row of the table: of what kind it is, whom or what it is about, where, and when it came.
    `after`: the row that opens when this one is decided.
    """

    id: str
    about: list[Written]
    subject: list[Written]
    place: str
    who: str
    at: datetime
    after: str
    may_decide: bool


class Side(NamedTuple):
    """One of the two values: `pieces` in which what differs is marked."""

    choice: str
    pieces: list[Piece]
    by: str
    staff_code: str
    device: str | Text
    at: datetime


class OpenedConflict(NamedTuple):
    """A conflict as it is decided. `differs`: whether what is shown of the values differs."""

    id: str
    rule: str
    sides: list[Side]
    differs: bool


class OpenedHeld(NamedTuple):
    """A held mutation as it is decided."""

    id: str
    reason: Text | str
    detail: str
    normalised: bool
    device: str | Text
    fields: list[HeldField]
    is_delete: bool
    may_release: bool
    may_discard: bool
    may_correct: bool


def conflict_key(item: ConflictOut) -> str:
    """By what conflicts are alike: kind and field."""
    return f"{item.kind}.{item.field}"


def conflicts_alike(items: Iterable[ConflictOut]) -> list[Alike]:
    """The kinds and fields of conflicts, the most frequent first."""
    counts = Counter((item.kind, item.field) for item in items)
    return [
        Alike(f"{kind}.{field}", [kind_name(kind), field_name(kind, field)], count)
        for (kind, field), count in counts.most_common()
    ]


def held_alike(items: Iterable[HeldOut]) -> list[Alike]:
    """The reasons of held mutations, the most frequent first."""
    counts = Counter(item.reason for item in items)
    return [
        Alike(reason, [REASONS.get(reason, reason)], count)
        for reason, count in counts.most_common()
    ]


def conflict_rows(items: Sequence[ConflictOut], names: Names, caller: Caller) -> list[Row]:
    """The table of conflicts."""
    return [
        Row(
            item.id,
            [kind_name(item.kind), field_name(item.kind, item.field)],
            subject_of(item.about),
            names.place(item.grid),
            f"{names.cadre(item.kept_by)} / {names.cadre(item.lost_by)}",
            item.created_at,
            after,
            may_settle(caller.posts, item.grid, caller.now),
        )
        for item, after in zip(items, _following(items), strict=True)
    ]


def held_rows(items: Sequence[HeldOut], names: Names, caller: Caller) -> list[Row]:
    """The table of held mutations."""
    return [
        Row(
            item.id,
            [kind_name(item.kind), REASONS.get(item.reason, item.reason)],
            subject_of(item.about) or _beginning(item),
            names.place(item.grid),
            names.cadre(item.staff_code),
            item.received_at,
            after,
            may_settle(caller.posts, item.grid, caller.now) or item.staff_code == caller.staff_code,
        )
        for item, after in zip(items, _following(items), strict=True)
    ]


def subject_of(about: AboutOut | None) -> list[Written]:
    """Whom or what a row is about: the head of the household, the title, the day or the period."""
    if about is None:
        return []
    found: list[Written] = [text for text in (about.head_name, about.title) if text]
    if about.visited_at is not None:
        day = day_name(local_day(about.visited_at))
        found.append(Text("visit of {day}", day=day))
    if about.period:
        found.append(_period(about.period))
    return found


def _beginning(item: HeldOut) -> list[Written]:
    """How the text begins of what names nobody."""
    fields = item.mutation.get("fields")
    if not isinstance(fields, dict):
        return []
    texts = [fields[name] for name in _TEXTS if isinstance(fields.get(name), str)]
    return [text if len(text) <= _SHORT else f"{text[:_SHORT]}…" for text in texts[:1] if text]


def _period(name: str) -> Written:
    try:
        return period_name(named(name))
    except ValueError:
        return name


def _following(items: Sequence[ConflictOut] | Sequence[HeldOut]) -> list[str]:
    ids = [item.id for item in items]
    return [*ids[1:], ids[0] if len(ids) > 1 else ""][: len(ids)]


def opened_conflict(
    item: ConflictOut, words: Words, names: Names, language: Language
) -> OpenedConflict:
    """Both values with what differs in them."""
    kept, lost = (
        joined(written(item.kind, item.field, value, words, names), language)
        for value in (item.kept, item.lost)
    )
    left, right = differences(kept, lost)
    return OpenedConflict(
        item.id,
        item.rule.partition(": ")[2] or item.rule,
        [
            Side(
                "kept",
                left,
                names.cadre(item.kept_by),
                item.kept_by,
                names.device(item.kept_device),
                item.kept_at,
            ),
            Side(
                "lost",
                right,
                names.cadre(item.lost_by),
                item.lost_by,
                names.device(item.lost_device),
                item.lost_at,
            ),
        ],
        kept != lost,
    )


def joined(parts: Iterable[Written], language: Language) -> str:
    """Parts of a value one after another."""
    return ("、" if language == "zh" else ", ").join(in_language(part, language) for part in parts)


def opened_held(
    item: HeldOut, words: Words, names: Names, caller: Caller, typed: Mapping[str, str]
) -> OpenedHeld:
    """The mutation with the reason, and what may be done with it."""
    settles = may_settle(caller.posts, item.grid, caller.now)
    corrects = settles and may_write(caller.posts, item.kind, item.grid, caller.now)
    is_own = item.staff_code == caller.staff_code
    return OpenedHeld(
        item.id,
        REASONS.get(item.reason, item.reason),
        item.detail,
        item.normalised,
        names.device(item.device),
        fields_of(item, words, names, caller, corrects, typed),
        item.mutation.get("op") == "delete",
        settles,
        settles or is_own,
        corrects,
    )


def codes_in(item: ConflictOut | HeldOut) -> set[str]:
    """Everything in an item that may be a staff code or a unit."""
    found: set[str] = set()
    if isinstance(item, ConflictOut):
        found |= {item.kept_by, item.lost_by}
        found |= {value for value in (item.kept, item.lost) if isinstance(value, str)}
    else:
        found.add(item.staff_code)
        fields = item.mutation.get("fields")
        if isinstance(fields, dict):
            found |= {value for value in fields.values() if isinstance(value, str)}
    return {code for code in found if len(code) <= 40 and "\0" not in code and _is_text(code)}


def _is_text(text: str) -> bool:
    return json.dumps(text, ensure_ascii=False).isprintable()
