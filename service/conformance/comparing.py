"""What a client sent or holds beside what was wanted: what differs, without what is left to a
client.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from service.conformance.transcripts import Step
from sync_protocol.cleaning import UnfitFields, clean_fields
from sync_protocol.periods import to_ms
from sync_protocol.records import KINDS
from sync_protocol.sets import SetChange

_KNOWN_KINDS = {*KINDS, "article"}
ABSENT = "–"
_SHOWN_CHARACTERS = 300


def comparable(key: str, value: Any, came: Step) -> Iterator[Any]:
    """A part of a phone's state as plain items in order."""
    if not isinstance(value, list):
        yield value
        return
    items = [
        item
        for item in value
        if not isinstance(item, dict)
        or key in ("held", "conflicts")
        or item.get("kind") in _KNOWN_KINDS
    ]
    if key == "pending":
        yield from items
        return
    plain = [
        {name: item[name] for name in item if not (name == "rev" and item.get("stale"))}
        for item in items
    ]
    yield from sorted(
        plain, key=lambda item: json.dumps([item.get("kind"), item.get("id"), item], sort_keys=True)
    )


def without_optional(wanted: list[Any], came: list[Any]) -> tuple[list[Any], list[Any]]:
    """Records without what a client may keep or not: tombstones with their fields, and which
    records are stale.
    """
    live = {(item.get("kind"), item.get("id")) for item in came}
    wanted = [
        item for item in wanted if not item.get("deleted") or (item["kind"], item["id"]) in live
    ]
    stale = {(item["kind"], item["id"]) for item in wanted if item.get("stale")}

    def plain(item: Any) -> Any:
        left_out = {"stale"} | ({"rev"} if (item.get("kind"), item.get("id")) in stale else set())
        left_out |= {"fields"} if item.get("deleted") else {"deleted"}
        return {name: value for name, value in item.items() if name not in left_out}

    return [plain(item) for item in wanted], [plain(item) for item in came]


def canonical(kind: str, fields: Any) -> Any:
    """Fields of a mutation in their canonical form, or as they are where they have none."""
    try:
        cleaned, _ = clean_fields(KINDS[kind], fields)
    except (KeyError, UnfitFields, AttributeError):
        return fields
    return {
        name: value.wire() if isinstance(value, SetChange) else value
        for name, value in cleaned.items()
    }


def plain_value(key: str, value: Any) -> Any:
    """A part of a request without what is left to a client: how a time is written, and orders."""
    if key == "sent_at":
        try:
            return to_ms(datetime.fromisoformat(str(value).upper()))
        except (ValueError, TypeError):
            return value
    if key == "again":
        return sorted(value or [])
    if key == "grids":
        return sorted(value or [], key=lambda item: str(item.get("grid")))
    return value


def differing(one: Any, other: Any) -> tuple[Any, Any]:
    """Two JSON values without what is the same in both: members of objects, and elements of
    lists.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = {
            name: differing(one.get(name, ABSENT), other.get(name, ABSENT))
            for name in {**one, **other}
        }
        named = {
            name: one[name]
            for name in ("seq", "kind", "id")
            if name in one and one.get(name) == other.get(name)
        }
        parts = [
            {name: pair[place] for name, pair in pairs.items() if pair != (None, None)}
            for place in (0, 1)
        ]
        return (
            (named | parts[0], named | parts[1])
            if any(pair != (None, None) for pair in pairs.values())
            else (None, None)
        )
    if isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other):
            some = [pair for pair in map(differing, one, other) if pair != (None, None)]
        else:
            some = [(item, ABSENT) for item in one if item not in other] + [
                (ABSENT, item) for item in other if item not in one
            ]
        lists = (
            [[item for item in items if item != ABSENT] for items in zip(*some, strict=True)]
            if some
            else None
        )
        return (lists[0], lists[1]) if lists else (None, None)
    return (None, None) if one == other else (one, other)


def shortened(value: Any) -> str:
    """A value as it is shown in a finding."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
