"""Importing the roster over REST, `/v1/imports`, and the workbook back."""

import asyncio
import re
import tempfile
from datetime import datetime
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from service.audit.audit_log import note
from service.http.ids import fresh_id
from service.http.strict import RequestBody
from service.identity.access import Signed
from service.imports import asking, queries, runs
from service.imports.columns import IN_WORKBOOKS
from service.imports.exporting import export
from service.imports.importer import Importer
from service.imports.report import Report, load
from service.kit.database import Row
from service.kit.errors import INVALID, NOT_NOW, READING, TOO_LARGE, Problem, documented
from service.kit.localization import asked_for, localized
from service.kit.paging import After, Id, Limit, next_place, read_place
from service.kit.state import state_of
from service.organisation.units import UnitCode, in_scope, unit_in_scope
from sync_protocol.texts import Text, Word, restored

router = APIRouter(prefix="/v1", tags=["imports"])

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_CONTENT = {XLSX: {"schema": {"type": "string", "format": "binary"}}}
_BOOK: dict[int | str, dict[str, Any]] = {200: {"description": "The workbook", "content": _CONTENT}}
MAX_FILES = 20


class ImportForm(RequestBody):
    """Files of units, people, posts and households: .xlsx, .xls, .csv."""

    files: list[UploadFile] = Field(min_length=1, max_length=MAX_FILES)
    dry_run: bool = Field(False, description="Check and tell, write nothing")
    skip_bad: bool = Field(False, description="Take the good rows although others are wrong")
    end_missing: bool = Field(
        False, description="End posts, and delete households, that the files do not have any more"
    )


class TallyItem(BaseModel):
    """What becomes of the rows of a sheet."""

    sheet: str = Field(examples=["households"])
    title: str = Field(description="What the sheet is called", examples=["农牧户"])
    rows: int
    new: int
    changed: int
    unchanged: int
    ended: int
    bad: int


class FaultItem(BaseModel):
    """Something that is wrong. Personal values are masked; `row` is 0 for a whole file or sheet."""

    kind: str = Field(examples=["phone-form"])
    file: str
    sheet: str
    row: int
    column: str
    value: str
    what: str
    todo: str


class ToldItem(BaseModel):
    """A sheet that was read: which of ours it is (empty: none, it was passed over), and columns
    that were passed over.
    """

    file: str
    title: str
    sheet: str
    rows: int
    ignored: list[str]


class ImportChange(BaseModel):
    """Something that changes: a unit or person by its code, a post by person, role and unit, a
    household by its id (empty for a new one) and grid. `named`: how people name it, masked.
    """

    sheet: str
    what: str
    key: str
    named: str
    grid: str
    row: int
    fields: list[str]


class LeftItem(BaseModel):
    """What could not be taken back, and why. `key`: a code or an id; `named`: by what people know
    it (a post by person, role and unit, a household by its number and head, masked); `grid`: of a
    household.
    """

    kind: str
    key: str
    named: str
    grid: str
    why: str


class ImportSummary(BaseModel):
    """An import: who asked for it and for which units, and how far it has come."""

    id: str
    at: datetime
    asked_by: str
    units: list[str]
    options: list[str]
    state: str = Field(
        description="waiting, checking, checked (dry run), refused, applying, done, failed,"
        " undoing, undone, partly-undone"
    )
    stage: str
    done: int
    total: int
    ended_at: datetime | None


class ImportDetail(ImportSummary):
    """The same with its report. `faults` and `changes` list the first; `fault_count` counts all."""

    tallies: list[TallyItem]
    fault_count: int
    faults: list[FaultItem]
    sheets: list[ToldItem]
    changes: list[ImportChange]
    warnings: list[str] = Field(
        description="What is to be known of what was, or would be, done: what people still have in"
        " hand whose last post ends"
    )
    undone: int
    left: list[LeftItem]


class ImportPage(BaseModel):
    """A page of imports, the newest first."""

    items: list[ImportSummary]
    next: str | None


def _summary(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ImportSummary.model_fields}


def _detail(row: Row) -> ImportDetail:
    report = load(row["report"]) if row["report"] else Report()
    told = [
        ToldItem(**{name: getattr(item, name) for name in ToldItem.model_fields})
        for item in report.told
    ]
    return ImportDetail(
        **_summary(row),
        tallies=[
            TallyItem(
                sheet=sheet.name,
                title=localized(Word(sheet.title.en, sheet.title.zh)),
                **msgspec.structs.asdict(report.sheets[sheet.name]),
            )
            for sheet in IN_WORKBOOKS
            if sheet.name in report.sheets
        ],
        fault_count=report.fault_count,
        faults=[
            FaultItem(
                **msgspec.structs.asdict(fault)
                | {name: localized(restored(getattr(fault, name))) for name in ("what", "todo")}
            )
            for fault in report.faults
        ],
        sheets=told,
        changes=[
            ImportChange(
                sheet=item.sheet,
                what=item.what,
                key=item.key,
                named=localized(restored(item.named or item.key)),
                grid=item.grid,
                row=item.row,
                fields=item.fields,
            )
            for item in report.items
        ],
        warnings=[localized(restored(kept)) for kept in report.warnings],
        undone=report.undone,
        left=[
            LeftItem(
                kind=left.kind,
                key=left.key,
                named=localized(restored(left.named or left.key)),
                grid=left.grid if left.kind == "household" else "",
                why=localized(restored(left.why)),
            )
            for left in report.left
        ],
    )


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
    return ImportSummary(**_summary(row))


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
    items = [ImportSummary(**_summary(row)) for row in rows[:limit]]
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
    return _detail(row)


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
    return ImportSummary(**_summary(row))


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
    with tempfile.NamedTemporaryFile(
        prefix="gridloop-roster-", suffix=".xlsx", delete=False
    ) as file:
        path = FilePath(file.name)
    try:
        async with state.database.transaction() as connection:
            await note(connection, request, caller, "export-roster", [unit], 1)
        async with (
            unit_in_scope(request, caller, unit) as (connection, found),
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            language = lang or asked_for.get() or "zh"
            await export(connection, state.settings, caller, unit, path, language)
    except BaseException:
        await asyncio.to_thread(path.unlink)
        raise
    name = f"{found['name']}名册.xlsx"
    headers = {
        "Content-Disposition": 'attachment; filename="roster.xlsx";'
        f" filename*=UTF-8''{quote(name)}"
    }
    return FileResponse(
        path, media_type=XLSX, headers=headers, background=BackgroundTask(path.unlink)
    )
