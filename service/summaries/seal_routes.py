"""Seals: the numbers of a week or month as they were, kept for good."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.identity.rights import may_settle
from service.kit.database import Connection, share_connection
from service.kit.errors import (
    ALREADY_DECIDED,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_OVER,
    READING,
    Problem,
    documented,
)
from service.kit.state import state_of
from service.organisation.units import (
    UnitCode,
    find_unit,
    named_period,
    unit_in_scope,
    unit_on,
)
from service.summaries import seal_queries
from service.summaries.answers import Summary
from service.summaries.routes import PARSE
from service.summaries.sealing import read_all
from service.summaries.summary import summary
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/summaries", tags=["summaries"])


class Unseal(RequestBody):
    """Why a seal is lifted."""

    reason: str = Field(min_length=1, max_length=1000)


class SealEntry(BaseModel):
    """One seal that a summary has or had."""

    sealed_by: str = Field(description="Who sealed it")
    sealed_at: datetime = Field(description="When")
    lifted: bool = Field(description="Whether it was lifted")
    lifted_by: str | None = Field(description="By whom")
    lifted_at: datetime | None = Field(description="When")
    lifted_why: str | None = Field(description="Why")


_SEALING = documented(*READING, ALREADY_DECIDED, NOT_OVER)
Which = Annotated[Literal["weekly", "monthly"], Path(description="Of a week or of a month")]
Name = Annotated[str, Path(description="The week or the month", examples=["2026-W47"])]


@router.post(
    "/{which}/{name}/seal",
    summary="Seal a week or month",
    operation_id="seal_summary",
    responses=_SEALING,
)
async def seal(
    request: Request, caller: Signed, which: Which, name: Name, unit: UnitCode
) -> Summary:
    """Keeps the numbers as they were; what arrives later shows apart."""
    state = state_of(request)
    parse, log = PARSE[which]
    period = named_period(parse, name)
    if caller.now < period.ends:
        raise Problem(
            NOT_OVER,
            Text(
                "{period} ends at {end}; seal it after that.",
                period=name,
                end=period.ends.isoformat(),
            ),
        )
    async with state.database.transaction() as connection:
        await _unit_to_seal(connection, caller, unit)
        # So that of a grid all seals keep the same.
        await seal_queries.seal_alone(connection, period.name)
        on = unit_on(caller, unit, "period", period)
        kept = await seal_queries.seal_in_force(connection, unit, period.name)
        if kept is not None:
            raise Problem(
                ALREADY_DECIDED,
                Text(
                    "{period} of {unit} is sealed already, by {cadre}; unseal it first.",
                    period=name,
                    unit=unit,
                    cadre=kept["sealed_by"],
                ),
            )
        async with (
            state.database.analysing() as reading,
            reading.transaction(isolation="repeatable_read", readonly=True),
        ):
            found = await read_all(reading, state.settings, on, period, caller.now, log)
        id = await seal_queries.seal(
            connection,
            unit,
            name,
            found.summary.model_dump(mode="json"),
            caller.staff_code,
            caller.now,
        )
        await seal_queries.keep_grids(connection, id, found.grids)
        await note(connection, request, caller, "summary-sealed", [unit, period.name], 1)
        answer = await summary(
            share_connection(connection), state.settings, on, period, caller.now, log
        )
    assert answer is not None
    return answer


@router.delete(
    "/{which}/{name}/seal",
    summary="Unseal a week or month",
    operation_id="unseal_summary",
    responses=_SEALING,
)
async def unseal(
    request: Request, caller: Signed, which: Which, name: Name, unit: UnitCode, body: Unseal
) -> list[SealEntry]:
    """Lifts the seal; who, when and why stay on record."""
    period = named_period(PARSE[which][0], name)
    async with state_of(request).database.transaction() as connection:
        await _unit_to_seal(connection, caller, unit)
        await seal_queries.seal_alone(connection, period.name)
        kept = await seal_queries.seal_in_force(connection, unit, period.name, lock=True)
        if kept is None:
            raise Problem(
                NOT_FOUND, Text("{period} of {unit} is not sealed.", period=name, unit=unit)
            )
        await seal_queries.lift_seal(
            connection, kept["id"], caller.staff_code, caller.now, body.reason
        )
        await note(connection, request, caller, "summary-unsealed", [unit, period.name], 1)
        seals = await seal_queries.seals(connection, unit, name)
        return [SealEntry(**dict(row)) for row in seals]


@router.get(
    "/{which}/{name}/seal",
    summary="The seals of a week or month",
    operation_id="list_seals",
    responses=_SEALING,
)
async def seals(
    request: Request, caller: Signed, which: Which, name: Name, unit: UnitCode
) -> list[SealEntry]:
    """Every seal that it ever had, the newest first."""
    period = named_period(PARSE[which][0], name)
    async with unit_in_scope(request, caller, unit) as (connection, _):
        rows = await seal_queries.seals(connection, unit, period.name)
        await note(connection, request, caller, "seals", [unit, period.name], len(rows))
        return [SealEntry(**dict(row)) for row in rows]


async def _unit_to_seal(connection: Connection, caller: Caller, unit: str) -> Any:
    """The unit, if the caller decides for the whole of it."""
    found = await find_unit(connection, unit) if caller.reaches(unit) else None
    if found is None:
        raise Problem(NOT_FOUND, Text("There is no unit ‘{unit}’ in your scope.", unit=unit))
    if not may_settle(caller.posts, unit, caller.now):
        raise Problem(
            NOT_ALLOWED,
            Text(
                "{cadre} has no post at present that seals for {unit}.",
                cadre=caller.staff_code,
                unit=unit,
            ),
        )
    return found
