"""Lists of days as offices send them."""

import codecs
from datetime import date

import pytest

from service.vocabulary.calendar_file import read_days
from service.vocabulary.days import DayOff

NOTICE = "日期,安排,名称\n2027-02-05至2027-02-11,休,春节\n2027/2/20,班,春节调休\n2月14日,上班,\n"
WANTED = {
    **{date(2027, 2, day): DayOff(False, "春节") for day in range(5, 12)},
    date(2027, 2, 14): DayOff(True, ""),
    date(2027, 2, 20): DayOff(True, "春节调休"),
}


@pytest.mark.parametrize(
    "content",
    [
        NOTICE.encode(),
        codecs.BOM_UTF8 + NOTICE.encode(),
        NOTICE.encode("gb18030"),
        NOTICE.replace("\n", "\r\n").encode("gb18030"),
        NOTICE.replace(",", "\t").encode(),
        NOTICE.replace(",", ";").encode(),
    ],
)
def test_a_list_is_read_in_every_encoding_that_offices_use(content: bytes) -> None:
    read = read_days(content, 2027)
    assert read.faults == []
    assert read.days == WANTED


@pytest.mark.parametrize(
    "line",
    [
        "2027-02-05,休,春节",
        "2027年2月5日,放假,春节",
        "20270205,off,春节",
        "2.5,假,春节",
        "２０２７－０２－０５,休,春节",
        "2月5日,0,春节",
        "name,works,date\n春节,holiday,2027-02-05",
        "开始,结束,类型,节日\n2027-02-05,2027-02-05,休,春节",
        "# 国务院办公厅通知\n\n2027-02-05,休,春节",
    ],
)
def test_a_day_may_be_written_in_many_ways(line: str) -> None:
    read = read_days(line.encode(), 2027)
    assert (read.days, read.faults) == ({date(2027, 2, 5): DayOff(False, "春节")}, [])


def test_a_run_of_days_may_name_its_last_day_alone() -> None:
    read = read_days("10月1日至7日,休,国庆节".encode(), 2027)
    assert list(read.days) == [date(2027, 10, day) for day in range(1, 8)]


def test_every_line_that_cannot_be_taken_is_told() -> None:
    lines = [
        "日期,安排,名称",
        "2027-02-05,休,春节",
        "2027-02-30,休,",
        "2026-02-05,休,",
        "2027-02-06,也许,",
        "明天,休,",
        "2027-02-05,班,",
        "2027-02-11至2027-02-07,休,",
        "2027-03-01,休," + "长" * 61,
    ]
    read = read_days("\n".join(lines).encode(), 2027)
    assert [fault.line for fault in read.faults] == [3, 4, 5, 6, 7, 8, 9]
    assert "line 2" in read.faults[4].what
    assert read.faults[2].value == "也许"


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", "日期,安排\n".encode(), b"\x81\x20\xff\xfe\xff", b'"2027-02-05']
)
def test_what_is_no_list_is_refused(content: bytes) -> None:
    assert read_days(content, 2027).faults


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('2027-01-01,休,"元旦\n2027-02-05,休,春节', 2),
        ('2027-01-01,休,"元旦\n2027-02-05,休",春节', 2),
        ("日期,最后,安排\n2027-02-05,2027-02-11,休", 1),
    ],
)
def test_no_day_is_passed_over_in_silence(content: str, line: int) -> None:
    assert [fault.line for fault in read_days(content.encode(), 2027).faults] == [line]
