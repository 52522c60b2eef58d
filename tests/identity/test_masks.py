"""Masks hide enough of every length, and the table of views decides what is shown."""

import pytest

from service.identity.views import (
    TABLE,
    FieldClass,
    Shown,
    View,
    absent_on_devices,
    masked_phone,
    redact,
)
from sync_protocol.records import HOUSEHOLD, PROBLEM, VISIT


@pytest.mark.parametrize(
    "phone",
    ["1", "110", "8764321", "87654321", "876543210", "1001234567", "10012345678", "+8610012345678"],
)
def test_a_mask_hides_more_than_it_shows_of_short_numbers_and_four_digits_at_least(
    phone: str,
) -> None:
    hidden = masked_phone(phone).count("*")
    assert len(masked_phone(phone)) == len(phone)
    assert hidden >= min(len(phone), 4)
    if len(phone) < 11:
        assert hidden > len(phone) / 2


def test_a_masked_value_never_reaches_a_device() -> None:
    for view in View:
        shown = {TABLE[field_class][view] for field_class in FieldClass}
        assert shown <= set(Shown)
    assert absent_on_devices(HOUSEHOLD, View.REDUCED) == {"phone", "address", "location"}
    assert absent_on_devices(HOUSEHOLD, View.SUMMARISED) == {"phone", "address", "location", "tags"}
    assert absent_on_devices(PROBLEM, View.ASSIGNED) == {"contact", "location"}
    assert absent_on_devices(VISIT, View.TIED) == frozenset()


def test_what_is_no_text_is_hidden_whole() -> None:
    fields = {
        "phone": 10012345678,
        "address": ["东组"],
        "location": {"lat": 40.65432, "lon": 109.8, "accuracy": 5, "name": "井"},
        "extra": 1,
    }
    assert redact("household", fields, View.REDUCED) == {
        "phone": "***",
        "address": "***",
        "location": {"lat": 40.65, "lon": 109.8},
    }


def test_of_a_kind_that_is_not_known_only_who_works_there_sees_anything() -> None:
    assert redact("telegram", {"phone": "10012345678"}, View.REDUCED) == {}
    assert redact("telegram", {"phone": "10012345678"}, View.FULL) == {"phone": "10012345678"}
