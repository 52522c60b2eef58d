"""Ledgers as Excel sheets: `GET /v1/exports/{which}.xlsx`."""

from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse

from service.audit.audit_log import note
from service.http.ids import fresh_id
from service.http.temporary_files import XLSX, answered, file_to_answer
from service.identity.access import Caller, Signed
from service.jobs import queries
from service.jobs.asking import ask
from service.jobs.routes import JobOut
from service.kit.database import Connection
from service.kit.errors import READING, documented
from service.kit.localization import FOR_PEOPLE, asked_for
from service.kit.state import state_of
from service.ledgers.jobs import LEDGER, Wanted
from service.ledgers.ledgers import Begin, What, write
from service.ledgers.named import AskedLedger, Which, file_name, ledger_of, refuse
from service.ledgers.sheet import Sheet
from service.organisation.units import AskedPeriod, AsOf, UnitCode, lender_for

router = APIRouter(prefix="/v1/exports", tags=["ledgers"])

_CONTENT = {XLSX: {"schema": {"type": "string", "format": "binary"}}}
_SHEET: dict[int | str, dict[str, Any]] = {200: {"description": "The ledger", "content": _CONTENT}}


def asked_ledger(
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
) -> AskedLedger:
    """The ledger that a request names."""
    return AskedLedger(which, unit, period, as_of, not_visited_days)


Asked = Annotated[AskedLedger, Depends(asked_ledger)]


@router.get(
    "/{which}.xlsx",
    summary="A ledger as an Excel sheet",
    operation_id="export_ledger",
    response_class=FileResponse,
    responses=_SHEET | documented(*READING),
)
async def export(request: Request, caller: Signed, asked: Asked) -> FileResponse:
    """Title with unit and period, header row, total row, signature line; phones are masked. The
    header `Gridloop-Tree-Day` names the day by whose tree of units it is written. `weekly` takes a
    week, `monthly` a month, `quarterly` a quarter, `half-yearly` a
    half-year, `yearly` a year. Problems from before that were
    open when the period began are among the `problems`, and marked. `special` and `contracted` list
    the households of today, with their visits up to the period's end.
    """
    async with file_to_answer("ledger", ".xlsx") as path:
        what = await write_ledger(request, caller, asked, partial(Sheet, path))
    headers = {"Gridloop-Tree-Day": what.on.day.isoformat()}
    return answered(path, XLSX, f"{asked.which}.xlsx", file_name(what), headers)


@router.post(
    "/{which}.xlsx",
    status_code=202,
    summary="Ask for a ledger that is made in the background",
    operation_id="ask_ledger",
    responses=documented(*READING),
)
async def ask_for(request: Request, response: Response, caller: Signed, asked: Asked) -> JobOut:
    """For a large one, such as the visits of the city: what `GET` writes while one waits is made by
    a job here. `Location` names it: ask there how many rows are written, and, once it is done, for
    the file at `…/content`. It is kept for a day, for who asked for it alone.
    """
    state = state_of(request)
    id = fresh_id(request, caller.now)
    async with state.database.transaction() as connection:
        row = await queries.result(connection, id, caller.staff_code)
        if row is None:
            # What can't be asked for is said now, and not by a job that fails.
            what = await ledger_of(connection, caller, asked)
            wanted = Wanted(caller.staff_code, asked, asked_for.get() or FOR_PEOPLE)
            payload = msgspec.to_builtins(wanted)
            name = file_name(what)
            await ask(connection, LEDGER, id, caller.staff_code, payload, caller.now, name)
            await _note(connection, request, caller, asked)
            row = await queries.result(connection, id, caller.staff_code)
    assert row is not None
    response.headers["Location"] = f"/v1/jobs/{id}"
    return JobOut(**dict(row))


async def write_ledger(request: Request, caller: Caller, asked: AskedLedger, begin: Begin) -> What:
    """Writes a ledger to a sheet, with its line in the trail, and tells which it was."""
    refuse(caller, asked)  # before the line is written
    async with state_of(request).database.transaction() as connection:
        await _note(connection, request, caller, asked)
    async with (
        lender_for(request, caller, asked.unit)() as connection,
        connection.transaction(readonly=True),
    ):
        what = await ledger_of(connection, caller, asked)
        await write(connection, state_of(request).settings, what, begin)
    return what


async def _note(
    connection: Connection, request: Request, caller: Caller, asked: AskedLedger
) -> None:
    subjects = [asked.unit, asked.period.name]
    await note(connection, request, caller, f"export-{asked.which}", subjects, 1)
