"""How a kind of record is declared: its fields, their types, and how each is merged."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from sync_protocol.fields import STAFF_CODE, UNIT_CODE, WORD, Choice, FieldType
from sync_protocol.moments import Moment
from sync_protocol.sets import SetOf
from sync_protocol.texts import Word


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

    `list`: the list of the vocabulary whose words it holds, where the server may add to that.

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
    list: str | None = None

    @property
    def word(self) -> Word:
        """Its name, as sentences have it."""
        return Word(self.name, self.zh)


@dataclass(frozen=True)
class Kind:
    """A kind of record. `movable`: its grid may change; `append_only`: never edited, never deleted;
    `key`: the fields of its natural key. `of_units`: it lies in the feed of a unit of any level,
    not only of a grid.
    """

    name: str
    zh: str
    fields: tuple[Field, ...]
    movable: bool = False
    append_only: bool = False
    key: tuple[str, ...] = ()
    of_units: bool = False

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

    @cached_property
    def listed(self) -> tuple[tuple[str, str], ...]:
        """`(field, list)` for the fields that hold words of a list to which may be added."""
        return tuple((field.name, field.list) for field in self.fields if field.list)

    def policy_of(self, name: str) -> Policy:
        """A field's policy; a field that this version does not know is kept by `latest`."""
        field = self.by_name.get(name)
        return field.policy if field else Policy.LATEST

    def severity_order(self, name: str) -> tuple[str, ...]:
        """The words of a `most_severe` field in rising order."""
        kind_type = self.by_name[name].type
        assert isinstance(kind_type, Choice)
        return kind_type.words


def with_words(kind: Kind, words: Mapping[str, Collection[str]]) -> Kind:
    """A kind whose fields take these words, by list, beside those of the declaration."""

    def widened(field: Field) -> Field:
        more = words.get(field.list) if field.list else None
        if not more:
            return field
        outer = field.type
        item = outer.item if isinstance(outer, SetOf) else outer
        assert isinstance(item, Choice)
        choice = Choice((*item.words, *(word for word in more if word not in item.words)))
        return replace(field, type=SetOf(choice, outer.max) if isinstance(outer, SetOf) else choice)

    return replace(kind, fields=tuple(map(widened, kind.fields)))


def with_any_words(kind: Kind) -> Kind:
    """A kind whose fields take any word where a list may hold more than the declaration."""

    def widened(field: Field) -> Field:
        if field.list is None:
            return field
        if isinstance(field.type, SetOf):
            return replace(field, type=SetOf(WORD, field.type.max))
        return replace(field, type=WORD)

    return replace(kind, fields=tuple(map(widened, kind.fields)))
