"""`GET /v1/audit`: the trail, for administrators and auditors. It names no data, only who read
what, where and when.
"""

from datetime import date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit import queries
from service.audit.audit_log import note
from service.identity.access import Signed
from service.identity.staff_codes import key_of
from service.kit.bounded import cut
from service.kit.errors import READING, documented
from service.kit.paging import After, Limit, next_after, read_after
from service.kit.state import state_of
from sync_protocol.periods import midnight

router = APIRouter(prefix="/v1", tags=["audit"])


class AuditItem(BaseModel):
    """A line of the trail. `subjects`: units, staff codes, ids of records and phones, or in a word
    how somebody signed in (`password`, `otp`, `recovery-code`, `client-secret`); never what was
    read.
    """

    id: str
    at: datetime
    staff_code: str
    action: str = Field(examples=["households"])
    subjects: list[str]
    count: int = Field(description="How many records were shown, or cleared, or sign-ins failed")
    address: str
    request_id: str
    units: list[str] = Field(description="The units for which it was done")


class AuditPage(BaseModel):
    """A page of the trail, the newest first."""

    items: list[AuditItem]
    next: str | None


@router.get(
    "/audit",
    summary="Who read or exported personal data",
    operation_id="list_audit",
    responses=documented(*READING),
)
async def audit(
    request: Request,
    caller: Signed,
    staff_code: Annotated[str | None, Query(max_length=40, pattern=r"^[^\x00]+$")] = None,
    action: Annotated[str | None, Query(max_length=40, pattern=r"^[a-z-]+$")] = None,
    subject: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=r"^[^\x00]+$",
            description="Of whom or where: one of the `subjects`, as it stands there",
        ),
    ] = None,
    first: Annotated[
        date | None, Query(alias="from", description="First day, Asia/Shanghai")
    ] = None,
    last: Annotated[date | None, Query(alias="to", description="Last day, Asia/Shanghai")] = None,
    limit: Limit = 100,
    after: After = None,
) -> AuditPage:
    """Reads of personal data over the API, exports, sign-ins, decisions, erasures, and acts on
    accounts and devices, as far as they were done for the caller's units or those below; what was
    done for no unit is shown at the top.

    Of failed sign-ins there is a line a minute, with their number.
    """
    since = midnight(first) if first and first.year > 1 else None
    until = midnight(last + timedelta(days=1)) if last and last.year < 9999 else None
    units = caller.units()
    async with state_of(request).database.transaction() as connection:
        if staff_code is not None:
            staff_code = await key_of(connection, staff_code)
        rows, more = cut(
            await queries.entries(
                connection,
                units,
                caller.ranges(units),
                staff_code,
                action,
                subject,
                since,
                until,
                read_after(after),
                limit + 1,
            ),
            limit,
        )
        await note(
            connection, request, caller, "audit", [staff_code] if staff_code else units, len(rows)
        )
    items = [AuditItem(**dict(row)) for row in rows]
    return AuditPage(items=items, next=next_after(items[-1].at, items[-1].id) if more else None)
