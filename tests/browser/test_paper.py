"""What comes out of a printer, read back from the PDF."""

from collections.abc import Callable

import pytest

from simulator.places import TOWNSHIP, VILLAGE
from tests.browser.conftest import Window

pdfium = pytest.importorskip("pypdfium2")
Open = Callable[..., Window]
# A4 in points, upright.
SHORT, LONG = 595, 842


def printed(at: Window, path: str) -> tuple[list[str], tuple[int, int]]:
    """The text of each sheet, and the size of the first one in points."""
    assert at.open(path) == 200
    document = pdfium.PdfDocument(at.page.pdf(prefer_css_page_size=True))
    width, height = document[0].get_size()
    texts = [page.get_textpage().get_text_range() for page in document]
    return texts, (round(width), round(height))


def is_near(size: tuple[int, int], width: int, height: int) -> bool:
    """Whether a sheet has a size, give or take a point or two."""
    return abs(size[0] - width) < 3 and abs(size[1] - height) < 3


def test_paper_has_unit_period_numbers_and_a_line_to_sign(window: Open) -> None:
    at = window("S1502")
    texts, size = printed(at, f"/week?unit={VILLAGE}&week=2026-W46")
    assert is_near(size, SHORT, LONG)
    text = "".join(texts)
    for word in ("2026年第46周", "走访次数", "合计", "填报人", "审核人"):
        assert word in text, word
    for word in ("退出", "查找", "打印"):
        assert word not in text, word


def test_a_ledger_has_its_title_and_header_on_each_sheet_its_totals_and_a_line_to_sign(
    window: Open,
) -> None:
    at = window("S1502")
    texts, size = printed(at, f"/ledgers/visits?unit={VILLAGE}&month=2026-10")
    assert is_near(size, LONG, SHORT)
    assert len(texts) > 1
    for text in texts:
        assert "走访台账" in text
        assert "2026-10-01" in text
        assert "走访内容" in text
    assert "合计" in texts[-1]
    assert "填表人" in texts[-1]
    for text in texts[:-1]:
        assert "填表人" not in text


@pytest.mark.parametrize(
    ("which", "asked", "words"),
    [
        (
            "weekly",
            f"unit={TOWNSHIP}&week=2026-W46",
            ("工作周报", "2026-11-09", "走访次数", "合计"),
        ),
        ("problems", f"unit={VILLAGE}&month=2026-11", ("问题台账", "上报时间", "是否超期")),
        ("special", f"unit={VILLAGE}&week=2026-W46", ("重点户台账", "户主", "未走访天数")),
        ("cadres", f"unit={VILLAGE}&month=2026-11", ("干部", "走访", "合计")),
    ],
)
def test_each_ledger_is_printed_with_what_officials_look_for(
    window: Open, which: str, asked: str, words: tuple[str, ...]
) -> None:
    texts, size = printed(window("S1502"), f"/ledgers/{which}?{asked}")
    assert is_near(size, LONG, SHORT)
    for word in (*words, "填表人"):
        assert word in "".join(texts), word
