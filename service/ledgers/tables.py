"""The ledgers that are tables: summaries, cadres, the loop, special and contracted households, and
indicators.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from service.identity.views import TABLE, FieldClass, Shown, mask
from service.indicators.values import read_values
from service.kit.database import Connection, share_connection
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.ledgers import indicators, queries
from service.ledgers.sheet import Begin, Column, LedgerSheet
from service.ledgers.what import Labels, Places, What, label, seal_mark
from service.loop import queries as loop_queries
from service.loop.loop import GridLoop, Status, dues_of, grid_loops
from service.summaries import sealed
from service.summaries.answers import Totals
from service.summaries.cadre_table import cadre_table
from service.summaries.cadre_table_queries import Wanted
from service.summaries.sealed import NOTHING
from service.summaries.summary import summary
from service.summaries.unit_loop import shown_grids
from service.vocabulary.indicators import indicators_on
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from service.vocabulary.terms import Vocabulary
from sync_protocol.periods import kind_of, local_day, week_of

_AT_ONCE = 1_000
_MAX_CADRES = 100_000
_SUMMARY_COLUMNS = (
    Column("单位", 24),
    Column("走访次数", 10, "whole"),
    Column("走访户数", 10, "whole"),
    Column("总户数", 10, "whole"),
    Column("走访率", 9, "percent"),
    Column("联系户走访", 10, "whole"),
    Column("上报问题", 10, "whole"),
    Column("办结问题", 10, "whole"),
    Column("未办结", 9, "whole"),
    Column("超期", 8, "whole"),
    Column("办结率", 9, "percent"),
    Column("办结用时中位数(小时)", 14, "number"),
)
_CADRE_COLUMNS = (
    Column("工号", 24),
    Column("姓名", 12),
    Column("党员", 8),
    Column("任职单位", 18),
    Column("走访次数", 10, "whole", total=True),
    Column("上报问题", 10, "whole", total=True),
    Column("办结问题", 10, "whole", total=True),
    Column("手中超期", 10, "whole", total=True),
    Column("办结用时中位数(小时)", 14, "number"),
)
_CADRE_COUNTS = ("visits", "problems_raised", "problems_resolved", "problems_overdue")
_STATUSES: Mapping[Status, str] = {"on_time": "按时", "late": "迟报", "missing": "漏报"}
_LOOP_COLUMNS = (
    Column("苏木乡镇", 14),
    Column("嘎查村", 14),
    Column("网格", 18),
    Column("应走访工作日", 12, "whole", total=True),
    Column("已走访工作日", 12, "whole", total=True),
    *(
        Column(f"{log}{status}", 10, "whole", total=True)
        for log in ("日走访", "周分析", "月汇总")
        for status in _STATUSES.values()
    ),
)
_PLACES = (Column("嘎查村", 14), Column("网格", 18))
_SPECIAL_COLUMNS = (
    *_PLACES,
    Column("户主", 12),
    Column("人口", 8, "whole", total=True),
    Column("类别", 24),
    Column("包联干部", 12),
    Column("联系党员", 12),
    Column("上次走访", 12, "day"),
    Column("未走访天数", 10, "whole"),
)
_CONTRACTED_COLUMNS = (
    Column("包联干部", 12),
    *_PLACES,
    Column("户主", 12),
    Column("电话(脱敏)", 14),
    Column("人口", 8, "whole", total=True),
    Column("本期走访次数", 12, "whole", total=True),
    Column("其中本人走访", 12, "whole", total=True),
    Column("上次走访", 12, "day"),
    Column("未走访天数", 10, "whole"),
)


async def write_summary(
    connection: Connection, settings: Settings, what: What, begin: Begin
) -> None:
    """A row for each unit right below, and the totals."""
    log = "weekly_analysis" if what.which == "weekly" else "monthly_summary"
    found = await summary(
        share_connection(connection), settings, what.on, what.period, what.now, log
    )
    assert found is not None
    title = what.title
    if found.sealed:
        title += "（已封存）"
    elif found.sealed_parts:
        title += "（部分已封存）"
    sheet = begin(title, _SUMMARY_COLUMNS)
    sheet.write(_totals(child.unit.name, child.totals) for child in found.units)
    sheet.close(_totals(found.unit.name, found.totals))


def _totals(name: str, totals: Totals) -> Sequence[Any]:
    return (
        name,
        totals.visits,
        totals.households_visited,
        totals.households,
        totals.coverage,
        totals.contact_households_visited,
        totals.problems_raised,
        totals.problems_resolved,
        totals.problems_open,
        totals.problems_overdue,
        totals.resolution_rate,
        totals.median_hours_to_resolve,
    )


async def write_cadres(connection: Connection, what: What, begin: Begin) -> None:
    """A row for each cadre, and one for what is nobody's."""
    shown = await cadre_table(
        connection, what.on, what.period, what.now, Wanted("problems_resolved", _MAX_CADRES)
    )
    sheet = begin(what.title + seal_mark(shown.kept), _CADRE_COLUMNS)

    def lines() -> Iterator[Sequence[Any]]:
        for row in shown.rows:
            member = "是" if row["party_member"] else "否"
            counts = [row[name] for name in _CADRE_COUNTS]
            yield (
                row["shown_code"],
                row["name"],
                member,
                row["unit_name"] or row["unit"],
                *counts,
                shown.medians.get(row["staff_code"]),
            )
        if any(shown.unassigned.values()):
            counts = [shown.unassigned[name] for name in _CADRE_COUNTS]
            yield (None, "未分派", None, what.unit_name, *counts, None)

    await asyncio.to_thread(sheet.write, lines())
    await asyncio.to_thread(sheet.close)


async def write_loop(connection: Connection, settings: Settings, what: What, begin: Begin) -> None:
    """A row for each grid: what it owed, and what of it was on time, late or missing."""
    on, period = what.on, what.period
    kept = await sealed.of_period(connection, on, period) if on.shows_seals else NOTHING
    grids = shown_grids(on, period, kept.log_counts)
    rules = Rules(settings, on.tree, await current_reference_data(connection))
    dues = await dues_of(connection, rules, on.subtree, grids, period, what.now)
    places = await Places.read(connection, on)
    sheet = begin(what.title + seal_mark(kept), _LOOP_COLUMNS)
    after: str | None = None
    while True:
        rows = await loop_queries.grids(connection, on.subtree, period, after, _AT_ONCE)
        loops = kept.loops(row["code"] for row in rows)
        items = await grid_loops(connection, dues, rows, period, loops)
        # Of days that owe no visit what was done is not in the counts of the loop either.
        lines = [
            _loop_line(item, {str(day) for day in dues.of(item.grid.code).days}, places)
            for item in items
        ]
        await asyncio.to_thread(sheet.write, lines)
        if len(rows) < _AT_ONCE:
            break
        after = rows[-1]["code"]
    await asyncio.to_thread(sheet.close)


def _loop_line(item: GridLoop, days: set[str], places: Places) -> Sequence[Any]:
    place = places.of(item.grid.code)
    visits = [status for day, status in item.days.items() if str(day) in days]
    logs = (visits, list(item.analyses.values()), list(item.summaries.values()))
    counts = [some.count(status) for some in logs for status in _STATUSES]
    return (
        place["township"],
        place["village"],
        place["grid"],
        item.days_due,
        item.days_visited,
        *counts,
    )


async def write_special(connection: Connection, what: What, labels: Labels, begin: Begin) -> None:
    """The special households, when each was visited last up to the period's end."""
    places = await Places.read(connection, what.on)
    sees_tags = what.view is not None and TABLE[FieldClass.TAGS][what.view] is Shown.WHOLE
    sheet = begin(what.title, _SPECIAL_COLUMNS)
    households = members = unvisited = 0

    def lines(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
        nonlocal households, members, unvisited
        for row in rows:
            households += 1
            members += row["members"] or 0
            unvisited += not row["is_visited"]
            place = places.of(row["grid"])
            # From above the township tags are counted, not named.
            tags = (
                "、".join(str(label(labels.tags, tag)) for tag in row["tags"])
                if sees_tags
                else f"{len(row['tags'])} 项"
            )
            yield (
                place["village"],
                place["grid"],
                row["head_name"],
                row["members"],
                tags,
                row["lead"],
                row["contact"],
                *_last_visit(what, row["last_visit"]),
            )

    await _write_households(connection, what, queries.special(what.on.subtree), sheet, lines)
    said = f"共 {households} 户；本期未走访 {unvisited} 户"
    total = [None, None, None, members, said, None, None, None, None]
    await asyncio.to_thread(sheet.close, total)


async def write_contracted(
    connection: Connection, settings: Settings, what: What, begin: Begin
) -> None:
    """The households that somebody leads, by who does, and how often each was visited."""
    places = await Places.read(connection, what.on)
    cipher = await cipher_of(connection, settings)
    sheet = begin(what.title, _CONTRACTED_COLUMNS)

    def lines(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for row in rows:
            place = places.of(row["grid"])
            phone = row["phone"] and cipher.shown(
                Place("household", "phone", row["id"]), row["phone"]
            )
            yield (
                row["lead"],
                place["village"],
                place["grid"],
                row["head_name"],
                phone and mask("phone", phone),
                row["members"],
                row["visits"],
                row["own"],
                *_last_visit(what, row["last_visit"]),
            )

    await _write_households(connection, what, queries.contracted(what.on.subtree), sheet, lines)
    await asyncio.to_thread(sheet.close)


async def _write_households(
    connection: Connection, what: What, sql: str, sheet: LedgerSheet, lines: Any
) -> None:
    period = what.period
    cursor = await connection.cursor(
        sql,
        what.on.code,
        period.begins,
        period.ends,
        week_of(period.last),
        what.silent_since,
    )
    while rows := await cursor.fetch(_AT_ONCE):
        await asyncio.to_thread(sheet.write, lines(rows))


def _last_visit(what: What, moment: datetime | None) -> tuple[Any, Any]:
    """The day of the last visit, and how many days have passed since, up to the period's end."""
    if moment is None:
        return None, None
    day = local_day(moment)
    return day, (what.last_day - day).days


async def write_indicators(
    connection: Connection, vocabulary: Vocabulary, what: What, begin: Begin
) -> None:
    """The indicators that are reported for periods of the kind of this one."""
    kind = kind_of(what.period.name)
    some = [one for one in indicators_on(vocabulary, local_day(what.now)) if one.period == kind]
    found = await read_values(connection, what.on, some, what.period)
    sheet = begin(what.title, indicators.COLUMNS)
    await asyncio.to_thread(sheet.write, indicators.lines(found, what.unit_name))
    await asyncio.to_thread(sheet.close)
