"""Large ledgers: asked for on the page of ledgers, made in the background, and fetched there within
a day, `/ledgers/asked`.
"""

from datetime import datetime
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Form
from fastapi.responses import Response

from service.jobs import routes as jobs
from service.jobs.routes import JobOut
from service.kit.paging import Id
from service.ledgers import routes as ledgers
from service.ledgers.jobs import LEDGER
from service.ledgers.named import AskedLedger, Which
from service.organisation.units import asked_period, named_period
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.periods import changes
from sync_protocol import periods
from sync_protocol.periods import Period
from sync_protocol.texts import Text

router: APIRouter = pages_router()

# So many are shown, the newest ones.
_ROWS = 20
_UNFINISHED = ("waiting", "running")
_KIB = 1024


class Made(NamedTuple):
    """A ledger that somebody has asked for. `path`: where its file is, once it is there."""

    id: str
    name: str
    asked_at: datetime
    stands: Text
    is_under_way: bool
    has_failed: bool
    path: str
    kept_until: datetime | None


@router.post("/ledgers/asked", operation_id="ask_ledger_on_page")
async def ask_for(
    visit: Posted,
    which: Annotated[Which, Form()],
    unit: Annotated[str, Form(max_length=20)],
    period: Annotated[str, Form(max_length=21)],
) -> Response:
    """Has a ledger made in the background, and shows how far it is."""
    found = asked_period(named_period(_period, period))
    asked = AskedLedger(which, unit, found)
    await ledgers.ask_for(visit.request, Response(), visit.caller, asked)
    named = {name: value for name, value in changes(found).items() if value}
    return visit.go("/ledgers", "large", unit=unit, **named)


@router.get("/ledgers/asked", operation_id="asked_ledgers")
async def asked_ledgers(visit: Signed) -> Response:
    """How far one's own ledgers are, as a part of their page."""
    if "hx-request" not in visit.request.headers:
        return visit.go("/ledgers", "large")
    return visit.page("ledgers_made.html", made=await own_ledgers(visit))


@router.get("/ledgers/asked/{id}", operation_id="asked_ledger_file")
async def asked_ledger_file(visit: Signed, id: Id) -> Response:
    """A ledger that was made in the background, as an Excel file."""
    return await jobs.get_job_content(visit.request, visit.caller, id)


async def own_ledgers(visit: Visit) -> list[Made]:
    """The ledgers that the visitor has asked for and that are still kept, the newest first."""
    found = await jobs.list_jobs(visit.request, visit.to("list_jobs"))
    return [_made(one) for one in found.items if one.kind == LEDGER.name][:_ROWS]


def _made(one: JobOut) -> Made:
    is_done = one.state == "done"
    return Made(
        one.id,
        (one.name or "").removesuffix(".xlsx"),
        one.asked_at,
        _stands(one),
        one.state in _UNFINISHED,
        one.state == "failed",
        f"/ledgers/asked/{one.id}" if is_done else "",
        one.kept_until if is_done else None,
    )


def _stands(one: JobOut) -> Text:
    """How far it is, in words."""
    match one.state:
        case "waiting":
            return Text("Waits for its turn")
        case "running" if one.done:
            return Text("Is being written: {count} rows so far", count=f"{one.done:,}")
        case "running":
            return Text("Is being written")
        case "done":
            size = f"{max(1, round((one.size or 0) / _KIB)):,}"
            return Text("Ready: {count} rows, {size} KB", count=f"{one.done:,}", size=size)
    return Text("It could not be made; ask for it again, or for a smaller unit or period.")


def _period(name: str) -> Period:
    """A period by its name, also one of days; ValueError for any other text."""
    first, _, last = name.partition("/")
    if last:
        return periods.span(periods.day(first).first, periods.day(last).first)
    return periods.named(name)
