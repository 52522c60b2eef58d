"""The ledgers 台账 of a unit and a period: `/ledgers` lists them, `/ledgers/{which}.xlsx` is one as
an Excel file, and `/ledgers/{which}` the same to be printed.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.imports import routes as imports
from service.kit.errors import TOO_LARGE, Problem
from service.ledgers import routes as ledgers
from service.ledgers.named import AskedLedger, Which
from service.ledgers.sheet import SIGNATURE, Column
from service.organisation.units import AskedPeriod, MaybePeriod, in_scope
from service.pages.asked import KINDS, asked
from service.pages.large_ledgers import own_ledgers
from service.pages.page import Signed, pages_router
from service.pages.units import path_to
from sync_protocol.periods import SHANGHAI
from sync_protocol.texts import Text

router: APIRouter = pages_router()

# How many lines are printed: some sixty pages.
MAX_LINES = 2_000
_NEVER_KEPT = "no-store"
# Columns up to these widths hold a short word, and a name or a moment.
_SHORT, _MEDIUM = 12, 18

Unit = Annotated[str, Query(max_length=20)]


class Offer(NamedTuple):
    """A ledger that can be had: what it is called, what stands in it, and the one kind of period
    that it takes (None: any).
    """

    which: str
    label: Text
    content: Text
    only: str | None = None


OFFERS = (
    Offer("weekly", Text("Weekly report"), Text("The units below with their numbers"), "week"),
    Offer("monthly", Text("Monthly report"), Text("The units below with their numbers"), "month"),
    Offer(
        "quarterly", Text("Quarterly report"), Text("The units below with their numbers"), "quarter"
    ),
    Offer(
        "half-yearly",
        Text("Half-yearly report"),
        Text("The units below with their numbers"),
        "half",
    ),
    Offer("yearly", Text("Yearly report"), Text("The units below with their numbers"), "year"),
    Offer(
        "problems", Text("Problem ledger"), Text("Each problem raised, how it went and who had it")
    ),
    Offer("disputes", Text("Dispute ledger"), Text("Each dispute, who settled it and how")),
    Offer(
        "visits", Text("Visit ledger"), Text("Each visit with household, duties and what was said")
    ),
    Offer("cadres", Text("Cadre ledger"), Text("What each cadre did")),
    Offer("loop", Text("Grid ledger"), Text("Each grid: days with visits, analyses and summaries")),
    Offer(
        "special",
        Text("Ledger of special households"),
        Text("Each household with a tag, and when it was last visited"),
    ),
    Offer(
        "contracted",
        Text("Ledger of contracted households"),
        Text("Each household that somebody leads, and who visited it"),
    ),
    Offer(
        "indicators",
        Text("Indicator ledger"),
        Text("The indicators that are reported for such a period"),
    ),
)


@router.get("/ledgers", operation_id="ledgers_page")
async def ledgers_page(visit: Signed, period: MaybePeriod, unit: Unit = "") -> Response:
    """The ledgers of a unit and a period."""
    at = asked(visit, unit, period, tuple(KINDS))
    in_scope(visit.caller, at.unit)
    path = await path_to(visit, at.unit)
    return visit.page(
        "ledgers.html",
        unit=at.unit,
        asked=at,
        path_up=path,
        unit_name=path[-1].name if path else at.unit,
        offers=OFFERS,
        has_roster=visit.may("export_roster"),
        may_ask=visit.may("ask_ledger"),
        made=await own_ledgers(visit),
    )


@router.get("/ledgers/roster.xlsx", operation_id="roster_file")
async def roster_file(visit: Signed, unit: Unit) -> Response:
    """The roster of a unit as the workbook that an import reads."""
    file = await imports.export_roster(visit.request, visit.caller, unit, visit.language)
    file.headers["Cache-Control"] = _NEVER_KEPT
    return file


@router.get("/ledgers/{which}.xlsx", operation_id="ledger_file")
async def ledger_file(
    visit: Signed, which: Annotated[Which, Path()], unit: Unit, period: AskedPeriod
) -> Response:
    """A ledger as an Excel file."""
    file = await ledgers.export(visit.request, visit.caller, AskedLedger(which, unit, period))
    file.headers["Cache-Control"] = _NEVER_KEPT
    return file


@router.get("/ledgers/{which}", operation_id="ledger_page")
async def ledger_page(
    visit: Signed, which: Annotated[Which, Path()], unit: Unit, period: AskedPeriod
) -> Response:
    """A ledger to be printed, with the lines of the Excel file."""
    sheets: list[PrintedSheet] = []

    def begin(title: str, columns: Sequence[Column]) -> PrintedSheet:
        sheets.append(PrintedSheet(title, columns))
        return sheets[-1]

    await ledgers.write_ledger(visit.request, visit.caller, AskedLedger(which, unit, period), begin)
    return visit.page(
        "ledger.html",
        unit=unit,
        which=which,
        sheet=sheets[0],
        signature=SIGNATURE,
        classes=[_class(column) for column in sheets[0].columns],
        asked=asked(visit, unit, period, tuple(KINDS)),
    )


class PrintedSheet:
    """A ledger on a page. Raises `Problem` where it has more lines than anybody prints."""

    def __init__(self, title: str, columns: Sequence[Column]) -> None:
        self.title = title
        self.columns = [Column("序号", 6, "whole"), *columns]
        self.lines: list[list[str]] = []
        self.totals: list[str] = []
        self._sums = [0.0] * len(columns)

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Writes rows, each without its number."""
        for row in rows:
            if len(self.lines) == MAX_LINES:
                raise Problem(
                    TOO_LARGE,
                    Text(
                        "This ledger has more than {count} lines, too many to print from here;"
                        " take the Excel file, or a smaller unit or period.",
                        count=f"{MAX_LINES:,}",
                    ),
                )
            self.lines.append(self._written((len(self.lines) + 1, *row)))
            for place, column in enumerate(self.columns[1:]):
                if column.total and row[place] is not None:
                    self._sums[place] += row[place]

    def close(self, totals: Sequence[Any] | None = None) -> None:
        """Writes the total row, by the sums or as given, without the number."""
        sums = [
            total if column.total else None
            for column, total in zip(self.columns[1:], self._sums, strict=True)
        ]
        self.totals = ["合计", *self._written((None, *(totals or sums)))[1:]]

    def _written(self, row: Sequence[Any]) -> list[str]:
        return [_cell(column, value) for column, value in zip(self.columns, row, strict=True)]


def _cell(column: Column, value: Any) -> str:
    """A value as the Excel file shows it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, date):
        return value.isoformat()
    match column.format:
        case "whole":
            return f"{value:,.0f}"
        case "number":
            return f"{value:,.1f}"
        case "percent":
            return f"{100 * value:.1f}%"
    return str(value)


def _class(column: Column) -> str:
    """How a column is set: numbers to the end, short words unbroken, texts as wide as may be."""
    if column.format in ("whole", "number", "percent"):
        return "number"
    return "short" if column.width <= _SHORT else "medium" if column.width <= _MEDIUM else "long"
