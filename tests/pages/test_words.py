"""Words of the pages: days and periods as people write them, numbers, languages, and the one
glossary.
"""

import re
from datetime import date
from pathlib import Path

import pytest

from service.kit.localization import in_language
from service.pages import dates
from service.pages.charts import Series, line_chart, share, step_of
from service.pages.figures import compared, shown
from service.pages.glossary import FIGURES
from service.summaries.answers import Totals
from sync_protocol import periods
from sync_protocol.texts import Text
from tests.pages.browsing import Browser
from tests.world import World

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("period", "zh", "en"),
    [
        (periods.week("2026-W47"), "2026年第47周", "Week 47 of 2026"),
        (periods.week("2026-W01"), "2026年第1周", "Week 1 of 2026"),
        (periods.month("2026-11"), "2026年11月", "November 2026"),
        (periods.quarter("2026-Q4"), "2026年第4季度", "Quarter 4 of 2026"),
        (periods.half("2026-H1"), "2026年上半年", "First half of 2026"),
        (periods.half("2026-H2"), "2026年下半年", "Second half of 2026"),
        (periods.year("2026"), "2026年", "The year 2026"),
        (periods.day("2026-11-24"), "2026年11月24日", "24 November 2026"),
        (periods.span(date(2026, 11, 3), date(2026, 11, 5)), "11月3日—5日", "3–5 November"),
    ],
)
def test_periods_are_called_as_people_call_them(period: periods.Period, zh: str, en: str) -> None:
    name = dates.period_name(period)
    assert (in_language(name, "zh"), in_language(name, "en")) == (zh, en)


@pytest.mark.parametrize(
    ("period", "zh", "en"),
    [
        (periods.week("2026-W47"), "11月16日—22日", "16–22 November"),
        (periods.week("2026-W49"), "11月30日—12月6日", "30 November – 6 December"),
        (
            periods.week("2026-W53"),
            "2026年12月28日—2027年1月3日",
            "28 December 2026 – 3 January 2027",
        ),
        (periods.month("2026-02"), "2月1日—28日", "1–28 February"),
        (periods.day("2026-11-24"), "11月24日", "24 November"),
    ],
)
def test_days_are_written_without_what_is_said_already(
    period: periods.Period, zh: str, en: str
) -> None:
    days = dates.days_of(period)
    assert (in_language(days, "zh"), in_language(days, "en")) == (zh, en)


def test_a_moment_is_that_of_the_calendar_in_which_the_loop_is_counted() -> None:
    moment = dates.moment_name(periods.midnight(date(2026, 11, 24)))
    assert in_language(moment, "zh") == "2026年11月24日 00:00"


@pytest.mark.parametrize(
    ("key", "value", "before", "words"),
    [
        ("visits", 1234, 1000, "↑ 比前一周多 234"),
        ("visits", 0, 7, "↓ 比前一周少 7"),
        ("visits", 7, 7, "→ 与前一周相同"),
        ("coverage", 0.5, 0.468, "↑ 比前一周高 3.2 个百分点"),
        ("coverage", 0.1, 0.3, "↓ 比前一周低 20 个百分点"),
        ("median_hours_to_resolve", 5.25, 4.0, "↑ 比前一周长 1.2 小时"),
        ("median_hours_to_resolve", None, 4.0, " 没有可比的数"),
        ("coverage", 0.5, None, " 没有可比的数"),
    ],
)
def test_a_number_is_compared_in_words(
    key: str, value: float | None, before: float | None, words: str
) -> None:
    change = compared(key, value, before, "week").change
    assert change is not None
    assert f"{change.arrow} {in_language(change.words, 'zh')}" == words


@pytest.mark.parametrize(
    ("key", "value", "raw", "text"),
    [
        ("visits", 1234567, "1234567", "1,234,567"),
        ("coverage", 0.8333, "0.8333", "83.3%"),
        ("coverage", 0.0, "0.0", "0.0%"),
        ("median_hours_to_resolve", 26.44, "26.44", "26.4 小时"),
        ("median_hours_to_resolve", None, "", "–"),
    ],
)
def test_a_number_is_written_for_people_and_kept_as_it_is(
    key: str, value: float | None, raw: str, text: str
) -> None:
    found = shown(key, value)
    assert (found.raw, in_language(found.text, "zh")) == (raw, text)


def test_every_number_of_rest_has_its_words() -> None:
    assert FIGURES.keys() == Totals.model_fields.keys()


def test_the_glossary_of_the_documents_has_the_words_of_the_pages() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert rows == [
        (key, str(figure.label), in_language(figure.label, "zh"), str(figure.meaning))
        for key, figure in FIGURES.items()
    ]


@pytest.mark.parametrize(
    ("highest", "step"), [(0, 1), (4, 1), (5, 2), (8, 2), (9, 5), (20, 5), (21, 10), (3659, 1000)]
)
def test_marks_are_round_numbers(highest: float, step: int) -> None:
    assert step_of(highest) == step


def test_a_line_leaves_out_what_has_no_number_and_stays_within_its_frame() -> None:
    labels = [Text("W{week}", week=week) for week in range(12)]
    values = [None, 0, 5, 3, None, 9, 1, 2, 3, 4, 5, 6]
    [line] = line_chart(Text("x"), labels, [Series(Text("y"), "visits", values)]).lines
    assert len(line.points) == 10
    assert all(0 < point.x < 440 and 0 < point.y < 200 for point in line.points)
    assert line.points[0].y > line.points[1].y


def test_a_line_over_one_period_and_over_nothing_is_drawn() -> None:
    one = line_chart(Text("x"), [Text("W{week}", week=1)], [Series(Text("y"), "visits", [3])])
    assert len(one.lines[0].points) == 1
    nothing = line_chart(Text("x"), [Text("W{week}", week=1)], [Series(Text("y"), "visits", [0])])
    assert nothing.lines[0].points[0].y < 200


def test_a_bar_is_seen_as_long_as_there_is_anything() -> None:
    assert [share(value, 1000) for value in (0, 1, 500, 1000)] == [0, 1, 50, 100]
    assert share(0, 0) == 0


async def test_pages_are_chinese_until_english_is_asked_for_and_stay_so(world: World) -> None:
    browser = Browser(world)
    first = await browser.client.get("/signin", headers={"Accept-Language": "en-GB"})
    assert '<html lang="zh-CN">' in first.text
    assert "登录" in first.text
    english = await browser.get("/signin", lang="en")
    assert '<html lang="en">' in english.text
    assert '<html lang="en">' in (await browser.get("/signin")).text
    wrong = await browser.sign_in("S1502", password="wrong")
    assert "No account has this staff code and password" in wrong.text
    await browser.get("/signin", lang="zh")
    assert "登录" in (await browser.get("/signin")).text
    assert "登录" in (await browser.get("/signin", lang="xx")).text


async def test_a_problem_is_a_page_in_the_language_of_the_pages(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/week", unit="9")
    assert "您的范围" in page.text or "范围" in page.text
    assert '<html lang="zh-CN">' in page.text


async def test_programs_still_get_problems_as_json(world: World) -> None:
    absent = await world.client.get("/nowhere")
    assert absent.headers["content-type"] == "application/problem+json"
    assert absent.json()["detail"].startswith("Nothing answers at")
    api = await world.client.get("/v1/units", headers={"Accept": "application/json"})
    assert api.headers["content-type"] == "application/problem+json"
    browser = await Browser(world).get("/nowhere")
    assert browser.status_code == 404
    assert browser.headers["content-type"].startswith("text/html")
