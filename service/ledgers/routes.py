"""Ledgers as Excel sheets: `GET /v1/exports/{which}.xlsx`."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.kit.errors import INVALID, READING, Problem, documented
from service.kit.state import state_of
from service.ledgers.ledgers import TITLES, Begin, What, write
from service.ledgers.sheet import Sheet
from service.organisation.units import (
    AskedPeriod,
    AsOf,
    UnitCode,
    in_scope,
    unit_in_scope,
    unit_on,
)
from sync_protocol.periods import Period, kind_of
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/exports", tags=["ledgers"])

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Which = Literal[
    "weekly",
    "monthly",
    "quarterly",
    "half-yearly",
    "yearly",
    "problems",
    "disputes",
    "visits",
    "cadres",
    "indicators",
    "loop",
    "special",
    "contracted",
]
# The ledgers that are of one kind of period.
_TAKES = {
    "weekly": ("week", Text("The weekly ledger takes a week.")),
    "monthly": ("month", Text("The monthly ledger takes a month.")),
    "quarterly": ("quarter", Text("The quarterly ledger takes a quarter.")),
    "half-yearly": ("half", Text("The half-yearly ledger takes a half-year.")),
    "yearly": ("year", Text("The yearly ledger takes a year.")),
}
_CONTENT = {XLSX: {"schema": {"type": "string", "format": "binary"}}}
_SHEET: dict[int | str, dict[str, Any]] = {200: {"description": "The ledger", "content": _CONTENT}}


@router.get(
    "/{which}.xlsx",
    summary="A ledger as an Excel sheet",
    operation_id="export_ledger",
    response_class=FileResponse,
    responses=_SHEET | documented(*READING),
)
async def export(
    request: Request,
    caller: Signed,
    which: Annotated[Which, Path(description="Which ledger")],
    unit: UnitCode,
    period: AskedPeriod,
    as_of: AsOf = "period",
    not_visited_days: Annotated[
        int | None,
        Query(
            ge=1,
            le=3650,
            description="Of `special` and `contracted` only the households that nobody has visited"
            " for so many days up to the period's end, or today, or ever",
        ),
    ] = None,
) -> FileResponse:
    """Title with unit and period, header row, total row, signature line; phones are masked. The
    header `Gridloop-Tree-Day` names the day by whose tree of units it is written. `weekly` takes a
    week, `monthly` a month, `quarterly` a quarter, `half-yearly` a
    half-year, `yearly` a year. Problems from before that were
    open when the period began are among the `problems`, and marked. `special` and `contracted` list
    the households of today, with their visits up to the period's end.
    """
    with tempfile.NamedTemporaryFile(
        prefix="gridloop-ledger-", suffix=".xlsx", delete=False
    ) as file:
        path = FilePath(file.name)
    try:
        what = await write_ledger(
            request, caller, which, unit, period, partial(Sheet, path), as_of, not_visited_days
        )
    except BaseException:
        await asyncio.to_thread(path.unlink)
        raise
    name = f"{what.unit_name}{TITLES[which]}{period.name.replace('/', '至')}.xlsx"
    headers = {
        "Content-Disposition": f'attachment; filename="{which}.xlsx";'
        f" filename*=UTF-8''{quote(name)}",
        "Gridloop-Tree-Day": what.on.day.isoformat(),
    }
    return FileResponse(
        path, media_type=XLSX, headers=headers, background=BackgroundTask(path.unlink)
    )


async def write_ledger(
    request: Request,
    caller: Caller,
    which: Which,
    unit: str,
    period: Period,
    begin: Begin,
    as_of: str = "period",
    not_visited_days: int | None = None,
) -> What:
    """Writes a ledger to a sheet, with its line in the trail, and tells which it was."""
    if not_visited_days is not None and which not in ("special", "contracted"):
        raise Problem(
            INVALID,
            Text(
                "not_visited_days is for ledgers of households; ask for the ledger special or"
                " contracted, or leave it out."
            ),
        )
    wanted = _TAKES.get(which)
    if wanted is not None and kind_of(period.name) != wanted[0]:
        raise Problem(INVALID, wanted[1])
    in_scope(caller, unit)
    async with state_of(request).database.transaction() as connection:
        await note(connection, request, caller, f"export-{which}", [unit, period.name], 1)
    async with (
        unit_in_scope(request, caller, unit) as (connection, found),
        connection.transaction(readonly=True),
    ):
        on = unit_on(caller, unit, as_of, period)
        what = What(
            which,
            found["name"],
            on,
            period,
            caller.now,
            caller.view_of(unit),
            not_visited_days,
        )
        await write(connection, state_of(request).settings, what, begin)
    return what
