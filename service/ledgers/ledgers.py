"""What stands in each ledger: its title, its columns, and its rows from the queries."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, NamedTuple

from service.identity.views import mask
from service.indicators.values import read_values
from service.kit.database import Connection, share_connection
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.ledgers import disputes, indicators, queries
from service.ledgers.disputes import DisputeRows
from service.ledgers.sheet import Column, LedgerSheet
from service.organisation.units import UnitOn
from service.summaries import sealed
from service.summaries.answers import Totals
from service.summaries.cadre_queries import Wanted
from service.summaries.cadre_table import cadre_table
from service.summaries.sealed import NOTHING, Sealed
from service.summaries.summary import summary
from service.vocabulary.indicators import indicators_on
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.terms import Vocabulary
from sync_protocol.periods import Period, kind_of, local_day
from sync_protocol.vocabulary import SATISFIED, SOURCES, STATES, Label

TITLES = {
    "weekly": "工作周报",
    "monthly": "工作月报",
    "problems": "问题台账",
    "disputes": "矛盾纠纷台账",
    "visits": "走访台账",
    "cadres": "干部工作台账",
    "indicators": "指标台账",
}

# Begins a sheet with its title and columns.
Begin = Callable[[str, Sequence[Column]], LedgerSheet]

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
_CADRE_COUNTS = ("visits", "problems_raised", "problems_resolved", "problems_overdue")
_MAX_CADRES = 100_000


class What(NamedTuple):
    """Which ledger: of a unit, by the tree of a day, and a period, as of a moment."""

    which: str
    unit_name: str
    on: UnitOn
    period: Period
    now: datetime

    @property
    def title(self) -> str:
        """The first line, without what is said of seals."""
        days = f"（{self.period.first} 至 {self.period.last}）"
        return f"{self.unit_name}{TITLES[self.which]}{days}"


async def write(connection: Connection, settings: Settings, what: What, begin: Begin) -> None:
    """Writes a ledger to a sheet that `begin` makes. Runs in the caller's transaction, which a
    cursor needs.
    """
    data = await current_reference_data(connection)
    labels = Labels(data.vocabulary, what.period.last)
    match what.which:
        case "weekly" | "monthly":
            await _summary(connection, settings, what, begin)
        case "visits":
            row_of = partial(_visit_row, await cipher_of(connection, settings), labels)
            await _records(
                connection, what, begin, _VISIT_COLUMNS, queries.visits(what.on.subtree), row_of
            )
        case "problems":
            sql, rows = queries.problems(what.on.subtree), _ProblemRows(what.now, labels)
            await _records(connection, what, begin, _PROBLEM_COLUMNS, sql, rows)
        case "disputes":
            cipher = await cipher_of(connection, settings)
            kinds = data.vocabulary.labels("dispute_kind", what.period.last)
            sql, dispute_row = queries.disputes(what.on.subtree), DisputeRows(cipher, kinds)
            await _records(connection, what, begin, disputes.COLUMNS, sql, dispute_row)
        case "indicators":
            await _indicators(connection, data.vocabulary, what, begin)
        case "cadres":
            await _cadres(connection, what, begin)


async def _records(
    connection: Connection,
    what: What,
    begin: Begin,
    columns: Sequence[Column],
    sql: str,
    row_of: Callable[[Any], Sequence[Any]],
) -> None:
    """Records one after another, each as it is now; of a sealed period those that came in since are
    marked, and the last row says what was sealed.
    """
    on, period = what.on, what.period
    kept = await sealed.of_period(connection, on, period) if what.on.shows_seals else NOTHING
    sheet = begin(what.title + _seal_mark(kept), columns)
    tally = _Tally(kept, what.which, row_of)
    cursor = await connection.cursor(sql, on.code, period.begins, period.ends, on.day)
    while rows := await cursor.fetch(_AT_ONCE):
        # The sheet is written beside the loop, so that phones do not wait for a ledger.
        await asyncio.to_thread(sheet.write, tally.lines(rows))
    total: list[Any] = [None] * len(columns)
    total[[column.title for column in columns].index(_TEXT_OF[what.which])] = tally.sentence()
    await asyncio.to_thread(sheet.close, total)


# The number of the summaries that the rows of a ledger come to, and the column in whose last row
# that is said.
_COUNTED = {
    "visits": "visits",
    "problems": "problems_raised",
    "disputes": "disputes_raised",
}
_TEXT_OF = {"visits": "走访内容", "problems": "问题描述", "disputes": "简要情况"}
_CAME_SINCE = "封存后到达"


class _Tally:
    """Counts the records of a ledger as the summaries do, and marks those that came in since their
    grid was sealed; the last column is for remarks.
    """

    def __init__(self, kept: Sealed, which: str, row_of: Callable[[Any], Sequence[Any]]) -> None:
        self._since = {grid: one.since for grid, one in kept.grids.items()}
        counted = _COUNTED[which]
        self._sealed = sum(one.counts.totals.get(counted, 0) for one in kept.grids.values())
        self._is_of_problems = which in ("problems", "disputes")
        self._is_whole = kept.is_kept
        self._row_of = row_of
        self._open = self._before = self._later = 0

    def lines(self, rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
        """The lines of some records."""
        for row in rows:
            line = self._row_of(row)
            since = self._since.get(row["grid"])
            is_later = self._is_whole if since is None else row["received_at"] > since
            if not self._is_of_problems or row["state"] not in ("rejected", "joined"):
                if is_later:
                    self._later += 1
                elif since is None:
                    self._open += 1
                else:
                    self._before += 1
            if is_later:
                line = (*line[:-1], "，".join(filter(None, (line[-1], _CAME_SINCE))))
            yield line

    def sentence(self) -> str:
        """How many there are, and of them what was sealed and what came since."""
        parts = [f"共 {self._open + self._sealed} 条"]
        if self._later:
            parts.append(f"封存后到达 {self._later} 条未计入")
        if self._sealed > self._before:
            parts.append(f"封存后撤销 {self._sealed - self._before} 条仍计入")
        elif self._sealed < self._before:
            parts.append(f"封存后转入 {self._before - self._sealed} 条未计入")
        return "；".join(parts)


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


async def _cadres(connection: Connection, what: What, begin: Begin) -> None:
    on = what.on
    shown = await cadre_table(
        connection,
        on,
        what.period,
        what.now,
        Wanted("problems_resolved", _MAX_CADRES),
    )
    sheet = begin(what.title + _seal_mark(shown.kept), _CADRE_COLUMNS)

    def lines() -> Iterator[Sequence[Any]]:
        for row in shown.rows:
            member = "是" if row["party_member"] else "否"
            counts = [row[name] for name in _CADRE_COUNTS]
            yield (
                row["shown_code"],
                row["name"],
                member,
                row["unit"],
                *counts,
                shown.medians.get(row["staff_code"]),
            )
        if any(shown.unassigned.values()):
            counts = [shown.unassigned[name] for name in _CADRE_COUNTS]
            yield (None, "未分派", None, on.code, *counts, None)

    await asyncio.to_thread(sheet.write, lines())
    await asyncio.to_thread(sheet.close)


async def _indicators(
    connection: Connection, vocabulary: Vocabulary, what: What, begin: Begin
) -> None:
    """The indicators that are reported for periods of the kind of this one."""
    kind = kind_of(what.period.name)
    some = [one for one in indicators_on(vocabulary, local_day(what.now)) if one.period == kind]
    found = await read_values(connection, what.on, some, what.period)
    sheet = begin(what.title, indicators.COLUMNS)
    await asyncio.to_thread(sheet.write, indicators.lines(found, what.unit_name))
    await asyncio.to_thread(sheet.close)


def _seal_mark(kept: Sealed) -> str:
    """What a title says of seals."""
    if kept.covering is not None:
        return "（已封存）"
    return "（部分已封存）" if kept.below else ""


async def _summary(connection: Connection, settings: Settings, what: What, begin: Begin) -> None:
    log = "weekly_analysis" if what.which == "weekly" else "monthly_summary"
    found = await summary(
        share_connection(connection),
        settings,
        what.on,
        what.period,
        what.now,
        log,
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
