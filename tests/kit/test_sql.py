"""Texts on their way into a statement: escaped all at once they are as escaped one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit.sql import NULL_CELL, cells, copy_field, quoted, text_array

texts = st.lists(st.none() | st.text('ab"\\\n\t\r{},é', max_size=4), max_size=4)


@given(texts)
def test_cells_are_escaped_as_each_alone(some: list[str | None]) -> None:
    assert [*cells(some)] == [NULL_CELL if text is None else copy_field(text) for text in some]


@given(texts)
def test_an_array_is_escaped_as_each_alone(some: list[str | None]) -> None:
    assert (
        text_array(some)
        == "{" + ",".join("NULL" if text is None else quoted(text) for text in some) + "}"
    )


@pytest.mark.parametrize("make", [cells, text_array])
def test_what_no_column_takes_is_refused_and_moves_nothing_to_another_row(make: object) -> None:
    with pytest.raises(ValueError, match=r"U\+0000"):
        make(["a\0b", 'c"\\d'])  # type: ignore[operator]
