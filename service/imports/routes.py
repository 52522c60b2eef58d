"""Importing the roster over REST, `/v1/imports`, and the workbook back."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.responses import FileResponse

from service.audit.audit_log import note
from service.http.ids import fresh_id
from service.http.temporary_files import XLSX, answered, file_to_answer
from service.identity.access import Caller, Signed
from service.imports import asking, queries, runs
from service.imports.answers import (
    ImportApplication,
    ImportDetail,
    ImportForm,
    ImportPage,
    ImportSummary,
    detail_of,
    summary_of,
)
from service.imports.exporting import export
from service.imports.importer import Importer
from service.imports.report import APPLICABLE, State
from service.kit.errors import INVALID, NOT_NOW, READING, TOO_LARGE, Problem, documented
from service.kit.localization import asked_for
from service.kit.paging import After, Id, Limit, next_place, read_place
from service.kit.state import state_of
from service.organisation.units import UnitCode, in_scope, unit_in_scope
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["imports"])

_CONTENT = {XLSX: {"schema": {"type": "string", "format": "binary"}}}
_BOOK: dict[int | str, dict[str, Any]] = {200: {"description": "The workbook", "content": _CONTENT}}


@router.post(
    "/imports",
    status_code=202,
    summary="Import units, people, posts and households",
    operation_id="create_import",
    responses=documented(*READING, NOT_NOW, TOO_LARGE),
)
async def create_import(
    request: Request,
    caller: Signed,
    form: Annotated[ImportForm, Form(media_type="multipart/form-data")],
) -> ImportSummary:
    """Goes on in the background: ask `GET /v1/imports/{id}` how far it has come. Nothing is written
    unless every row is good, or `skip_bad` is said. One at a time for a unit.
    """
    state = state_of(request)
    units = caller.units()
    files = [(_name_of(file), await file.read()) for file in form.files]
    size = sum(len(content) for _, content in files)
    most = state.settings.import_max_bytes
    if size > most:
        text = Text(
            "The files have {size} bytes, at most {max} are taken at once; send them one after"
            " another.",
            size=size,
            max=most,
        )
        raise Problem(TOO_LARGE, text, limit=most)
    options = [
        name for name in (runs.DRY_RUN, runs.SKIP_BAD, runs.END_MISSING) if getattr(form, name)
    ]
    id = fresh_id(request, caller.now)
    async with state.database.transaction() as connection:
        row = await queries.one_import(connection, id)
        if row is None:
            await asking.refuse_second(connection, units, caller.today)
            asked = runs.Asked(caller.staff_code, units, options, files)
            await runs.ask(connection, state.settings, asked, id, caller.now)
            await note(connection, request, caller, "roster-import-asked", [id, *options], 1)
            row = await queries.one_import(connection, id)
    assert row is not None
    state.of(Importer).wake()
    return ImportSummary(**summary_of(row))


def _name_of(file: UploadFile) -> str:
    """The name of a file without its folders, fit for a report."""
    name = re.split(r"[/\\]", file.filename or "")[-1]
    return "".join(char for char in name if char.isprintable())[-100:] or "file"


@router.get(
    "/imports",
    summary="Imports, the newest first",
    operation_id="list_imports",
    responses=documented(*READING),
)
async def list_imports(
    request: Request, caller: Signed, limit: Limit = 100, after: After = None
) -> ImportPage:
    """Those whose units all lie in the caller's."""
    place = read_place(after)
    before = None if place is None else (_moment(place[0]), place[1])
    async with state_of(request).database.reading() as connection:
        rows = await queries.imports(connection, caller.ranges(caller.units()), before, limit + 1)
    items = [ImportSummary(**summary_of(row)) for row in rows[:limit]]
    last = items[-1] if len(rows) > limit else None
    return ImportPage(items=items, next=last and next_place(last.at.isoformat(), last.id))


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Problem(INVALID, "after: this is no place that a page named; leave it out.") from None


@router.get(
    "/imports/{id}",
    summary="An import: progress and report",
    operation_id="get_import",
    responses=documented(*READING),
)
async def get_import(request: Request, caller: Signed, id: Id) -> ImportDetail:
    """What would be, or was, new, changed, left alone and ended, and what is wrong."""
    async with state_of(request).database.transaction() as connection:
        row = await asking.import_within(connection, id, caller.units(), caller.today)
        await note(connection, request, caller, "roster-import-read", [id], 1)
        is_kept = State(row["state"]) in APPLICABLE and await queries.has_files(connection, id)
    found = detail_of(row)
    if is_kept and row["ended_at"] is not None:
        hours = state_of(request).settings.import_files_hours
        found.files_until = row["ended_at"] + timedelta(hours=hours)
    return found


async def progress(request: Request, caller: Caller, id: str) -> ImportSummary:
    """How far an import has come, without its report: nothing of anybody, and so no line of the
    trail, however often somebody looks.
    """
    async with state_of(request).database.reading() as connection:
        row = await asking.import_within(connection, id, caller.units(), caller.today)
    return ImportSummary(**summary_of(row))


@router.post(
    "/imports/{id}/apply",
    status_code=202,
    summary="Carry out an import that was tried",
    operation_id="apply_import",
    responses=documented(*READING, NOT_NOW),
)
async def apply_import(
    request: Request, caller: Signed, id: Id, body: ImportApplication
) -> ImportSummary:
    """With the files that were sent, as long as they are kept (`files_until`); of a dry run, or of
    one that was refused. Every row is checked anew.
    """
    state = state_of(request)
    options = [name for name in (runs.SKIP_BAD, runs.END_MISSING) if getattr(body, name)]
    async with state.database.transaction() as connection:
        await asking.begin_apply(
            connection, id, caller.units(), caller.today, caller.staff_code, options
        )
        await note(connection, request, caller, "roster-import-asked", [id, *options], 1)
        row = await queries.one_import(connection, id)
    assert row is not None
    state.of(Importer).wake()
    return ImportSummary(**summary_of(row))


@router.post(
    "/imports/{id}/undo",
    status_code=202,
    summary="Take an import back",
    operation_id="undo_import",
    responses=documented(*READING, NOT_NOW),
)
async def undo_import(request: Request, caller: Signed, id: Id) -> ImportSummary:
    """As far as nobody has edited since what it did; `left` of its report then lists the rest."""
    state = state_of(request)
    async with state.database.transaction() as connection:
        await asking.begin_undo(connection, id, caller.units(), caller.today, caller.staff_code)
        await note(connection, request, caller, "roster-import-undo-asked", [id], 1)
        row = await queries.one_import(connection, id)
    assert row is not None
    state.of(Importer).wake()
    return ImportSummary(**summary_of(row))


@router.get(
    "/exports/roster.xlsx",
    summary="The roster as the workbook that an import reads",
    operation_id="export_roster",
    response_class=FileResponse,
    responses=_BOOK | documented(*READING),
)
async def export_roster(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    lang: Annotated[
        str | None,
        Query(
            pattern="^(zh|en)$",
            description="Of the headers; left out, that of Accept-Language, else zh",
        ),
    ] = None,
) -> FileResponse:
    """Units, people, posts and households of a unit and all below. Who only supervises gets phones
    and addresses masked; an import leaves masked values alone.
    """
    state = state_of(request)
    in_scope(caller, unit)
    async with file_to_answer("roster", ".xlsx") as path:
        async with state.database.transaction() as connection:
            await note(connection, request, caller, "export-roster", [unit], 1)
        async with (
            unit_in_scope(request, caller, unit) as (connection, found),
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            language = lang or asked_for.get() or "zh"
            await export(connection, state.settings, caller, unit, path, language)
    return answered(path, XLSX, "roster.xlsx", f"{found['name']}名册.xlsx")
