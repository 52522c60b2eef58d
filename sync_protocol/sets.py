"""Sets: what a mutation does to one, and the field type that holds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from sync_protocol.fields import FieldType, InvalidValue, invalid_type, shortened
from sync_protocol.texts import Text as Sentence


class SetChange(NamedTuple):
    """What a mutation does to a set: elements added and elements removed, each sorted and without
    repeats.
    """

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def wire(self) -> dict[str, list[str]]:
        """As it stands in a mutation."""
        return {
            key: list(items) for key, items in (("add", self.add), ("remove", self.remove)) if items
        }


_ONLY_ADD = {("add",)}
_SET_KEYS = frozenset({"add", "remove"})
SET_CHANGE = Sentence('an object like {"add": […], "remove": […]}')


@dataclass(frozen=True, slots=True)
class SetOf(FieldType):
    """A set of at most `max` elements; a mutation changes it by `{"add": […], "remove": […]}`, a
    record holds the sorted list.
    """

    item: FieldType
    max: int = 50

    def clean(self, value: Any) -> SetChange:
        """The change that a mutation asks for."""
        if type(value) is not dict:
            raise invalid_type(SET_CHANGE, value)
        if len(value) == 1 and "add" in value:
            return SetChange(self._items(value["add"]))
        if not value.keys() <= _SET_KEYS:
            unknown = min(value.keys() - _SET_KEYS)
            raise InvalidValue(
                Sentence("has the unknown key ‘{key}’; use add and remove", key=shortened(unknown))
            )
        change = SetChange(self._items(value.get("add", [])), self._items(value.get("remove", [])))
        if change.add and change.remove and (both := set(change.add) & set(change.remove)):
            raise InvalidValue(
                Sentence(
                    "adds and removes ‘{value}’ at once; do one of the two",
                    value=shortened(min(both)),
                )
            )
        return change

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """Only for additions, which are all that a new record brings."""
        if {*map(type, values)} != {dict} or {*map(tuple, values)} != _ONLY_ADD:
            return None
        added = [value["add"] for value in values]
        if {*map(type, added)} != {list} or max(map(len, added)) > self.max:
            return None
        items = [*chain.from_iterable(added)]
        if items and self.item.clean_many(items) != items:
            return None
        return [*map(_addition, map(tuple, added))]

    def _items(self, value: Any) -> tuple[str, ...]:
        if type(value) is not list:
            raise invalid_type(Sentence("a list"), value)
        if len(value) > self.max:
            raise InvalidValue(
                Sentence(
                    "names {count} elements, at most {max} fit", count=len(value), max=self.max
                )
            )
        if len(value) < 2:
            return (self.item.clean(value[0]),) if value else ()
        return tuple(sorted({self.item.clean(item) for item in value}))

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(), "uniqueItems": True}

    def change_schema(self) -> dict[str, Any]:
        """JSON Schema of the change in a mutation."""
        items = {"type": "array", "items": self.item.schema(), "maxItems": self.max}
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {"add": items, "remove": items},
        }


@lru_cache(maxsize=10_000)
def _addition(items: tuple[str, ...]) -> SetChange:
    return SetChange(tuple(sorted({*items})))
