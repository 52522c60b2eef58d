"""Households tied to a party member (联系户) or contracted to a committee member (包联户): many at
once, as mutations through the one write path.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.accounts import handover_queries
from service.accounts.handover_queries import FIELDS, Choice
from service.accounts.post_rules import not_shown_there
from service.audit.audit_log import note
from service.households.routes import refuse_tags
from service.http.ids import MadeId
from service.http.strict import RequestBody
from service.identity import post_queries, queries
from service.identity.access import Caller, Signed
from service.identity.people import StaffCode
from service.identity.rights import holds, may_write
from service.identity.staff_codes import key_of
from service.kit.database import Connection, retry_on_conflict
from service.kit.errors import (
    HELD,
    INVALID,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_NOW,
    READING,
    Problem,
    documented,
)
from service.kit.state import State, state_of
from service.organisation.staffing import PostWarning
from service.organisation.units import scope_of
from service.vocabulary.terms import WORD_PATTERN
from service.writes.server_writes import refuse_held, write_all_as_cadre
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["accounts"])

# As many as a phone may hand in at once.
MAX_AT_ONCE = 1000
# With a post in one of these a cadre is shown the households that are tied in this way.
SHOWN_TO = {
    "contact": (
        "contact_member",
        "grid_worker",
        "village_secretary",
        "village_committee",
        "village_supervisor",
        "first_secretary",
    ),
    "lead": (
        "grid_worker",
        "village_secretary",
        "village_committee",
        "village_supervisor",
        "first_secretary",
    ),
}

Tie = Annotated[Literal["contact", "lead"], Field(description="contact: 党员联系户; lead: 包联户")]


class HouseholdFilter(RequestBody):
    """Households of a unit and all below it; each condition narrows them."""

    unit: str | None = Field(None, max_length=20, examples=["150221100201001"])
    tag: str | None = Field(None, pattern=WORD_PATTERN, examples=["elderly_alone"])
    without_one: bool = Field(False, description="Only those that are tied to nobody yet")
    held_by: str | None = Field(
        None, max_length=40, pattern=r"^[^\x00]+$", description="Only those of this cadre"
    )


class HouseholdChoice(RequestBody):
    """Which households, by `ids` or by `filter`. `release` unties those that are tied to the cadre;
    `dry_run` shows what would be done.
    """

    role: Tie
    ids: list[MadeId] | None = Field(None, min_length=1, max_length=MAX_AT_ONCE)
    filter: HouseholdFilter | None = None
    release: bool = False
    dry_run: bool = False


class Taken(BaseModel):
    """How many households were tied to somebody else before."""

    staff_code: str
    households: int


class Tied(BaseModel):
    """What was done, or would be. `changed`: the households that were tied or untied; `unchanged`:
    how many were as wanted; `taken_from`: of whom; `households`: how many are tied to the cadre
    afterwards, in the caller's units.
    """

    staff_code: str
    role: Tie
    dry_run: bool
    changed: list[str]
    unchanged: int
    taken_from: list[Taken]
    households: int
    warnings: list[PostWarning] = []


class NotForGood(Exception):
    """Ends the transaction of a dry run, in which nothing happens."""


@router.post(
    "/cadres/{staff_code}/households",
    summary="Tie households to a cadre",
    operation_id="assign_households",
    responses=documented(*READING, HELD, NOT_NOW),
)
async def assign_households(
    request: Request, caller: Signed, staff_code: StaffCode, body: HouseholdChoice
) -> Tied:
    """Contact households of a party member, or contracted ones of a committee member; all or none
    of them. Nobody does it for themselves.
    """
    if (body.ids is None) == (body.filter is None):
        raise Problem(INVALID, "Say which households: by ids, or by filter.")
    refuse_own_ties(caller, staff_code)
    units = scope_of(caller, body.filter.unit if body.filter else None)
    if body.filter is not None and body.filter.tag is not None:
        refuse_tags(caller, units)
    state = state_of(request)
    done: list[Tied] = []

    async def work() -> None:
        async with state.database.transaction() as connection:
            done[:] = [await _tie(connection, state, caller, staff_code, body, units)]
            if body.dry_run:
                raise NotForGood
            subjects = [staff_code, body.role, *done[0].changed]
            action = "households-released" if body.release else "households-assigned"
            await note(connection, request, caller, action, subjects, len(done[0].changed))

    with suppress(NotForGood):
        await retry_on_conflict(work)
    return done[0]


def refuse_own_ties(caller: Caller, *staff_codes: str) -> None:
    """Raises `Problem` where households would be tied to the caller, or taken from them."""
    if caller.staff_code in staff_codes:
        raise Problem(
            NOT_ALLOWED,
            "To whom a household is tied is written by somebody else than the cadre it is tied to;"
            " ask another secretary or an administrator.",
        )


async def _tie(
    connection: Connection,
    state: State,
    caller: Caller,
    staff_code: str,
    body: HouseholdChoice,
    units: Sequence[str],
) -> Tied:
    if not await post_queries.is_known_in(connection, staff_code, caller.ranges()):
        raise Problem(
            NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
        )
    if not body.release:
        await queries.refuse_erased(connection, staff_code)
    rows = await handover_queries.households_to_tie(
        connection,
        body.role,
        caller.ranges(units),
        await _choice(connection, body),
        MAX_AT_ONCE + 1,
    )
    if len(rows) > MAX_AT_ONCE:
        raise Problem(
            INVALID,
            Text("More than {max} households are meant; narrow the filter.", max=MAX_AT_ONCE),
        )
    missing = sorted({*(body.ids or ())} - {row["id"] for row in rows})
    if missing:
        raise Problem(
            NOT_FOUND,
            Text("There is no household {id} in your scope.", id=missing[0]),
            missing=missing,
        )
    wanted = None if body.release else staff_code
    held = [row for row in rows if row["holder"] == staff_code]
    changing = held if body.release else [row for row in rows if row["holder"] != staff_code]
    taken: dict[str, int] = {}
    for row in changing:
        if not body.release and row["holder"] is not None:
            refuse_own_ties(caller, row["holder"])
            taken[row["holder"]] = taken.get(row["holder"], 0) + 1
    await write_ties(
        connection, state, caller, [], [(row, {FIELDS[body.role]: wanted}) for row in changing]
    )
    now_held = await handover_queries.households_of(
        connection, staff_code, body.role, caller.ranges(), 100_000
    )
    grids: dict[str, Collection[str]] = {}
    if not body.release:
        grids[body.role] = {row["grid"] for row in changing}
    return Tied(
        staff_code=staff_code,
        role=body.role,
        dry_run=body.dry_run,
        changed=[row["id"] for row in changing],
        unchanged=len(rows) - len(changing),
        taken_from=[Taken(staff_code=code, households=n) for code, n in sorted(taken.items())],
        households=len(now_held),
        warnings=await warnings_of_ties(connection, caller, staff_code, grids),
    )


async def warnings_of_ties(
    connection: Connection, caller: Caller, staff_code: str, grids: Mapping[str, Collection[str]]
) -> list[PostWarning]:
    """What is to be known where households in these grids, by how they are tied, are tied to
    somebody: whether they are shown to them at all.
    """
    posts = await queries.posts_of(connection, staff_code)
    shown = all(
        holds(posts, caller.now, frozenset(SHOWN_TO[role]), grid)
        for role, some in grids.items()
        for grid in some
    )
    return [] if shown else [not_shown_there(staff_code)]


async def _choice(connection: Connection, body: HouseholdChoice) -> Choice:
    if body.filter is None:
        return Choice(ids=body.ids)
    held_by = body.filter.held_by
    return Choice(
        tag=body.filter.tag,
        without_one=body.filter.without_one,
        held_by=None if held_by is None else await key_of(connection, held_by),
    )


async def write_ties(
    connection: Connection,
    state: State,
    caller: Caller,
    steps: Sequence[Mutation],
    ties: Sequence[tuple[Any, dict[str, Any]]],
) -> list[Verdict]:
    """Writes steps, and fields of households, as the caller; raises `Problem` when one of them
    would be held, and then none is written.

    Who supervises writes no household, but decides to whom it is tied.
    """
    deciding = {
        row["id"]
        for row, _ in ties
        if not may_write(caller.posts, "household", row["grid"], caller.now)
    }
    households = [
        Mutation(0, "household", row["id"], row["grid"], base=row["rev"], fields=fields)
        for row, fields in ties
    ]
    mutations = [*steps, *households]
    verdicts = await write_all_as_cadre(connection, state.settings, caller, mutations, deciding)
    for mutation, verdict in zip(mutations, verdicts, strict=True):
        refuse_held(verdict, id=str(mutation.fields.get("problem_id", mutation.id)))
    return verdicts
