"""The ledgers of visits, problems and disputes: a row each, as they are now."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from service.identity.views import mask
from service.kit.database import Connection
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.ledgers import disputes, queries
from service.ledgers.sheet import Begin, Column
from service.ledgers.what import Labels, Places, What, label, said_once, seal_mark
from service.problems.numbers import number_of
from service.summaries import sealed
from service.summaries.sealed import NOTHING, Sealed
from sync_protocol.vocabulary import SATISFIED, SOURCES, STATES

AT_ONCE = 1_000
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
    Column("是否超期", 12),
    Column("群众是否满意", 12),
    Column("备注", 16),
)
# The number of the summaries that the rows of a ledger come to, and the column in whose last row
# that is said.
_COUNTED = {
    "visits": "visits",
    "problems": "problems_raised",
    "disputes": "disputes_raised",
}
_TEXT_OF = {"visits": "走访内容", "problems": "问题描述", "disputes": "简要情况"}
_CAME_SINCE = "封存后到达"
_FROM_BEFORE = "期前未结"
_OUTSIDE = ("rejected", "joined")


async def write_visits(
    connection: Connection, settings: Settings, what: What, labels: Labels, begin: Begin
) -> None:
    """The visits of the period."""
    places = await Places.read(connection, what.on)
    rows = _VisitRows(await cipher_of(connection, settings), labels, places)
    await _write(connection, what, begin, _VISIT_COLUMNS, queries.visits(what.on.subtree), rows)


async def write_problems(connection: Connection, what: What, labels: Labels, begin: Begin) -> None:
    """The problems that were raised in the period, and those from before that were open then."""
    rows = _ProblemRows(what.now, labels, await Places.read(connection, what.on))
    await _write(connection, what, begin, _PROBLEM_COLUMNS, queries.problems(what.on.subtree), rows)


async def write_disputes(
    connection: Connection, settings: Settings, what: What, labels: Labels, begin: Begin
) -> None:
    """The disputes that were raised in the period, and those from before that were open then."""
    rows = disputes.DisputeRows(await cipher_of(connection, settings), labels.disputes)
    await _write(connection, what, begin, disputes.COLUMNS, queries.disputes(what.on.subtree), rows)


async def _write(
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
    kept = await sealed.of_period(connection, on, period) if on.shows_seals else NOTHING
    sheet = begin(what.title + seal_mark(kept), columns)
    tally = _Tally(kept, what.which, row_of)
    cursor = await connection.cursor(sql, on.code, period.begins, period.ends)
    while rows := await cursor.fetch(AT_ONCE):
        # The sheet is written beside the loop, so that phones do not wait for a ledger.
        await asyncio.to_thread(sheet.write, tally.lines(rows))
    total: list[Any] = [None] * len(columns)
    total[[column.title for column in columns].index(_TEXT_OF[what.which])] = tally.sentence()
    await asyncio.to_thread(sheet.close, total)


class _Tally:
    """Counts the records of a ledger as the summaries do, and marks those that came in since their
    grid was sealed, and problems from before the period; the last column is for remarks.
    """

    def __init__(self, kept: Sealed, which: str, row_of: Callable[[Any], Sequence[Any]]) -> None:
        self._since = {grid: one.since for grid, one in kept.grids.items()}
        counted = _COUNTED[which]
        self._sealed = sum(one.counts.totals.get(counted, 0) for one in kept.grids.values())
        self._is_of_problems = which in ("problems", "disputes")
        self._is_whole = kept.is_kept
        self._row_of = row_of
        self._open = self._before = self._later = self._older = self._outside = 0

    def lines(self, rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
        """The lines of some records."""
        for row in rows:
            line = self._row_of(row)
            remark = self._remark(row)
            if remark is not None:
                line = (*line[:-1], "，".join(filter(None, (line[-1], remark))))
            yield line

    def _remark(self, row: Any) -> str | None:
        """Counts a record where it belongs, and what is to be said of it."""
        if self._is_of_problems and row["is_older"]:
            self._older += 1
            return _FROM_BEFORE
        since = self._since.get(row["grid"])
        is_later = self._is_whole if since is None else row["received_at"] > since
        if self._is_of_problems and row["state"] in _OUTSIDE:
            self._outside += 1
        elif is_later:
            self._later += 1
        elif since is None:
            self._open += 1
        else:
            self._before += 1
        return _CAME_SINCE if is_later else None

    def sentence(self) -> str:
        """How many there are, and of them what was sealed and what came since."""
        parts = [f"共 {self._open + self._sealed} 条"]
        if self._outside:
            parts.append(f"不予受理、并案 {self._outside} 条未计入")
        if self._older:
            parts.append(f"期前未结 {self._older} 条未计入")
        if self._later:
            parts.append(f"封存后到达 {self._later} 条未计入")
        if self._sealed > self._before:
            parts.append(f"封存后撤销 {self._sealed - self._before} 条仍计入")
        elif self._sealed < self._before:
            parts.append(f"封存后转入 {self._before - self._sealed} 条未计入")
        return "；".join(parts)


class _VisitRows:
    """Rows of the visit ledger."""

    def __init__(self, cipher: FieldCipher, labels: Labels, places: Places) -> None:
        self._cipher = cipher
        self._labels = labels
        self._places = places
        # Visits come grid by grid, and to the same households.
        self._phones: dict[str, str | None] = {}
        self._grid = ""

    def __call__(self, row: Any) -> Sequence[Any]:
        labels, place = self._labels, self._places.of(row["grid"])
        return (
            row["visited_at"],
            place["banner"],
            place["township"],
            place["village"],
            place["grid"],
            row["head_name"],
            self._phone(row),
            row["author"],
            label(labels.roles, row["role"]),
            row["content"],
            "、".join([str(label(labels.duties, duty)) for duty in row["duties"]]),
            row["problem"],
            label(STATES, row["state"]),
            None,
        )

    def _phone(self, row: Any) -> str | None:
        if row["phone"] is None:
            return None
        if row["grid"] != self._grid:
            self._grid = row["grid"]
            self._phones.clear()
        household = row["household_id"]
        if household not in self._phones:
            shown = self._cipher.shown(Place("household", "phone", household), row["phone"])
            self._phones[household] = shown and mask("phone", shown)
        return self._phones[household]


class _ProblemRows:
    """Rows of the problem ledger, overdue as of a moment."""

    def __init__(self, now: datetime, labels: Labels, places: Places) -> None:
        self._now = now
        self._labels = labels
        self._places = places

    def __call__(self, row: Any) -> Sequence[Any]:
        labels = self._labels
        return (
            number_of(row["id"], row["raised_at"]),
            row["raised_at"],
            self._places.of(row["grid"])["grid"],
            row["raised_by"],
            label(SOURCES, row["source"]),
            label(labels.categories, row["category"]) or label(labels.duties, row["duty"]),
            label(labels.severities, row["severity"]),
            said_once(row["title"], row["detail"]),
            row["handler"],
            row["due"],
            row["measures"],
            row["resolved_at"],
            self._overdue(row),
            label(SATISFIED, row["satisfied"]),
            label(STATES, row["state"]),
        )

    def _overdue(self, row: Any) -> str:
        """Whether it passed its limit: still open, which is what summaries count, or resolved
        late.
        """
        if row["state"] in _OUTSIDE or row["due"] is None:
            return "否"
        if row["resolved_at"] is not None:
            return "是（已办结）" if row["resolved_at"] > row["due"] else "否"
        return "是（未办结）" if self._now > row["due"] else "否"
