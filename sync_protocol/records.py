"""The record kinds: each declared once, with the type and the merge policy of every field.

The tables, the wire validation, the OpenAPI schemas, the table in PROTOCOL.md and the merge all
read these declarations. To add a field, add its line here and a migration for its column.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from sync_protocol import limits, vocabulary
from sync_protocol.fields import (
    SET_CHANGE,
    SHA256,
    STAFF_CODE,
    UNIT_CODE,
    Choice,
    Day,
    FieldType,
    Id,
    InvalidValue,
    Moment,
    Month,
    Place,
    SetChange,
    SetOf,
    Text,
    Week,
    Whole,
    invalid_type,
)
from sync_protocol.texts import Text as Sentence
from sync_protocol.texts import Word, text_of


class Policy(StrEnum):
    """What decides when two devices changed the same field without knowing of each other (promise
    4).
    """

    LATEST = "latest"
    SET = "set"
    MOST_SEVERE = "most_severe"
    FIXED = "fixed"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind. `refers` names the kind that an id in it must belong to; `required`
    holds when the record is made.

    `personal`: a text that the server keeps encrypted, and shows whole only to those who may see
    it. `kept`: it stays when the record's personal data is erased: it counts, or orders, and tells
    of nobody.
    """

    name: str
    type: FieldType
    policy: Policy
    zh: str
    required: bool = False
    refers: str | None = None
    personal: bool = False
    kept: bool = False

    @property
    def word(self) -> Word:
        """Its name, as sentences have it."""
        return Word(self.name, self.zh)


@dataclass(frozen=True)
class Kind:
    """A kind of record. `movable`: its grid may change; `append_only`: never edited, never deleted;
    `key`: its natural key.
    """

    name: str
    zh: str
    fields: tuple[Field, ...]
    movable: bool = False
    append_only: bool = False
    key: str | None = None

    @cached_property
    def word(self) -> Word:
        """Its name, as sentences have it."""
        return Word(self.name, self.zh)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The declared fields by name."""
        return {field.name: field for field in self.fields}

    @cached_property
    def cleaners(self) -> Mapping[str, Callable[[Any], Any]]:
        """What brings a value of each field into its canonical form."""
        return {field.name: field.type.clean for field in self.fields}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the declared fields, in order."""
        return tuple(self.by_name)

    @cached_property
    def personal(self) -> frozenset[str]:
        """The fields that the server keeps encrypted."""
        return frozenset(self.personal_names)

    @cached_property
    def personal_names(self) -> tuple[str, ...]:
        """The same in order."""
        return tuple(field.name for field in self.fields if field.personal)

    @cached_property
    def kept(self) -> frozenset[str]:
        """The fields that stay when the personal data of a record is erased."""
        return frozenset(field.name for field in self.fields if field.kept)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The fields that a new record must have."""
        return tuple(field.name for field in self.fields if field.required)

    @cached_property
    def sets(self) -> frozenset[str]:
        """The set fields."""
        return frozenset(field.name for field in self.fields if field.policy is Policy.SET)

    @cached_property
    def events(self) -> tuple[str, ...]:
        """The fields that hold the time of an event, corrected by the phone's offset."""
        return tuple(
            field.name
            for field in self.fields
            if isinstance(field.type, Moment) and field.type.event
        )

    @cached_property
    def references(self) -> tuple[tuple[str, str], ...]:
        """`(field, kind)` for the fields that hold the id of another record."""
        return tuple((field.name, field.refers) for field in self.fields if field.refers)

    @cached_property
    def cadre_fields(self) -> tuple[str, ...]:
        """The fields that name a cadre by staff code."""
        return tuple(field.name for field in self.fields if field.type is STAFF_CODE)

    @cached_property
    def unit_fields(self) -> tuple[str, ...]:
        """The fields that name a unit by its code."""
        return tuple(field.name for field in self.fields if field.type is UNIT_CODE)

    def policy_of(self, name: str) -> Policy:
        """A field's policy; a field that this version does not know is kept by `latest`."""
        field = self.by_name.get(name)
        return field.policy if field else Policy.LATEST

    def severity_order(self, name: str) -> tuple[str, ...]:
        """The words of a `most_severe` field in rising order."""
        kind_type = self.by_name[name].type
        assert isinstance(kind_type, Choice)
        return kind_type.words


class UnfitFields(ValueError):
    """Fields that cannot be taken: `problems` has a text for each field that is wrong, `reason` is
    why they are held; it says them all.
    """

    def __init__(self, problems: Mapping[str, str], reason: str = "fields-wrong") -> None:
        self.problems = dict(problems)
        self.reason = reason
        found = [
            Sentence("{field} {what}", field=name, what=text) for name, text in problems.items()
        ]
        super().__init__(Sentence("{problems}.", problems=found))


# Under this name a mutation keeps what could not be read of it.
UNREADABLE = "unreadable"

# What an unknown field of a newer app may hold (promise 11): kept as it is, within these bounds and
# those of `limits`.
MAX_UNKNOWN_FIELDS = 30
MAX_UNKNOWN_NAME = 60


def clean_fields(kind: Kind, fields: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The canonical values of a mutation's fields, and whether they say just what was sent.

    Sets become a `SetChange`; null clears a field. Raises `UnfitFields` that names every field
    which is wrong.
    """
    cleaned: dict[str, Any] = {}
    problems: dict[str, str] = {}
    as_sent = True
    unknown = 0
    cleaners = kind.cleaners
    for name, value in fields.items():
        clean = cleaners.get(name)
        if clean is not None and value is not None:
            try:
                result = cleaned[name] = clean(value)
            except InvalidValue as error:
                problems[name] = text_of(error)
                continue
            if result is not value and as_sent:
                as_sent = result == value or _says_the_same(kind.by_name[name], result, value)
        elif clean is None:
            unknown += 1
            if (
                unknown > MAX_UNKNOWN_FIELDS
                or len(name) > MAX_UNKNOWN_NAME
                or not name.isidentifier()
            ):
                problems[_printable(name)] = Sentence("is unknown and cannot be kept; leave it out")
            elif name == UNREADABLE:
                problems[name] = Sentence(
                    "names what could not be read, and is no field; leave it out"
                )
            elif (odd := limits.oddity(value)) is not None:
                problems[name] = Sentence("{what}; leave it out", what=odd)
            else:
                cleaned[name] = value
        elif name in kind.sets:
            problems[name] = text_of(invalid_type(SET_CHANGE, None))
        else:
            if name in kind.required:
                problems[name] = Sentence("is needed and cannot be cleared")
            cleaned[name] = None
    if problems:
        labels = {field.name: field.word for field in kind.fields}
        raise UnfitFields({labels.get(name, name): text for name, text in problems.items()})
    if unknown and (size := unknown_bytes(kind, cleaned)) > limits.MAX_UNKNOWN_BYTES:
        raise UnfitFields({"fields": too_much_unknown(size)}, "too-large")
    return cleaned, as_sent


def too_much_unknown(size: int) -> Sentence:
    """Why fields that this version does not know are not kept."""
    return Sentence(
        "hold {size} bytes that this server does not know, at most {max} fit a record",
        size=size,
        max=limits.MAX_UNKNOWN_BYTES,
    )


def clean_many(kind: Kind, many: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The same for many mutations, field by field, if all say just what was sent; None if they have
    to be cleaned one by one.
    """
    cleaned = [{**fields} for fields in many]
    known = 0
    for field in kind.fields:
        name = field.name
        having = [fields for fields in cleaned if name in fields]
        if not having:
            continue
        known += len(having)
        values = [fields[name] for fields in having]
        found = field.type.clean_many(values)
        if found is None:
            return None
        if found is not values:
            for fields, value in zip(having, found, strict=True):
                fields[name] = value
    return cleaned if known == sum(map(len, cleaned)) else None


def clean_columns(kind: Kind, many: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]] | None:
    """The same as columns, one for each field of the kind, with None where a mutation does not have
    it; None as well if it clears one.
    """
    columns: dict[str, Sequence[Any]] = {}
    known = 0
    for field in kind.fields:
        column: Sequence[Any] = [fields.get(field.name) for fields in many]
        values = [value for value in column if value is not None]
        known += len(values)
        found = field.type.clean_many(values) if values else values
        if found is None:
            return None
        if len(values) == len(column):
            column = found
        elif values:
            rest = iter(found)
            column = [None if value is None else next(rest) for value in column]
        columns[field.name] = column
    return columns if known == sum(map(len, many)) else None


# What is cut off a time.
_BELOW_MS = re.compile(r"[.,]\d{3}0*[1-9]")


def _says_the_same(field: Field, result: Any, value: Any) -> bool:
    """Whether a canonical value is what was sent, but for the spelling of a time or an id."""
    if isinstance(result, SetChange):
        if not result.remove and [*result.add] == value.get("add"):
            return True
        return set(result.add) == set(value.get("add", ())) and set(result.remove) == set(
            value.get("remove", ())
        )
    if isinstance(field.type, Id):
        return True
    return isinstance(field.type, Moment) and not _BELOW_MS.search(value)


def _printable(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()[:MAX_UNKNOWN_NAME]


def unknown_bytes(kind: Kind, fields: Mapping[str, Any]) -> int:
    """The bytes of the fields that this version does not know, as JSON."""
    return limits.json_size(
        {name: value for name, value in fields.items() if name not in kind.by_name}
    )


L, T, S, F = Policy.LATEST, Policy.TEXT, Policy.SET, Policy.FIXED
NOTE = Text(4000)

HOUSEHOLD = Kind(
    "household",
    "农牧户",
    (
        Field("head_name", Text(60, min=1), L, "户主", required=True),
        Field("phone", Text(40), L, "电话", personal=True),
        Field("address", Text(200), L, "住址", personal=True),
        Field("members", Whole(0, 99), L, "人口"),
        Field("tags", SetOf(Choice(tuple(vocabulary.TAGS))), S, "类别"),
        Field("contact_member", STAFF_CODE, L, "联系党员", kept=True),
        Field("lead_member", STAFF_CODE, L, "包联干部", kept=True),
        Field("location", Place(), L, "位置"),
        Field("note", NOTE, T, "备注"),
        Field("state", Choice(tuple(vocabulary.HOUSEHOLD_STATES)), L, "在册状态", kept=True),
        Field("state_since", Day(), L, "状态起始日", kept=True),
        Field("merged_into", Id(), L, "并入的农牧户", refers="household", kept=True),
    ),
    movable=True,
)

VISIT = Kind(
    "visit",
    "日走访",
    (
        Field("household_id", Id(), L, "农牧户", refers="household", kept=True),
        Field("visited_at", Moment(event=True), L, "走访时间", required=True, kept=True),
        Field("duties", SetOf(Choice(tuple(vocabulary.DUTIES))), S, "职责类别", kept=True),
        Field("content", NOTE, T, "走访内容"),
        Field("people_met", SetOf(Text(60, min=1)), S, "见到的人"),
        Field("location", Place(), L, "位置"),
        Field("photos", SetOf(SHA256, max=20), S, "照片"),
    ),
)

PROBLEM = Kind(
    "problem",
    "问题",
    (
        Field("visit_id", Id(), L, "走访", refers="visit", kept=True),
        Field("household_id", Id(), L, "农牧户", refers="household", kept=True),
        Field("duty", Choice(tuple(vocabulary.DUTIES)), L, "职责类别", required=True, kept=True),
        Field("category", Text(60), L, "细类"),
        Field("title", Text(200, min=1), L, "标题", required=True),
        Field("detail", NOTE, T, "问题描述"),
        Field(
            "severity",
            Choice(tuple(vocabulary.SEVERITIES)),
            Policy.MOST_SEVERE,
            "紧急程度",
            kept=True,
        ),
        Field("raised_at", Moment(event=True), F, "上报时间", required=True, kept=True),
        Field("location", Place(), L, "位置"),
        Field("photos", SetOf(SHA256, max=20), S, "照片"),
        Field("source", Choice(tuple(vocabulary.SOURCES)), F, "来源", kept=True),
        Field("contact", Text(100), L, "联系方式", personal=True),
    ),
)

STEP = Kind(
    "step",
    "办理步骤",
    (
        Field("problem_id", Id(), F, "问题", required=True, refers="problem", kept=True),
        Field("action", Choice(tuple(vocabulary.ACTIONS)), F, "动作", required=True, kept=True),
        Field("at", Moment(event=True), F, "时间", required=True, kept=True),
        Field("note", NOTE, F, "说明"),
        Field("to_unit", UNIT_CODE, F, "承办单位", kept=True),
        Field("to_cadre", STAFF_CODE, F, "承办人", kept=True),
        Field("satisfied", Choice(tuple(vocabulary.SATISFIED)), F, "群众是否满意", kept=True),
        Field("reason", Choice(tuple(vocabulary.REJECT_REASONS)), F, "不予受理原因", kept=True),
        Field("duplicate_of", Id(), F, "并入的问题", refers="problem", kept=True),
        Field("until", Moment(), F, "延期至", kept=True),
        Field("photos", SetOf(SHA256, max=20), S, "照片"),
    ),
    append_only=True,
)

WEEKLY_ANALYSIS = Kind(
    "weekly_analysis",
    "周分析",
    (
        Field("week", Week(), F, "周", required=True, kept=True),
        Field("situation", NOTE, T, "本周情况"),
        Field("causes", NOTE, T, "原因分析"),
        Field("measures", NOTE, T, "措施"),
        Field("next_week", NOTE, T, "下周打算"),
    ),
    key="week",
)

MONTHLY_SUMMARY = Kind(
    "monthly_summary",
    "月汇总",
    (
        Field("month", Month(), F, "月", required=True, kept=True),
        Field("results", NOTE, T, "成效"),
        Field("shortfalls", NOTE, T, "不足"),
        Field("measures", NOTE, T, "措施"),
        Field("next_month", NOTE, T, "下月打算"),
    ),
    key="month",
)

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (HOUSEHOLD, VISIT, PROBLEM, STEP, WEEKLY_ANALYSIS, MONTHLY_SUMMARY)
}

# kind -> its personal fields, for the kinds that have any
PERSONAL: dict[str, frozenset[str]] = {
    kind.name: kind.personal for kind in KINDS.values() if kind.personal
}

# What stands for a text that a record must have, once the personal data of the record was erased.
ERASED = "（已删除）"

# The windows of a first pull (promise 13).
VISIT_DAYS = 62
CLOSED_PROBLEM_DAYS = 62
ANALYSIS_WEEKS = 26
SUMMARY_MONTHS = 13
ARTICLE_DAYS = 365
