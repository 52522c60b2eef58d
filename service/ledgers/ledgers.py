"""What stands in each ledger: its title, its columns, and its rows from the queries."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from service.identity.views import mask
from service.kit.database import Connection, share_connection
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.ledgers import queries
from service.ledgers.sheet import Column, Sheet
from service.organisation.units import UnitOn
from service.summaries import cadre_queries
from service.summaries.answers import Totals
from service.summaries.summary import summary
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.terms import Vocabulary
from sync_protocol.periods import Period
from sync_protocol.vocabulary import SATISFIED, SOURCES, STATES, Label

TITLES = {
    "weekly": "工作周报",
    "monthly": "工作月报",
    "problems": "问题台账",
    "visits": "走访台账",
    "cadres": "干部工作台账",
}

_AT_ONCE = 1_000
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
_VISIT_COLUMNS = (
    Column("日期", 16, "moment"),
    Column("旗县区", 12),
    Column("苏木乡镇", 14),
    Column("嘎查村", 14),
    Column("网格", 18),
    Column("户主", 12),
    Column("电话(脱敏)", 14),
    Column("走访人", 12),
    Column("职务", 14),
    Column("走访内容", 40),
    Column("职责类别", 20),
    Column("反映问题", 24),
    Column("处理情况", 10),
    Column("备注", 12),
)
_PROBLEM_COLUMNS = (
    Column("编号", 20),
    Column("上报时间", 16, "moment"),
    Column("网格", 18),
    Column("上报人", 12),
    Column("来源", 10),
    Column("类别", 14),
    Column("紧急程度", 10),
    Column("问题描述", 40),
    Column("承办人", 14),
    Column("办理时限", 16, "moment"),
    Column("办理措施", 30),
    Column("办结时间", 16, "moment"),
    Column("是否超期", 10),
    Column("群众是否满意", 12),
    Column("备注", 12),
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
_MAX_CADRES = 100_000


async def write(
    connection: Connection,
    settings: Settings,
    which: str,
    unit: Any,
    on: UnitOn,
    period: Period,
    now: datetime,
    path: Path,
) -> None:
    """Writes a ledger of a unit, by the tree of a day, and a period to a file. Runs in the caller's
    transaction, which a cursor needs.
    """
    title = f"{unit['name']}{TITLES[which]}（{period.first} 至 {period.last}）"
    labels = Labels((await current_reference_data(connection)).vocabulary, period.last)
    match which:
        case "weekly" | "monthly":
            await _summary(connection, settings, which, on, period, now, path, title)
        case "visits":
            row_of = partial(_visit_row, await cipher_of(connection, settings), labels)
            sql = queries.visits(on.subtree)
            sheet = Sheet(path, title, _VISIT_COLUMNS)
            await _stream(connection, sql, on, period, sheet, row_of)
        case "problems":
            sql = queries.problems(on.subtree)
            sheet = Sheet(path, title, _PROBLEM_COLUMNS)
            await _stream(connection, sql, on, period, sheet, _ProblemRows(now, labels))
        case "cadres":
            await _cadres(connection, on, period, now, Sheet(path, title, _CADRE_COLUMNS))


async def _stream(
    connection: Connection, sql: str, on: UnitOn, period: Period, sheet: Sheet, row_of: Any
) -> None:
    cursor = await connection.cursor(sql, on.code, period.begins, period.ends, on.day)
    while rows := await cursor.fetch(_AT_ONCE):
        # The sheet is written beside the loop, so that phones do not wait for a ledger.
        await asyncio.to_thread(sheet.write, [row_of(row) for row in rows])
    await asyncio.to_thread(sheet.close)


class Labels:
    """What the words of a ledger are called on a day."""

    def __init__(self, vocabulary: Vocabulary, day: date) -> None:
        self.duties, self.severities, self.roles = (
            vocabulary.labels(name, day) for name in ("duty", "severity", "role")
        )


def _label(table: Mapping[str, Label], word: str | None) -> str | None:
    return None if word is None else table[word].zh if word in table else word


def _visit_row(cipher: FieldCipher, labels: Labels, row: Any) -> Sequence[Any]:
    duties = "、".join(str(_label(labels.duties, duty)) for duty in row["duties"])
    role, state = _label(labels.roles, row["role"]), _label(STATES, row["state"])
    place = (row["banner"], row["township"], row["village"], row["grid_name"])
    phone = row["phone"] and cipher.shown(
        Place("household", "phone", row["household_id"]), row["phone"]
    )
    household = (row["head_name"], phone and mask("phone", phone))
    return (
        row["visited_at"],
        *place,
        *household,
        row["author"],
        role,
        row["content"],
        duties,
        row["problem"],
        state,
        None,
    )


class _ProblemRows:
    """Rows of the problem ledger, overdue as of a moment."""

    def __init__(self, now: datetime, labels: Labels) -> None:
        self._now = now
        self._labels = labels

    def __call__(self, row: Any) -> Sequence[Any]:
        counted = row["state"] not in ("rejected", "joined")
        overdue = (
            counted and row["due"] is not None and (row["resolved_at"] or self._now) > row["due"]
        )
        return (
            row["id"],
            row["raised_at"],
            row["grid_name"],
            row["raised_by"],
            _label(SOURCES, row["source"]),
            _label(self._labels.duties, row["duty"]),
            _label(self._labels.severities, row["severity"]),
            "：".join(text for text in (row["title"], row["detail"]) if text),
            row["handler"],
            row["due"],
            row["measures"],
            row["resolved_at"],
            "是" if overdue else "否",
            _label(SATISFIED, row["satisfied"]),
            _label(STATES, row["state"]),
        )


async def _cadres(
    connection: Connection, on: UnitOn, period: Period, now: datetime, sheet: Sheet
) -> None:
    rows, _ = await cadre_queries.table(
        connection, on.subtree, period, now, "problems_resolved", _MAX_CADRES, None
    )
    medians = await cadre_queries.median_hours(
        connection, on.subtree, period, [row["staff_code"] for row in rows]
    )

    def lines() -> Iterator[Sequence[Any]]:
        for row in rows:
            member = "是" if row["party_member"] else "否"
            counts = [
                row[name]
                for name in ("visits", "problems_raised", "problems_resolved", "problems_overdue")
            ]
            yield (
                row["shown_code"],
                row["name"],
                member,
                row["unit"],
                *counts,
                medians.get(row["staff_code"]),
            )

    await asyncio.to_thread(sheet.write, lines())
    await asyncio.to_thread(sheet.close)


async def _summary(
    connection: Connection,
    settings: Settings,
    which: str,
    on: UnitOn,
    period: Period,
    now: datetime,
    path: Path,
    title: str,
) -> None:
    log = "weekly_analysis" if which == "weekly" else "monthly_summary"
    found = await summary(share_connection(connection), settings, on, period, now, log)
    assert found is not None
    if found.sealed:
        title += "（已封存）"
    sheet = Sheet(path, title, _SUMMARY_COLUMNS)
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
