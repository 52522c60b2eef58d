"""Jobs that one has asked for: `/v1/jobs/{id}` and what they made."""

from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.jobs import queries, results
from service.kit.database import Connection, Row
from service.kit.errors import NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.paging import After, Id, Limit, next_after, read_after
from service.kit.state import state_of
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What the job made",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class JobOut(BaseModel):
    """How far a job is: `done` of `total`, both 0 while nothing is known of it; `total` is 0 as
    long as nobody knows how many it will be. `name`, `media_type` and `size` (bytes) are those of
    what it made, which is kept until `kept_until`; the name may be known before.
    """

    id: str
    kind: str
    state: Literal["waiting", "running", "done", "failed"]
    done: int
    total: int
    asked_at: datetime
    ended_at: datetime | None
    kept_until: datetime
    name: str | None
    media_type: str | None
    size: int | None


class JobPage(BaseModel):
    """A page of jobs, the newest first."""

    items: list[JobOut]
    next: str | None


@router.get(
    "",
    summary="Jobs that one has asked for",
    operation_id="list_jobs",
    responses=documented(*READING),
)
async def list_jobs(
    request: Request, caller: Signed, limit: Limit = 100, after: After = None
) -> JobPage:
    """One's own, the newest first, as long as what they made is kept."""
    async with state_of(request).database.reading() as connection:
        place = read_after(after)
        rows = await queries.results_of(connection, caller.staff_code, place, limit + 1)
    items = [JobOut(**dict(row)) for row in rows[:limit]]
    more = len(rows) > limit
    return JobPage(items=items, next=next_after(items[-1].asked_at, items[-1].id) if more else None)


@router.get(
    "/{id}",
    summary="How far a job is",
    operation_id="get_job",
    responses=documented(*READING),
)
async def get_job(request: Request, caller: Signed, id: Id) -> JobOut:
    """Of those that one has asked for oneself."""
    async with state_of(request).database.reading() as connection:
        return JobOut(**dict(await _own(connection, caller, id)))


@router.get(
    "/{id}/content",
    summary="What a job made",
    operation_id="get_job_content",
    response_class=StreamingResponse,
    responses=_FILE | documented(*READING, NOT_NOW),
)
async def get_job_content(request: Request, caller: Signed, id: Id) -> StreamingResponse:
    """Once it is done, as a file. Every time leaves a line in the trail."""
    state = state_of(request)
    async with state.database.transaction() as connection:
        row = await _own(connection, caller, id)
        if row["state"] != results.DONE:
            raise Problem(
                NOT_NOW,
                Text("The job {id} is not done; ask for its state at /v1/jobs/{id}.", id=id),
            )
        await note(connection, request, caller, "job-result", [id, row["kind"]], 1)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row['name'])}",
        "Content-Length": str(row["size"]),
        "Cache-Control": "no-store",
    }
    content = results.read(state.database, state.settings, id)
    return StreamingResponse(content, media_type=row["media_type"], headers=headers)


async def _own(connection: Connection, caller: Caller, id: str) -> Row:
    row = await queries.result(connection, id, caller.staff_code)
    if row is None:
        raise Problem(NOT_FOUND, Text("There is no job {id} that you have asked for.", id=id))
    return row
