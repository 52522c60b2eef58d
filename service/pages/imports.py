"""Imports of the roster: `/admin/imports` takes files in, `/admin/imports/{id}` shows how far one
has come and what came of it.
"""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from fastapi.responses import Response

from service.imports import routes as imports
from service.imports.answers import ImportApplication, ImportForm, ImportSummary
from service.imports.queries import UNFINISHED
from service.imports.report import APPLICABLE
from service.pages.areas import areas
from service.pages.figures import Shown, shown
from service.pages.page import Posted, Signed, Visit, pages_router
from sync_protocol.texts import Text

router: APIRouter = pages_router()

STATES: dict[str, Text] = {
    "waiting": Text("Waits for its turn"),
    "checking": Text("Every row is being checked"),
    "checked": Text("Tried; nothing was written"),
    "refused": Text("Refused; nothing was written"),
    "applying": Text("Is being written"),
    "done": Text("Done"),
    "failed": Text("Broken off"),
    "undoing": Text("Is being taken back"),
    "undone": Text("Taken back"),
    "partly-undone": Text("Taken back in part"),
}
STAGES: dict[str, Text] = {
    "reading": Text("Files are being read"),
    "checking": Text("Every row is being checked"),
    "units": Text("Units are being written"),
    "people": Text("People are being written"),
    "posts": Text("Posts are being written"),
    "households": Text("Households are being written"),
    "undoing": Text("Is being taken back"),
}
OPTIONS: dict[str, Text] = {
    "dry_run": Text("Only try: check every row and write nothing"),
    "skip_bad": Text("Take the good rows although others are wrong"),
    "end_missing": Text("End posts, and delete households, that the files do not have any more"),
}
SHEETS: dict[str, Text] = {
    "units": Text("Units"),
    "people": Text("People"),
    "posts": Text("Posts"),
    "households": Text("Households"),
}
_COUNTS = ("rows", "new", "changed", "unchanged", "ended", "bad")
_UNDOABLE = frozenset({"done", "failed", "partly-undone"})
_ROWS = 50

Flag = Annotated[bool, Form()]
Id = Annotated[str, Path(max_length=40)]


class Tally(NamedTuple):
    """What becomes of the rows of a sheet."""

    sheet: str
    label: Text | str
    numbers: list[Shown]


@router.get("/admin/imports", operation_id="imports_page")
async def imports_page(
    visit: Signed, after: Annotated[str | None, Query(max_length=500)] = None
) -> Response:
    """The imports so far, and the form for another."""
    found = await imports.list_imports(visit.request, visit.caller, _ROWS, after or None)
    return visit.page(
        "imports.html",
        areas=areas(visit),
        found=found,
        states=STATES,
        options=OPTIONS,
        chosen=["dry_run"],
        after=after,
    )


@router.post("/admin/imports", operation_id="import_on_page")
async def create(
    visit: Posted,
    files: Annotated[list[UploadFile], File()],
    dry_run: Flag = False,
    skip_bad: Flag = False,
    end_missing: Flag = False,
) -> Response:
    """Takes files in, and goes on to what becomes of them."""
    form = ImportForm(files=files, dry_run=dry_run, skip_bad=skip_bad, end_missing=end_missing)
    asked = await imports.create_import(visit.request, visit.caller, form)
    return visit.go(f"/admin/imports/{asked.id}")


@router.get("/admin/imports/{id}", operation_id="import_page")
async def import_page(visit: Signed, id: Id) -> Response:
    """How far an import has come, or its report."""
    under_way = await imports.progress(visit.request, visit.caller, id)
    if under_way.state in UNFINISHED:
        return _progress(visit, "import_progress.html", under_way)
    found = await imports.get_import(visit.request, visit.caller, id)
    return visit.page(
        "import.html",
        areas=areas(visit),
        found=found,
        state=STATES.get(found.state, found.state),
        may_apply=found.state in APPLICABLE,
        may_undo=found.state in _UNDOABLE,
        tallies=[
            Tally(
                one.sheet,
                SHEETS.get(one.sheet, one.sheet),
                [shown(key, getattr(one, key)) for key in _COUNTS],
            )
            for one in found.tallies
        ],
        sheets=SHEETS,
        options=OPTIONS,
        chosen=[one for one in found.options if one != "dry_run"],
        fault_count=shown("fault_count", found.fault_count),
    )


@router.get("/admin/imports/{id}/progress", operation_id="import_progress")
async def import_progress(visit: Signed, id: Id) -> Response:
    """How far an import has come, as a part of its page; when it has ended, the page is loaded with
    the report.
    """
    found = await imports.progress(visit.request, visit.caller, id)
    if found.state in UNFINISHED:
        return _progress(visit, "import_stands.html", found)
    if "hx-request" not in visit.request.headers:
        return visit.go(f"/admin/imports/{id}")
    return Response(
        status_code=204,
        headers={"HX-Redirect": f"/admin/imports/{id}", "Cache-Control": "no-store"},
    )


def _progress(visit: Visit, template: str, found: ImportSummary) -> Response:
    return visit.page(
        template,
        areas=areas(visit),
        found=found,
        state=STATES.get(found.state, found.state),
        stage=STAGES.get(found.stage),
        options=OPTIONS,
    )


@router.post("/admin/imports/{id}/apply", operation_id="apply_on_page")
async def apply(
    visit: Posted, id: Id, skip_bad: Flag = False, end_missing: Flag = False
) -> Response:
    """Has an import written that was tried, with the same files."""
    body = ImportApplication(skip_bad=skip_bad, end_missing=end_missing)
    await imports.apply_import(visit.request, visit.caller, id, body)
    return visit.go(f"/admin/imports/{id}")


@router.post("/admin/imports/{id}/undo", operation_id="undo_on_page")
async def undo(visit: Posted, id: Id) -> Response:
    """Takes an import back, and shows how that goes."""
    await imports.undo_import(visit.request, visit.caller, id)
    return visit.go(f"/admin/imports/{id}")
