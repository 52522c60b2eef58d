"""What cells, headers and files mean. Pure."""

import io
import zipfile
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
import xlsxwriter

from service.imports import cells, keys, sheet_files
from service.imports.cells import Wrong
from service.imports.columns import SHEETS
from service.imports.layouts import HEADERS, layout_of, sheet_called
from service.imports.sheet_files import FileUnreadable, RowRead, SheetBegins, read_file
from service.imports.words import Words, words_of_the_code
from service.kit.keyring import Keyring
from service.vocabulary.terms import Term, Vocabulary
from tests.imports.books import book, text_file

WORDS = words_of_the_code()


def role_of(text: str) -> str:
    return WORDS.choice("role", text)


@pytest.mark.parametrize(
    ("clean", "given", "meant"),
    [
        (cells.code, 150221100201001.0, "150221100201001"),
        (cells.code, "１５０２ ２１", "150221"),
        (cells.phone, "138-0000-0001", "13800000001"),
        (cells.phone, "（0472）123 4567", "04721234567"),
        (cells.phone, "０４７２－１２３４５６７", "04721234567"),
        (cells.phone, "13800000001/13900000002", "13800000001/13900000002"),
        (cells.phone, 13800000001.0, "13800000001"),
        (cells.phone, "+86 138 0000 0001", "+8613800000001"),
        (cells.day, 46327.0, "2026-11-01"),
        (cells.day, "2026年11月1日", "2026-11-01"),
        (cells.day, "2026.11.1", "2026-11-01"),
        (cells.day, "２０２６／１１／０１", "2026-11-01"),
        (cells.day, "20261101", "2026-11-01"),
        (cells.yes_or_no, "是", True),
        (cells.yes_or_no, "No", False),
        (cells.people, "４人", 4),
        (WORDS.tags, "低保户、独居老人,veteran", ["elderly_alone", "low_income", "veteran"]),
        (role_of, "嘎查村党组织书记", "village_secretary"),
        (WORDS.tags, "low-income allowance, elderly living alone", ["elderly_alone", "low_income"]),
        (role_of, "Grid Worker", "grid_worker"),
        (cells.number, " 150221－0001 ", "150221-0001"),
    ],
)
def test_a_cell_means_what_its_writer_meant(clean: Any, given: Any, meant: Any) -> None:
    assert clean(cells.text_in(given)) == meant


@pytest.mark.parametrize(
    ("clean", "given", "kind"),
    [
        (cells.code, "1502A1", "code-form"),
        (cells.phone, "没有", "phone-form"),
        (cells.phone, "1.38E+10", "number-rounded"),
        (cells.day, "2026-02-30", "day-form"),
        (cells.day, "去年", "day-form"),
        (cells.yes_or_no, "大概", "yes-no-form"),
        (cells.people, "四", "count-form"),
        (cells.people, "400", "count-large"),
        (WORDS.tags, "富户", "tag-unknown"),
        (cells.staff_code, "王@1", "staff-code-form"),
        (cells.words(3), "四个字了", "text-unfit"),
        (cells.words(9), "a\x07b", "text-control"),
    ],
)
def test_what_cannot_be_read_for_sure_is_named(clean: Any, given: Any, kind: str) -> None:
    with pytest.raises(Wrong) as error:
        clean(cells.text_in(given))
    assert error.value.kind == kind


DAY = date(2026, 11, 25)


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(
    "names",
    [
        ("多子女", "large family"),
        ("多子女、老人", "a, b and c"),
        ("独居老人", "veteran"),  # as others are called
        ("low_income", "disabled"),  # as the code of another
        ("无", "none"),
        ("x y", "x/y"),
    ],
)
def test_words_that_were_added_are_read_as_an_export_writes_them(
    language: str, names: tuple[str, str]
) -> None:
    added = Term("tag", "added", *names, valid_from=date(2026, 1, 1))
    words = Words(Vocabulary([added]), DAY)
    for tags in (["added"], ["veteran"], ["added", "disabled"], ["added", "low_income", "veteran"]):
        assert words.tags(words.say_tags(tags, language)) == tags


def test_a_word_that_has_ended_is_read_and_not_offered() -> None:
    ended = Term("tag", "ended", "旧类", "old", valid_to=DAY)
    renamed = Term("role", "grid_worker", "网格管理员", "grid keeper")
    words = Words(Vocabulary([ended, renamed]), DAY)
    assert words.tags("旧类") == ["ended"]
    assert not words.can_be_chosen("tag", "ended")
    assert "旧类" not in [label.zh for label in words.offered("tag")]
    assert "网格管理员" in [label.zh for label in words.offered("role")]
    # Also by its former name.
    assert words.choice("role", "网格管理员") == words.choice("role", "网格员") == "grid_worker"


def test_a_number_that_excel_has_rounded_is_not_taken() -> None:
    with pytest.raises(Wrong, match="number-rounded"):
        cells.text_in(1.5022110020100112e17)


def test_headers_are_found_in_any_order_and_language_and_others_are_named() -> None:
    layout = layout_of(["联系电话", "序号", "姓名*", "Staff code（必填）"], None)
    assert layout is not None
    assert layout.sheet == "people"
    assert layout.columns == {"phone": 0, "name": 2, "staff_code": 3}
    assert layout.ignored == ["序号"]
    assert layout_of(["某旗农牧户登记表", ""], None) is None
    assert sheet_called("农牧户2026.csv") == "households"
    assert sheet_called("Units") == "units"
    assert sheet_called("Sheet1") is None


def test_every_header_names_one_column() -> None:
    for name, sheet in SHEETS.items():
        for column in sheet.columns:
            headers = [*column.header, column.name]
            assert {HEADERS[name][folded(text)] for text in headers} == {column.name}


def folded(text: str) -> str:
    from service.imports.layouts import folded

    return folded(text)


async def parts(content: bytes) -> list[Any]:
    return [part async for some in read_file(content) for part in some]


async def test_merged_cells_stand_for_every_row_of_theirs() -> None:
    file = io.BytesIO()
    made = xlsxwriter.Workbook(file)
    sheet = made.add_worksheet("农牧户")
    sheet.merge_range(2, 0, 4, 0, "1网格")
    for row, name in enumerate("甲乙丙", 2):
        sheet.write(row, 1, name)
    made.close()
    assert await parts(file.getvalue()) == [
        SheetBegins("农牧户"),
        *(RowRead(row, ["1网格", name]) for row, name in enumerate("甲乙丙", 3)),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "姓名,电话\n王建国,1\n".encode(),
        "\ufeff姓名,电话\r\n王建国,1".encode(),
        "姓名\t电话\n王建国\t1\n".encode("gb18030"),
        "姓名;电话\n王建国;1\n".encode("utf-16"),
    ],
)
async def test_a_text_file_is_read_in_whatever_encoding_and_with_whatever_marks(
    content: bytes,
) -> None:
    assert await parts(content) == [
        SheetBegins(""),
        RowRead(1, ["姓名", "电话"]),
        RowRead(2, ["王建国", "1"]),
    ]


def bomb() -> bytes:
    """A workbook that unpacks to more than the limit, and says it does not."""
    file = io.BytesIO(book({"农牧户": [["a"]]}))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as packed:
        with packed.open("xl/worksheets/sheet9.xml", "w", force_zip64=True) as entry:
            for _ in range(600):
                entry.write(b" " * 1024 * 1024)
    return file.getvalue()


def far_cell() -> bytes:
    """A workbook whose last cell stands so far out that a table of all would fill any memory."""
    file = io.BytesIO()
    made = xlsxwriter.Workbook(file)
    sheet = made.add_worksheet("农牧户")
    sheet.write(0, 0, 1)
    sheet.write(1_048_575, 16_383, 1)
    made.close()
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04 and no more", "file-damaged"),
        (book({"农牧户": [["a"]]})[:-40], "file-damaged"),
        (b"%PDF-1.7\0\0\0", "file-of-no-kind"),
        (b"\xff\xff\xff\xff", "file-encoding"),
    ],
)
async def test_what_is_no_workbook_is_said_to_be_none(content: bytes, why: str) -> None:
    assert (await parts(content))[-1] == FileUnreadable(why)


@pytest.mark.parametrize("make", [bomb, far_cell])
async def test_a_file_that_would_fill_the_memory_is_given_up(make: Any) -> None:
    assert (await parts(make()))[-1] == FileUnreadable("file-too-large")


def test_a_bomb_is_found_by_what_it_unpacks_to() -> None:
    with pytest.raises(sheet_files.Unreadable, match="file-too-large"):
        sheet_files.refuse_bomb(bomb())


def test_a_key_is_found_by_every_master_key_and_tells_nothing_without_one() -> None:
    old, new = b"o" * 32, b"n" * 32
    key = keys.of_place("150221100201", "张 三", "１组１号")
    assert key == keys.of_place("150221100201", "张三", "1组 1号")
    assert key != keys.of_place("150221100202", "张三", "1组1号")
    before = Keyring([old]).blind_index(key.digest)
    after = Keyring([new, old])
    assert before in after.blind_indexes(key.digest)
    assert after.blind_index(key.digest) != before
    assert before not in Keyring([new]).blind_indexes(key.digest)


def test_rows_of_text_files_are_counted_as_spreadsheets_do() -> None:
    rows: Sequence[Sequence[str]] = [["a", "b"], ["", ""], ["c", "d"]]
    found = [*sheet_files.parts_of(text_file(rows))]
    assert [part.number for part in found if isinstance(part, RowRead)] == [1, 3]
