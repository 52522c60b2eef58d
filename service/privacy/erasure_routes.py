"""A person's erasure over REST: `POST /v1/households/{id}/erasure`, `POST
/v1/cadres/{staff_code}/erasure`."""

from datetime import datetime
from functools import partial

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.http.strict import RequestBody
from service.identity import queries as identity_queries
from service.identity.access import Caller, Signed
from service.identity.people import StaffCode
from service.kit.errors import NOT_ALLOWED, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.localization import localized
from service.kit.paging import Id
from service.kit.state import state_of
from service.privacy import erasure_queries as queries
from service.privacy.erasure import LABELS, Asked, Done, Erasing, erase
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["privacy"])


class ErasureReason(RequestBody):
    """Why a person's data is erased; it is kept, so that it must not name the person."""

    reason: str = Field(
        min_length=1, max_length=500, pattern=r"^[^\x00]+$", examples=["本人书面申请 2026-11-20"]
    )


class RemainsOut(BaseModel):
    """Something that still holds erased data: where, what of it, and until when."""

    where: str
    what: str
    until: str


class ErasureOut(BaseModel):
    """What was removed, and what an erasure cannot reach. `repeated`: it was erased before, and
    nothing had come since."""

    kind: str = Field(examples=["household"])
    subject: str
    begun_at: datetime
    completed_at: datetime | None
    removed: dict[str, int] = Field(
        examples=[{"households": 1, "visits": 12, "mutations in the log": 31}]
    )
    labels: dict[str, str] = Field(
        description="What is counted in `removed`, in the language of the request",
        examples=[{"visits": "走访"}],
    )
    remains: list[RemainsOut]
    repeated: bool


@router.post(
    "/households/{id}/erasure",
    summary="Erase the personal data of a household",
    operation_id="erase_household",
    responses=documented(*READING, NOT_NOW),
)
async def erase_household(
    request: Request, caller: Signed, id: Id, body: ErasureReason
) -> ErasureOut:
    """Removes name, contacts, texts and places from the record, its visits and problems, their
    history and everything that was kept aside; counts stay. There is no way back. One that was
    interrupted goes on when it is asked for again."""
    async with state_of(request).database.reading() as connection:
        grid = await queries.grid_of_household(connection, id)
    if grid is None or not caller.reaches(grid):
        raise Problem(NOT_FOUND, Text("There is no household {id} in your scope.", id=id))
    return await _erase(request, caller, Asked("household", id, body.reason, caller.staff_code))


@router.post(
    "/cadres/{staff_code}/erasure",
    summary="Erase the personal data of a cadre",
    operation_id="erase_cadre",
    responses=documented(*READING, NOT_NOW),
)
async def erase_cadre(
    request: Request, caller: Signed, staff_code: StaffCode, body: ErasureReason
) -> ErasureOut:
    """Removes name, phone number, password, second factor, sign-ins and the names of devices, and
    ends the posts; the staff code stays as a pseudonym by which the counts go. There is no way
    back."""
    if staff_code == caller.staff_code:
        raise Problem(NOT_ALLOWED, "Not for your own account: ask another administrator.")
    async with state_of(request).database.reading() as connection:
        if not await identity_queries.is_cadre_in(
            connection, staff_code, caller.ranges(caller.units()), caller.now
        ):
            raise Problem(
                NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
            )
    return await _erase(request, caller, Asked("cadre", staff_code, body.reason, caller.staff_code))


async def _erase(request: Request, caller: Caller, asked: Asked) -> ErasureOut:
    state = state_of(request)
    act = partial(
        note,
        request=request,
        caller=caller,
        action=f"{asked.kind}-erased",
        subjects=[asked.subject],
        count=1,
    )
    done = await erase(Erasing(state.database.unhurried, state.settings, caller.now), asked, act)
    return _out(done)


def _out(done: Done) -> ErasureOut:
    remains = [
        RemainsOut(
            where=localized(item.where), what=localized(item.what), until=localized(item.until)
        )
        for item in done.remains
    ]
    return ErasureOut(
        kind=done.kind,
        subject=done.subject,
        begun_at=done.begun_at,
        completed_at=done.completed_at,
        removed=done.removed,
        labels={what: localized(LABELS[what]) for what in done.removed},
        remains=remains,
        repeated=done.repeated,
    )
