"""A cadre leaves: what they have in hand, and passing all of it to somebody else in one step."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.accounts import handover_queries
from service.accounts.handover_queries import FIELDS
from service.accounts.tied_households import (
    NotForGood,
    refuse_own_ties,
    warnings_of_ties,
    write_ties,
)
from service.audit.audit_log import note
from service.http.strict import RequestBody
from service.identity import post_queries, queries
from service.identity import session_queries as sessions
from service.identity.access import Caller, Signed
from service.identity.people import StaffCode
from service.identity.staff_codes import key_of
from service.kit.database import Connection, retry_on_conflict
from service.kit.errors import HELD, INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.state import State, state_of
from service.organisation.staffing import PostWarning
from sync_protocol.ids import new_uuid7
from sync_protocol.messages import Mutation
from sync_protocol.moments import canonical_moment
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["accounts"])

# Of each kind as many are passed on at once; what is left is told, and goes with the next request.
MAX_AT_ONCE = 1000

What = Literal["problems", "contact", "lead"]
_EVERYTHING: tuple[What, ...] = ("problems", "contact", "lead")


class ProblemInHand(BaseModel):
    """An open problem in somebody's hands. `overdue`: past its limit, as of now."""

    id: str
    grid: str
    state: str
    title: str
    duty: str
    severity: str
    raised_at: datetime
    handler_unit: str
    due: datetime | None
    overdue: bool


class HouseholdInHand(BaseModel):
    """A household that is tied to somebody."""

    id: str
    grid: str
    head_name: str | None


class InHand(BaseModel):
    """What somebody has in hand in the caller's units; of one's own, everywhere. `more`: there is
    more than is listed.
    """

    staff_code: str
    problems: list[ProblemInHand]
    contact_households: list[HouseholdInHand]
    contracted_households: list[HouseholdInHand]
    more: bool


class Handover(RequestBody):
    """To whom, and what: open problems, contact households (`contact`), contracted ones (`lead`);
    left out, everything. `dry_run` shows what would be passed on.
    """

    to: str = Field(max_length=40, pattern=r"^[^\x00]+$", examples=["W150221100201001-2"])
    what: list[What] = Field(list(_EVERYTHING), min_length=1, max_length=3)
    note: str | None = Field(None, max_length=500, pattern=r"^[^\x00]*$")
    dry_run: bool = False


class HandedOver(BaseModel):
    """How much was passed on, or would be. `left`: what is still in hand in the caller's units,
    handled above them or beyond what goes at once.
    """

    staff_code: str
    to: str
    dry_run: bool
    problems: int
    contact_households: int
    contracted_households: int
    left: int
    warnings: list[PostWarning] = []


@router.get(
    "/cadres/{staff_code}/in-hand",
    summary="What a cadre has in hand",
    operation_id="in_hand",
    responses=documented(*READING),
)
async def in_hand(
    request: Request,
    caller: Signed,
    staff_code: StaffCode,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items of each kind")] = 1000,
) -> InHand:
    """Open problems in their hands, and households that are tied or contracted to them: what is to
    be passed on before they leave, or after.
    """
    own = staff_code == caller.staff_code
    ranges = caller.ranges([""] if own else None)
    async with state_of(request).database.transaction() as connection:
        if not own:
            await _require_known(connection, caller, staff_code)
        problems = await handover_queries.problems_in_hand(
            connection, staff_code, ranges, limit + 1
        )
        contact, lead = [
            await handover_queries.households_of(connection, staff_code, role, ranges, limit + 1)
            for role in ("contact", "lead")
        ]
        shown = [problems[:limit], contact[:limit], lead[:limit]]
        await note(connection, request, caller, "in-hand", [staff_code], sum(map(len, shown)))
    return InHand(
        staff_code=staff_code,
        problems=[
            ProblemInHand(**dict(row), overdue=row["due"] is not None and row["due"] < caller.now)
            for row in shown[0]
        ],
        contact_households=[_household(row) for row in shown[1]],
        contracted_households=[_household(row) for row in shown[2]],
        more=any(len(rows) > limit for rows in (problems, contact, lead)),
    )


def _household(row: Any) -> HouseholdInHand:
    return HouseholdInHand(id=row["id"], grid=row["grid"], head_name=row["head_name"])


async def _require_known(connection: Connection, caller: Caller, staff_code: str) -> None:
    """Raises `Problem` for somebody who never had a post where the caller has this right."""
    if not await post_queries.is_known_in(connection, staff_code, caller.ranges()):
        raise Problem(
            NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
        )


@router.post(
    "/cadres/{staff_code}/handover",
    summary="Pass on what a cadre has in hand",
    operation_id="hand_over",
    responses=documented(*READING, HELD, NOT_NOW),
)
async def hand_over(
    request: Request, caller: Signed, staff_code: StaffCode, body: Handover
) -> HandedOver:
    """Problems by a step `assign` each, households by their fields; it reaches the phones, and
    stands in the history. Sent again it finds nothing more to pass on.
    """
    state = state_of(request)
    done: list[HandedOver] = []

    async def work() -> None:
        async with state.database.transaction() as connection:
            to = await key_of(connection, body.to)
            done[:] = [await _pass_on(connection, state, caller, staff_code, to, body)]
            if body.dry_run:
                raise NotForGood
            passed = done[0].problems + done[0].contact_households + done[0].contracted_households
            await note(connection, request, caller, "handed-over", [staff_code, to], passed)

    with suppress(NotForGood):
        await retry_on_conflict(work)
    return done[0]


async def _pass_on(
    connection: Connection,
    state: State,
    caller: Caller,
    staff_code: str,
    to: str,
    body: Handover,
) -> HandedOver:
    if to == staff_code:
        raise Problem(INVALID, "What a cadre has in hand is passed to somebody else; name them.")
    for code in (staff_code, to):
        if code != caller.staff_code:
            await _require_known(connection, caller, code)
    # One handover of a cadre after the other: the second finds what the first has left.
    for code in sorted((staff_code, to)):
        await sessions.lock_sign_ins(connection, code)
    await queries.refuse_erased(connection, to)
    ranges = caller.ranges(caller.units())
    problems = (
        await handover_queries.problems_in_hand(
            connection, staff_code, ranges, MAX_AT_ONCE, handled_there=True
        )
        if "problems" in body.what
        else []
    )
    tied = {
        role: await handover_queries.households_of(
            connection, staff_code, role, ranges, MAX_AT_ONCE
        )
        if role in body.what
        else []
        for role in FIELDS
    }
    if any(tied.values()):
        refuse_own_ties(caller, staff_code, to)
    await write_ties(
        connection,
        state,
        caller,
        [_step(row, to, body.note, caller.now) for row in problems],
        _ties(tied, to),
    )
    counts = await handover_queries.counts_in_hand(connection, staff_code, ranges)
    return HandedOver(
        staff_code=staff_code,
        to=to,
        dry_run=body.dry_run,
        problems=len(problems),
        contact_households=len(tied["contact"]),
        contracted_households=len(tied["lead"]),
        left=sum(counts),
        warnings=await warnings_of_ties(
            connection,
            caller,
            to,
            {role: {row["grid"] for row in some} for role, some in tied.items()},
        ),
    )


def _step(row: Any, to: str, note: str | None, now: datetime) -> Mutation:
    fields = {
        "problem_id": row["id"],
        "action": "assign",
        "at": canonical_moment(now),
        "to_cadre": to,
    }
    if note:
        fields["note"] = note
    return Mutation(0, "step", new_uuid7(now), row["grid"], fields=fields)


def _ties(tied: Mapping[str, Sequence[Any]], to: str) -> list[tuple[Any, dict[str, Any]]]:
    """One mutation a household, also of one that is tied in both ways."""
    rows: dict[str, tuple[Any, dict[str, Any]]] = {}
    for role, some in tied.items():
        for row in some:
            rows.setdefault(row["id"], (row, {}))[1][FIELDS[role]] = to
    return [*rows.values()]
