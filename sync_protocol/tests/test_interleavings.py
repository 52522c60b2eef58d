"""The merge over all short interleavings and over random histories: a conflict is a fact, and
nothing vanishes.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_protocol.kinds import Kind
from sync_protocol.merge import create, merge
from sync_protocol.record_state import Edit, Loss, Record
from sync_protocol.records import HOUSEHOLD, PROBLEM
from sync_protocol.sets import SetChange

GRID = "150202100200001"
FIRST = "ffffffff"


class Phone:
    """A phone that edits one field and syncs: at a sync all its edits arrive, and it learns the
    head.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.base = 1
        self.waiting: list[Edit] = []


def edit(device: str, base: int, stamp: int, **fields: Any) -> Edit:
    return Edit("id", GRID, "put", base, f"{stamp:016x}", device, device, fields)


def live(
    kind: Kind, first: dict[str, Any], script: tuple[str, ...], field: str
) -> tuple[Record, list[Loss], list[tuple[Edit, int]]]:
    """Lives through a script of `a`, `b` (the phone edits) and `A`, `B` (it syncs), then syncs
    both.

    Returns the record, the losses, and every edit with its rev.
    """
    phones = {"a": Phone("aaaaaaaa"), "b": Phone("bbbbbbbb")}
    record = create(kind, edit(FIRST, 0, 1, **first), 1)
    rev, losses, arrived = 1, [], []
    for stamp, action in enumerate((*script, "A", "B"), 2):
        phone = phones[action.lower()]
        if action.islower():
            phone.waiting.append(edit(phone.name, phone.base, stamp, **{field: f"{action}{stamp}"}))
            continue
        for item in phone.waiting:
            rev += 1
            losses += merge(kind, record, item, rev).losses
            arrived.append((item, rev))
        phone.waiting = []
        phone.base = rev
    return record, losses, arrived


def scripts(length: int) -> Iterator[tuple[str, ...]]:
    return itertools.product("abAB", repeat=length)


@pytest.mark.parametrize("length", range(1, 7))
def test_every_lost_value_of_every_short_interleaving_is_a_true_conflict(length: int) -> None:
    """A value is in conflict exactly when neither side knew of the other; whatever vanished unknown
    is among the losses.
    """
    for script in scripts(length):
        record, losses, arrived = live(HOUSEHOLD, {"head_name": "x", "phone": "0"}, script, "phone")
        revs = {item.fields["phone"]: (item, rev) for item, rev in arrived}
        for loss in losses:
            kept, lost = revs[loss.kept], revs[loss.lost]
            assert kept[0].device != lost[0].device, script
            later = max(kept, lost, key=lambda pair: pair[1])
            earlier = min(kept, lost, key=lambda pair: pair[1])
            assert later[0].base < earlier[1], (script, "the later one knew the earlier one")
        for value, (item, rev) in revs.items():
            if record.fields["phone"] == value or any(loss.lost == value for loss in losses):
                continue
            knew = any(
                other_rev > rev and (other.device == item.device or other.base >= rev)
                for other, other_rev in revs.values()
            )
            assert knew, (script, f"{value} vanished")


@pytest.mark.parametrize("length", range(1, 6))
def test_without_concurrent_edits_no_interleaving_conflicts(length: int) -> None:
    for script in scripts(length):
        # Each phone syncs before it edits and right after: nobody edits without knowing.
        known = tuple(
            itertools.chain.from_iterable(
                (action.upper(), action, action.upper()) for action in script if action.islower()
            )
        )
        _, losses, _ = live(HOUSEHOLD, {"head_name": "x", "phone": "0"}, known, "phone")
        assert losses == [], script


STAMPS = st.integers(2, 9)
DEVICES = st.sampled_from(["aaaaaaaa", "bbbbbbbb", "cccccccc"])
CONCURRENT = st.lists(
    st.tuples(DEVICES, STAMPS, st.sampled_from(["1", "2", "3"])),
    min_size=2,
    max_size=3,
    unique_by=lambda item: item[0],
)


@given(CONCURRENT, st.randoms())
@settings(max_examples=300, deadline=None)
def test_what_survives_of_concurrent_edits_does_not_depend_on_their_order(
    items: list[tuple[str, int, str]], rng: Any
) -> None:
    results = []
    for _ in range(2):
        record = create(HOUSEHOLD, edit(FIRST, 0, 1, head_name="x", phone="0"), 1)
        losses: list[Loss] = []
        for rev, (device, stamp, value) in enumerate(items, 2):
            losses += merge(HOUSEHOLD, record, edit(device, 1, stamp, phone=value), rev).losses
        survived = record.fields["phone"]
        results.append(survived)
        written = {value for _, _, value in items}
        assert written <= {survived} | {loss.lost for loss in losses}
        rng.shuffle(items)
    assert results[0] == results[1]


SEVERITIES = ["ordinary", "urgent", "emergency"]


@given(
    CONCURRENT.map(
        lambda items: [(device, SEVERITIES[int(value) - 1]) for device, _, value in items]
    ),
    st.randoms(),
)
@settings(max_examples=200, deadline=None)
def test_the_most_severe_survives_in_any_order(items: list[tuple[str, str]], rng: Any) -> None:
    rng.shuffle(items)
    record = create(PROBLEM, edit(FIRST, 0, 1, severity="ordinary"), 1)
    for rev, (device, severity) in enumerate(items, 2):
        merge(PROBLEM, record, edit(device, 1, rev, severity=severity), rev)
    assert record.fields["severity"] == max(
        (severity for _, severity in items), key=SEVERITIES.index
    )


TAGS = st.lists(st.sampled_from(["veteran", "disabled", "low_income"]), max_size=2, unique=True)


@given(st.lists(st.tuples(TAGS, TAGS), min_size=2, max_size=3), st.randoms())
@settings(max_examples=300, deadline=None)
def test_of_set_edits_every_addition_survives_concurrent_removals_in_any_order(
    changes: list[tuple[list[str], list[str]]], rng: Any
) -> None:
    plain = [
        (f"{place}" * 8, set(add), set(remove) - set(add))
        for place, (add, remove) in enumerate(changes)
    ]
    results = []
    for _ in range(2):
        record = create(
            HOUSEHOLD, edit(FIRST, 0, 1, head_name="x", tags=SetChange(add=("veteran",))), 1
        )
        for rev, (device, add, remove) in enumerate(plain, 2):
            merge(
                HOUSEHOLD,
                record,
                edit(device, 1, rev, tags=SetChange(tuple(sorted(add)), tuple(sorted(remove)))),
                rev,
            )
        results.append(record.fields.get("tags", []))
        added = set().union(*(add for _, add, _ in plain))
        removed = set().union(*(remove for _, _, remove in plain))
        assert results[-1] == sorted(({"veteran"} - removed) | added)
        rng.shuffle(plain)
    assert results[0] == results[1]


@given(DEVICES, STAMPS, st.sampled_from(["1", "2"]), DEVICES, STAMPS, st.sampled_from(["1", "2"]))
@settings(max_examples=200, deadline=None)
def test_twice_is_once(one: str, first: int, value: str, two: str, second: int, other: str) -> None:
    """The same edit once more, as it comes from a phone that lost everything and numbers anew,
    changes no value.
    """
    record = create(HOUSEHOLD, edit(FIRST, 0, 1, head_name="x", phone="0"), 1)
    merge(HOUSEHOLD, record, edit(one, 1, first, phone=value), 2)
    merge(HOUSEHOLD, record, edit(two, 1, second, phone=other), 3)
    before = dict(record.fields)
    again = merge(HOUSEHOLD, record, edit(one, 1, first, phone=value), 4)
    assert record.fields == before or one == two
    assert all(loss.lost != loss.kept for loss in again.losses)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["aaaaaaaa", "bbbbbbbb"]),
        st.integers(0, 4),
        STAMPS,
        st.sampled_from(["put", "put", "put", "delete"]),
        st.sampled_from(["phone", "note", "tags"]),
        st.sampled_from(["1", "2"]),
    ),
    max_size=8,
)


@given(EDITS)
@settings(max_examples=500, deadline=None)
def test_nothing_vanishes(history: list[tuple[str, int, int, str, str, str]]) -> None:
    """Every value that was ever applied is there, or lost with a conflict, or was replaced by
    someone who knew it.
    """
    record = create(HOUSEHOLD, edit(FIRST, 0, 1, head_name="x"), 1)
    losses: list[Loss] = []
    line = []
    for rev, (device, behind, stamp, op, field, value) in enumerate(history, 2):
        change: Any = (
            SetChange(add=("veteran" if value == "1" else "disabled",))
            if field == "tags"
            else value
        )
        item = edit(
            device, max(1, rev - 1 - behind), stamp, **({} if op == "delete" else {field: change})
        )
        item.op = op
        losses += merge(HOUSEHOLD, record, item, rev).losses
        line.append((item, rev))
    for item, rev in line:
        for field, value in item.fields.items():
            if isinstance(value, SetChange):
                assert set(value.add) <= set(record.fields["tags"])
                continue
            if record.fields.get(field) == value or any(
                loss.field == field and loss.lost == value for loss in losses
            ):
                continue
            assert any(
                other_rev > rev
                and field in other.fields
                and (other.device == item.device or other.base >= rev)
                for other, other_rev in line
            ), f"{field}={value} of rev {rev} vanished"
