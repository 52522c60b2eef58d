"""What the simulation remembers of everything that any device ever wrote, and what it checks at the
end.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sync_protocol.messages import Mutation, canonical_json
from sync_protocol.records import KINDS


class Failure(AssertionError):
    """A promise that did not hold."""


def content_of(mutation: Mutation) -> str:
    """What identifies a mutation whatever its number and device: everything that its author
    wrote.
    """
    body = json.loads(mutation.canonical())
    for name in ("base", "epoch", "base_grid"):
        body.pop(name, None)
    return canonical_json(body)


def content_of_body(text: str) -> str:
    """The same, of a body in the mutation log."""
    body = json.loads(text)
    for name in ("base", "epoch", "base_grid"):
        body.pop(name, None)
    return canonical_json(body)


def check(condition: object, promise: str) -> None:
    """Raises `Failure` with the promise when the condition is false."""
    if not condition:
        raise Failure(promise)


def check_accounted(
    log: list[Any],
    held: list[Any],
    conflicts: list[Any],
    records: dict[tuple[str, str], Any],
    knew: Mapping[str, frozenset[str]],
) -> None:
    """Every logged mutation is applied, merged with its losers kept, held, or decided on by a
    person; no seq was taken twice.

    `knew`: the mutations of which the author of a mutation knew, by their contents.
    """
    seen = set()
    for row in log:
        if row["origin"] is None:
            key = (row["device"], row["seq"])
            check(key not in seen, f"promise 1: seq {key} was taken in twice")
            seen.add(key)
    kept_aside = {(str(row["device"]), row["seq"]) for row in held}
    for row in log:
        if row["outcome"] == "held" and row["origin"] is None:
            check(
                (row["device"], row["seq"]) in kept_aside,
                f"promise 2: held mutation {row['device']} {row['seq']} is not kept",
            )
    check_values(log, conflicts, records, knew)


def check_values(
    log: list[Any],
    conflicts: list[Any],
    records: dict[tuple[str, str], Any],
    knew: Mapping[str, frozenset[str]],
) -> None:
    """Each scalar value that was ever applied is there, or lost with a conflict, or replaced by
    someone who knew it.
    """
    writes: dict[tuple[str, str, str], list[tuple[Any, Any]]] = defaultdict(list)
    for row in sorted(
        (row for row in log if row["rev"] is not None),
        key=lambda row: (row["received_at"], row["rev"]),
    ):
        body = json.loads(row["body"])
        for name, value in body["fields"].items():
            if (
                row["kind"] in KINDS
                and name not in KINDS[row["kind"]].sets
                and name not in KINDS[row["kind"]].events
            ):
                writes[row["kind"], row["id"], name].append((row, value))
    lost = {
        (row["kind"], str(row["record"]), row["field"], str(row["lost_device"]), row["lost"])
        for row in conflicts
    }
    moved = {str(row["record"]) for row in conflicts if row["field"] == "grid"}
    for (kind, record, name), line in writes.items():
        stored = records.get((kind, record))
        if stored is None or record in moved:
            continue
        for place, (row, value) in enumerate(line):
            now = stored["fields"].get(name)
            if same(now, value):
                continue
            if (
                kind,
                record,
                name,
                row["device"],
                canonical_json(canonical(kind, name, value)),
            ) in lost:
                continue
            content = content_of_body(row["body"])
            # Revs of two grids have no order: of one device that of its numbers counts, of others
            # what they knew.
            replaced = any(map(resolved, (later for later, _ in line[place + 1 :]))) or any(
                (other["device"] == row["device"] and other["seq"] > row["seq"])
                or content in knew.get(content_of_body(other["body"]), ())
                for other, _ in line
            )
            check(
                replaced,
                f"promise 3: {kind} {record} {name}: the value {value!r} of {row['staff_code']}"
                " vanished without a conflict",
            )


def resolved(row: Any) -> bool:
    """Whether a mutation is a person's decision over REST."""
    return bool(row["server_side"])


def canonical(kind: str, name: str, value: Any) -> Any:
    """A value as the declaration would keep it."""
    field = KINDS[kind].by_name.get(name)
    return field.type.clean(value) if field and value is not None else value


def same(one: Any, two: Any) -> bool:
    """Whether two JSON values are equal."""
    return canonical_json(one) == canonical_json(two)


def check_revisions(heads: dict[str, int], taken: list[tuple[str, int]]) -> None:
    """The revisions of a grid have no gaps and no repeats."""
    by_grid: dict[str, list[int]] = defaultdict(list)
    for grid, rev in taken:
        by_grid[grid].append(rev)
    for grid, revs in by_grid.items():
        check(len(set(revs)) == len(revs), f"revisions of {grid} repeat")
        check(set(revs) == set(range(1, heads[grid] + 1)), f"revisions of {grid} have gaps")
