"""Days, weeks and other periods as people write them: 2026年第47周, 11月16日—22日; in English
Week 47 of 2026, 16–22 November.

Everything here is a text of the catalogue, so that it can stand in a sentence of either language.
"""

from datetime import date, datetime

from sync_protocol.periods import SHANGHAI, Period, kind_of, local_day
from sync_protocol.texts import Text, Word

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_BEFORE = {
    "day": Word("the day before", "前一天"),
    "week": Word("the week before", "前一周"),
    "month": Word("the month before", "前一个月"),
    "quarter": Word("the quarter before", "前一季度"),
    "half": Word("the half-year before", "前半年"),
    "year": Word("the year before", "前一年"),
}


def month_name(day: date) -> Word:
    """The month of a day without its year: 11月, November."""
    return Word(_MONTHS[day.month - 1], f"{day.month}月")


def period_name(period: Period) -> Text:
    """What a period is called: 2026年第47周, Week 47 of 2026."""
    year = period.name[:4]
    match kind_of(period.name):
        case "week":
            return Text("Week {week} of {year}", week=int(period.name[6:]), year=year)
        case "month":
            return Text("{month} {year}", month=month_name(period.first), year=year)
        case "quarter":
            return Text("Quarter {quarter} of {year}", quarter=period.name[6:], year=year)
        case "half" if period.name.endswith("1"):
            return Text("First half of {year}", year=year)
        case "half":
            return Text("Second half of {year}", year=year)
        case "year":
            return Text("The year {year}", year=year)
        case "day":
            return day_name(period.first)
    return days_of(period)


def short_name(period: Period) -> Text:
    """The same without its year, for axes and narrow columns: 第47周, W47; Nov."""
    match kind_of(period.name):
        case "week":
            return Text("W{week}", week=int(period.name[6:]))
        case "month":
            month = month_name(period.first)
            return Word(str(month)[:3], month.zh)
        case "quarter":
            return Text("Q{quarter}", quarter=period.name[6:])
        case "year":
            return Text("{year}", year=period.name)
    return days_of(period)


def days_of(period: Period) -> Text:
    """From which day to which: 11月16日—22日, 16–22 November; with years where they differ."""
    first, last = period.first, period.last
    if first == last:
        return _day(first)
    if first.year != last.year:
        return Text("{first} – {last}", first=day_name(first), last=day_name(last))
    if first.month != last.month:
        return Text("{first} – {last}", first=_day(first), last=_day(last))
    return Text("{first}–{last} {month}", first=first.day, last=last.day, month=month_name(first))


def _day(day: date) -> Text:
    return Text("{day} {month}", day=day.day, month=month_name(day))


def day_name(day: date) -> Text:
    """A day with its year: 2026年11月24日, 24 November 2026."""
    return Text("{day} {month} {year}", day=day.day, month=month_name(day), year=day.year)


def moment_name(moment: datetime) -> Text:
    """A moment in Asia/Shanghai to the minute: 2026年11月24日 09:30."""
    return Text(
        "{day}, {time}",
        day=day_name(local_day(moment)),
        time=moment.astimezone(SHANGHAI).strftime("%H:%M"),
    )


def before_name(kind: str) -> Word:
    """What the period before is called, for a kind of period."""
    return _BEFORE[kind]
