"""Many looked at together or one by one: what is found is the same, for fields, ids, stamps and
whole requests.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.writes import visit_columns
from service.writes.mutations import ParsedMutation, parse_all, read
from service.writes.prepared import Author, prepare
from service.writes.visit_columns import (
    parse_visit_columns,
    parse_visit_columns_in_turns,
    prepare_visit_columns,
)
from sync_protocol import clock, decoding, ids
from sync_protocol.cleaning import UnfitFields, clean_columns, clean_fields, clean_many
from sync_protocol.fields import Choice, FieldType, Id, InvalidValue, Place, Text, Whole
from sync_protocol.merge import first_values
from sync_protocol.messages import Mutation
from sync_protocol.moments import Moment, Month, Week
from sync_protocol.periods import to_ms
from sync_protocol.records import KINDS
from sync_protocol.sets import SetOf

ID = "0192f3a1-0000-7000-8000-00000000000f"
MOMENT = "2026-11-24T01:00:00.123Z"
PLACE = {"lat": 40.65, "lon": 109.84}
# For each type what is canonical, and what is not: wrong, or right but spelled in another way.
SAMPLES: dict[str, tuple[FieldType, list[Any], list[Any]]] = {
    "text": (
        Text(8, min=1),
        ["户", "a", "ab\ncd", "ᠪᠣᠭᠣᠳ", "é\u0301", "12345678"],
        ["", " a", "a\n", "\t", "a\u3000", "e\u0301", "123456789", "a\0", "\ud800", None, 7, ["a"]],
    ),
    "id": (
        Id(),
        [ID, ID.replace("f", "0")],
        [
            ID.upper(),
            ID[:-1],
            ID + "0",
            ID.replace("-", "0"),
            f"{ID}\n",
            f"{ID[:-2]}\n0",
            "",
            None,
            7,
        ],
    ),
    "moment": (
        Moment(),
        [MOMENT, "2000-02-29T23:59:59.999Z"],
        [
            *(
                "2026-11-24T09:00:00.123+08:00",
                "2026-02-29T01:00:00.123Z",
                "2026-11-24T24:00:00.123Z",
                "2026-11-24T01:60:00.123Z",
            ),
            *(
                "2026-11-24T01:00:60.123Z",
                "1999-12-31T01:00:00.000Z",
                "2026-11-24T01:00:00.12Z",
                "2026-11-24T01:00:00.123z",
            ),
            *("２026-11-24T01:00:00.123Z", "", None, {}),
        ],
    ),
    "choice": (Choice(("one", "two")), ["one", "two"], ["three", "", None, ["one"], {}, True]),
    "whole": (Whole(0, 99), [0, 99, 3.0], [-1, 100, 1.5, True, "1", None]),
    "place": (
        Place(),
        [PLACE, PLACE | {"accuracy": 12}, {"lat": -90, "lon": 180.0}, {"lat": -0.0, "lon": 1e-6}],
        [
            *(
                {"lat": 40.1234567, "lon": 1},
                {"lat": 91, "lon": 1},
                {"lat": 1, "lon": -181},
                {"lat": True, "lon": 1},
                {"lat": 1},
            ),
            *(
                {"lat": "1", "lon": 1},
                PLACE | {"accuracy": -1},
                PLACE | {"accuracy": None},
                PLACE | {"height": 1},
                {},
                [],
                None,
                "here",
            ),
        ],
    ),
    "week": (Week(), ["2026-W47"], ["2026-W54", "2026-47", None]),
    "month": (Month(), ["2026-11"], ["2026-13", 11]),
    "setof": (
        SetOf(Choice(("one", "two"))),
        [{"add": []}, {"add": ["two", "one"]}, {"add": ["one"]}, {"add": ["one", "one"]}],
        [
            *(
                {},
                {"remove": ["one"]},
                {"add": ["one"], "remove": []},
                {"add": ["three"]},
                {"add": "one"},
                {"add": ["one"] * 51},
            ),
            *({"add": [["one"]]}, {"put": []}, ["one"], None),
        ],
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
def test_a_field_cleaned_for_many_is_as_cleaned_for_each(name: str, data: st.DataObject) -> None:
    kind, right, wrong = SAMPLES[name]
    assert kind.clean_many(right) is not None
    values = data.draw(st.lists(st.sampled_from([*right, *wrong]), min_size=1, max_size=4))
    found = kind.clean_many(values)
    if found is not None:
        assert repr([*found]) == repr([kind.clean(value) for value in values])
        assert not any(value is odd for value in values for odd in wrong)


@pytest.mark.parametrize("name", SAMPLES)
def test_one_odd_value_among_many_is_seen(name: str) -> None:
    kind, right, wrong = SAMPLES[name]
    for odd in wrong:
        assert kind.clean_many([right[0], odd, right[-1]]) is None, odd
        try:
            cleaned = kind.clean(odd)
        except InvalidValue:
            continue
        assert cleaned != odd


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 120)
    | st.sampled_from([0.5, 40.65, 1e300, ID, MOMENT])
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["add", "remove", "lat", "lon"]), inner, max_size=2)
    ),
    max_leaves=3,
)


def value_of(kind: FieldType) -> st.SearchStrategy[Any]:
    """A value for a field: mostly one that fits, or anything."""
    fit = (
        kind.words
        if isinstance(kind, Choice)
        else SAMPLES.get(type(kind).__name__.lower(), (kind, [""], []))[1]
    )
    return st.sampled_from(fit) | st.sampled_from(fit) | anything


def fields_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Fields for a kind."""
    values = {field.name: value_of(field.type) for field in KINDS[name].fields}
    return st.fixed_dictionaries({}, optional={**values, "weather": anything})


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw builds the strategies
def test_fields_cleaned_for_many_are_as_cleaned_for_each(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    many = data.draw(st.lists(fields_of(name), min_size=1, max_size=3))
    before = repr(many)
    found = clean_many(kind, many)
    assert repr(many) == before
    if found is None:
        return
    for fields, cleaned in zip(many, found, strict=True):
        assert (repr(cleaned), True) == (
            repr(clean_fields(kind, fields)[0]),
            clean_fields(kind, fields)[1],
        )


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_fields_in_columns_are_as_cleaned_for_many(name: str, data: st.DataObject) -> None:
    many = data.draw(st.lists(fields_of(name), min_size=1, max_size=3))
    rows, columns = clean_many(KINDS[name], many), clean_columns(KINDS[name], many)
    assert (columns is None) is (rows is None)
    for place, row in enumerate(rows or ()):
        assert columns is not None
        found = {
            field: column[place] for field, column in columns.items() if column[place] is not None
        }
        assert {field: repr(value) for field, value in found.items()} == {
            field: repr(value) for field, value in row.items()
        }


def test_what_phones_send_is_cleaned_together() -> None:
    visit = {
        "household_id": ID,
        "visited_at": MOMENT,
        "duties": {"add": [next(iter(KINDS["visit"].by_name["duties"].type.item.words))]},  # type: ignore[attr-defined]
        "content": "羊都好",
        "location": PLACE | {"accuracy": 12},
        "photos": {"add": ["9f" * 32]},
    }
    step = {"problem_id": ID, "action": "accept", "at": MOMENT, "note": "已受理"}
    assert clean_many(KINDS["visit"], [visit, {"visited_at": MOMENT}]) is not None
    assert clean_many(KINDS["step"], [step, step]) is not None
    for odd in ({"visited_at": None}, {"weather": "sunny"}, {"content": " 羊"}):
        assert clean_many(KINDS["visit"], [visit, visit | odd]) is None


@given(
    data=st.data(),
    offset_ms=st.sampled_from([0, 0, -3_600_000, 90_000]),
    ahead=st.sampled_from([0, 400_000_000]),
)
def test_new_visits_are_read_and_readied_together_as_one_by_one(
    data: st.DataObject, offset_ms: int, ahead: int
) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    some = [
        Mutation(
            seq,
            "visit",
            f"{ID[:-1]}{seq}",
            "150202100200001",
            stamp=clock.make_stamp(to_ms(now) - 1000 + ahead, seq),
            fields=fields,
        )
        for seq, fields in enumerate(
            data.draw(st.lists(fields_of("visit"), min_size=1, max_size=3)), 1
        )
    ]
    author = Author("device", "W1", [], offset_ms=offset_ms)
    together, singly = parse_visit_columns(some), prepare(author, parse_all(some), now)
    if together is None:
        return
    assert all(item.flaw is None for item in singly)
    found = prepare_visit_columns(author, together, now)
    assert found.read_set() == found.one_by_one().read_set()
    assert [*found.ids] == [*found.one_by_one().ids]
    assert found.last_stamp == found.one_by_one().last_stamp
    assert [*found.stamps] == [item.stamp for item in singly]
    assert [*found.numbers] == [int(item.stamp, 16) for item in singly]
    assert [*found.must_echo] == [not item.as_sent for item in singly]
    assert [*together.contents] == [item.parsed.content for item in singly]
    for place, item in enumerate(singly):
        fields = {
            name: column[place]
            for name, column in found.fields.items()
            if column[place] is not None
        }
        assert fields == first_values(item.fields)
    assert [item.edit() for item in found.one_by_one().singles] == [item.edit() for item in singly]


def test_a_visit_that_is_not_new_or_not_whole_is_read_singly() -> None:
    whole = Mutation(
        1, "visit", ID, "150202100200001", stamp="0192f3a1b2c30000", fields={"visited_at": MOMENT}
    )
    assert parse_visit_columns([whole]) is not None
    odd: dict[str, Any]
    for odd in (
        {"base": 3},
        {"op": "delete"},
        {"kind": "step"},
        {"flaw": "?"},
        {"fields": {"content": "x"}},
        {"fields": {}},
    ):
        assert parse_visit_columns([msgspec.structs.replace(whole, **odd)]) is None, odd
    assert parse_visit_columns([whole, whole]) is None
    assert parse_visit_columns([]) is None


async def test_visits_read_in_turns_are_as_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit_columns, "EVERY", 2)
    whole = Mutation(
        1, "visit", ID, "150202100200001", stamp="0192f3a1b2c30000", fields={"visited_at": MOMENT}
    )
    for count in (0, 1, 2, 3, 5):
        some = [
            msgspec.structs.replace(whole, seq=seq, id=f"{ID[:-1]}{seq}")
            for seq in range(1, count + 1)
        ]
        assert await parse_visit_columns_in_turns(some) == parse_visit_columns(some)
    assert await parse_visit_columns_in_turns([*some, some[0]]) is None, (
        "it comes twice, in different turns"
    )
    assert (
        await parse_visit_columns_in_turns([*some, msgspec.structs.replace(whole, base=3)]) is None
    )


def one_by_one(check: Callable[[Any], bool], values: list[Any]) -> bool:
    return all(map(check, values))


@given(
    st.lists(
        st.sampled_from([ID, ID.upper(), ID[1:], "", "é" * 36])
        | st.text("0af-\n", min_size=30, max_size=80),
        max_size=4,
    )
)
def test_ids_are_told_apart_together_as_one_by_one(values: list[str]) -> None:
    assert ids.are_uuids(values) is one_by_one(ids.is_uuid, values)


@given(
    st.lists(
        st.sampled_from(["0" * 16, "0192f3a1b2c3ffff", "0192F3a1b2c3ffff", "1" * 15, ""])
        | st.text("0f\n", min_size=14, max_size=34),
        max_size=4,
    )
)
def test_stamps_are_told_apart_together_as_one_by_one(values: list[str]) -> None:
    assert clock.are_stamps(values) is one_by_one(clock.is_stamp, values)


mutations = st.builds(
    Mutation,
    seq=st.just(1),
    kind=st.sampled_from(["visit", "visit", "visit", "weekly_analysis", "song"]),
    id=st.sampled_from([ID, ID, ID, ids.weekly_analysis_id("150202100200001", "2026-W47"), "x"]),
    grid=st.just("150202100200001"),
    op=st.sampled_from(["put", "put", "put", "delete", "pat"]),
    base=st.sampled_from([0, 0, 0, 7, -1, 2**53, 2**53 + 1]),
    stamp=st.sampled_from(["0192f3a1b2c30000", "0192f3a1b2c30000", "soon"]),
    fields=st.sampled_from(
        [
            {"visited_at": MOMENT},
            {"visited_at": "2026-11-24T09:00:00+08:00", "content": " a "},
            {"week": "2026-W47"},
            {"week": 7},
        ]
    ),
)


@given(st.lists(mutations, max_size=4))
def test_a_request_is_read_together_as_one_by_one(some: list[Mutation]) -> None:
    for seq, mutation in enumerate(some, 1):
        mutation.seq = seq
    body = {
        "protocol": 1,
        "sent_at": datetime(2026, 11, 24, tzinfo=UTC),
        "mutations": msgspec.to_builtins(some),
    }
    request = decoding.decode_request(msgspec.json.encode(body))
    assert [mutation.flaw for mutation in request.mutations] == [
        decoding.flaw_of(mutation) for mutation in some
    ]

    def shown(readings: list[ParsedMutation]) -> list[Any]:
        return [repr(reading) for reading in readings]

    assert shown(parse_all(request.mutations)) == shown(
        [read(mutation) for mutation in request.mutations]
    )
    assert [json.loads(reading.content)["fields"] for reading in parse_all(request.mutations)] == [
        mutation.fields for mutation in some
    ]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0,), "counts from 1"),
        ((2**53 + 1,), "counts from 1"),
        ((2**53, 2**53 + 1), "counts from 1"),
        ((1, 3), "seq 3 follows 1"),
        ((2, 2), "seq 2 follows 2"),
    ],
)
def test_numbers_that_do_not_follow_are_refused(numbers: tuple[int, ...], said: str) -> None:
    body = {
        "protocol": 1,
        "sent_at": "2026-11-24T00:00:00Z",
        "mutations": [{"seq": seq} for seq in numbers],
    }
    with pytest.raises(decoding.BrokenEnvelope, match=said):
        decoding.decode_request(json.dumps(body).encode())


def test_the_last_number_is_taken() -> None:
    body = {
        "protocol": 1,
        "sent_at": "2026-11-24T00:00:00Z",
        "mutations": [{"seq": 2**53 - 1}, {"seq": 2**53}],
    }
    assert [
        mutation.seq for mutation in decoding.decode_request(json.dumps(body).encode()).mutations
    ] == [2**53 - 1, 2**53]


def test_what_is_wrong_with_fields_is_told_for_each() -> None:
    with pytest.raises(UnfitFields, match="visited_at has no offset"):
        clean_fields(KINDS["visit"], {"visited_at": "2026-11-24T09:00:00.000"})
