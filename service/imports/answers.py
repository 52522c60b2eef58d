"""What is said of imports over REST, and what is taken."""

from datetime import datetime
from typing import Any

import msgspec
from fastapi import UploadFile
from pydantic import BaseModel, Field

from service.http.strict import RequestBody
from service.imports.columns import IN_WORKBOOKS
from service.imports.report import Report, load
from service.kit.database import Row
from service.kit.localization import localized
from sync_protocol.texts import Word, restored

MAX_FILES = 20


class ImportForm(RequestBody):
    """Files of units, people, posts and households: .xlsx, .xls, .csv."""

    files: list[UploadFile] = Field(min_length=1, max_length=MAX_FILES)
    dry_run: bool = Field(False, description="Check and tell, write nothing")
    skip_bad: bool = Field(False, description="Take the good rows although others are wrong")
    end_missing: bool = Field(
        False, description="End posts, and delete households, that the files do not have any more"
    )


class ImportApplication(RequestBody):
    """How an import is carried out that wrote nothing before."""

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
    files_until: datetime | None = Field(
        None, description="Until when its files are kept, so that it can be applied"
    )


class ImportPage(BaseModel):
    """A page of imports, the newest first."""

    items: list[ImportSummary]
    next: str | None


def summary_of(row: Row) -> dict[str, Any]:
    """What a row says of an import, without its report."""
    return {name: row[name] for name in ImportSummary.model_fields}


def detail_of(row: Row) -> ImportDetail:
    """An import with its report."""
    report = load(row["report"]) if row["report"] else Report()
    told = [
        ToldItem(**{name: getattr(item, name) for name in ToldItem.model_fields})
        for item in report.told
    ]
    return ImportDetail(
        **summary_of(row),
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
