"""How a kind of record is declared: its fields, their types, and how each is merged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from sync_protocol.fields import STAFF_CODE, UNIT_CODE, Choice, FieldType
from sync_protocol.moments import Moment
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
