"""Household visiting 书记带头、两委包干、监委监督: `GET /v1/summaries/visiting`, and the checks of
a visit, `/v1/visits/{id}/checks`.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.http.ids import MadeId, fresh_id, id_taken
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.kit.database import Connection, retry_on_conflict
from service.kit.errors import HELD, NOT_FOUND, READING, Problem, documented
from service.kit.paging import Id
from service.kit.state import state_of
from service.organisation.units import (
    TREE_DAY,
    AskedPeriod,
    AsOf,
    PeriodOut,
    UnitCode,
    UnitOn,
    UnitOut,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
)
from service.visiting import queries
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.terms import Vocabulary
from service.writes.server_writes import refuse_held, write_as_cadre
from sync_protocol.messages import Mutation
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import Period
from sync_protocol.texts import Text
from sync_protocol.vocabulary import FINDINGS, TIE_KINDS

router = APIRouter(prefix="/v1", tags=["summaries"])

# Whose visiting is shown, also of those who are tied to no household.
LEADING = ("village_secretary", "first_secretary", "village_committee", "village_supervisor")
Finding = Literal["seen", "confirmed", "not_confirmed"]


class Theirs(BaseModel):
    """The households that are tied to a cadre, or to the cadres of a role, in one way."""

    kind: str = Field(description="The kind of tie")
    label: str = Field(description="What it is called")
    households: int = Field(description="Tied on the last day of the period, or today")
    visited: int = Field(description="Of these, visited in the period by whom they are tied to")
    share: float | None = Field(description="visited / households")
    visits: int = Field(description="How often, by whom they are tied to")


class VisitingCadre(BaseModel):
    """How somebody visits."""

    staff_code: str = Field(description="The cadre")
    name: str = Field(description="The cadre's name")
    roles: list[str] = Field(description="Of the posts in the unit")
    visits: int = Field(description="All of the cadre in the unit, also to other households")
    checks: int = Field(description="Visits of others that the cadre checked in the period")
    theirs: list[Theirs] = Field(description="The households tied to the cadre, by kind of tie")


class VisitingRole(BaseModel):
    """How those with a role visit, together; somebody with two roles is in both."""

    role: str = Field(description="The role")
    label: str = Field(description="What it is called")
    cadres: int = Field(description="How many have it")
    cadres_who_visited: int = Field(description="Of these, with a visit in the period")
    visits: int = Field(description="All of them together")
    theirs: list[Theirs] = Field(description="The households tied to them, by kind of tie")


class Checked(BaseModel):
    """Of the visits of the period, how many were checked whenever, by the newest finding."""

    checked: int = Field(description="Visits with a check")
    seen: int = Field(description="Of these, seen")
    confirmed: int = Field(description="Of these, confirmed")
    not_confirmed: int = Field(description="Of these, not confirmed")


class Visiting(BaseModel):
    """Who visited what share of theirs, and how often, in the order of staff codes."""

    unit: UnitOut = Field(description="The unit")
    period: PeriodOut = Field(description="The period")
    tree_day: date = Field(description=TREE_DAY)
    roles: list[VisitingRole] = Field(description="Together, by role")
    theirs: list[Theirs] = Field(description="Of all cadres together, by kind of tie")
    checks: Checked = Field(description="The checks of the visits of the period")
    cadres: int = Field(description="How many there are; `items` has the first of them")
    items: list[VisitingCadre] = Field(description="The cadres")


class VisitCheck(BaseModel):
    """What somebody found who checked a visit."""

    id: str
    checked_at: datetime
    finding: Finding
    label: str
    note: str | None
    by: str
    name: str


class VisitChecks(BaseModel):
    """The checks of a visit, the newest first."""

    items: list[VisitCheck]


class NewCheck(RequestBody):
    """A check of a visit that somebody else made. `checked_at`: now, if left out."""

    id: MadeId | None = Field(
        None, description="A UUID made by the client, so that sending twice makes one check"
    )
    finding: Finding
    note: str | None = Field(None, max_length=4000)
    checked_at: datetime | None = None


@router.get(
    "/summaries/visiting",
    summary="Who visits what share of theirs",
    operation_id="visiting",
    responses=documented(*READING),
)
async def visiting(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    period: AskedPeriod,
    as_of: AsOf = "period",
    limit: Annotated[int, Query(ge=1, le=10_000, description="Cadres at most")] = 500,
) -> Visiting:
    """Secretaries, committee and supervisory members, and everybody who is tied to a household:
    by record, `contact_member` or `lead_member`.
    """
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, period)
        data = await current_reference_data(connection)
        shown = await _rows(connection, on, period, min(period.last, caller.today))
        checks = await queries.checks(connection, on.subtree, period)
        subjects = [unit, period.name]
        await note(connection, request, caller, "visiting", subjects, min(limit, len(shown)))
    return Visiting(
        unit=unit_out(found),
        period=period_out(period),
        tree_day=on.day,
        roles=[*_by_role(shown, data.vocabulary, period.last)],
        theirs=_together(shown),
        checks=Checked(**dict(checks)),
        cadres=len(shown),
        items=shown[:limit],
    )


async def _rows(
    connection: Connection, on: UnitOn, period: Period, day: date
) -> list[VisitingCadre]:
    theirs: dict[str, list[Theirs]] = {}
    for row in await queries.ties(connection, on.subtree, period, day):
        theirs.setdefault(row["cadre"], []).append(
            _theirs(row["kind"], row["households"], row["visited"], row["visits"])
        )
    roles: dict[str, list[str]] = {}
    for row in await queries.leaders(connection, on.subtree, period, LEADING):
        roles.setdefault(row["cadre"], []).append(row["role"])
    checks = {
        row["cadre"]: row["checks"]
        for row in await queries.checkers(connection, on.subtree, period)
    }
    cadres = sorted({*theirs, *roles, *checks})
    names = await queries.names(connection, cadres)
    visits = await queries.visits_of(connection, on.subtree, period, cadres)
    return [
        VisitingCadre(
            staff_code=names[code]["shown_code"] if code in names else code,
            name=names[code]["name"] if code in names else "",
            roles=roles.get(code, []),
            visits=visits.get(code, 0),
            checks=checks.get(code, 0),
            theirs=theirs.get(code, []),
        )
        for code in cadres
    ]


def _theirs(kind: str, households: int, visited: int, visits: int) -> Theirs:
    return Theirs(
        kind=kind,
        label=TIE_KINDS[kind].zh,
        households=households,
        visited=visited,
        share=round(visited / households, 4) if households else None,
        visits=visits,
    )


def _together(rows: list[VisitingCadre]) -> list[Theirs]:
    sums = {kind: [0, 0, 0] for kind in TIE_KINDS}
    for row in rows:
        for one in row.theirs:
            for place, number in enumerate((one.households, one.visited, one.visits)):
                sums[one.kind][place] += number
    return [_theirs(kind, *numbers) for kind, numbers in sums.items()]


def _by_role(rows: list[VisitingCadre], words: Vocabulary, day: date) -> list[VisitingRole]:
    labels = words.labels("role", day)
    found = []
    for role in LEADING:
        some = [row for row in rows if role in row.roles]
        found.append(
            VisitingRole(
                role=role,
                label=labels[role].zh,
                cadres=len(some),
                cadres_who_visited=sum(row.visits > 0 for row in some),
                visits=sum(row.visits for row in some),
                theirs=_together(some),
            )
        )
    return found


@router.get(
    "/visits/{id}/checks",
    summary="The checks of a visit",
    operation_id="list_visit_checks",
    responses=documented(*READING),
)
async def list_checks(request: Request, caller: Signed, id: Id) -> VisitChecks:
    """What supervisory members and others found, the newest first."""
    async with state_of(request).database.transaction() as connection:
        await _in_scope(connection, caller, id)
        rows = await queries.checks_of(connection, id)
        await note(connection, request, caller, "visit-checks", [id], len(rows))
    return VisitChecks(items=[_check(row) for row in rows])


@router.post(
    "/visits/{id}/checks",
    status_code=201,
    summary="Check a visit",
    operation_id="check_visit",
    responses=documented(*READING, HELD),
)
async def check(request: Request, caller: Signed, id: Id, body: NewCheck) -> VisitCheck:
    """By somebody else than the visitor. A second check stands beside the first, and counts in its
    place.
    """
    state = state_of(request)
    check_id = body.id or fresh_id(request, caller.now)

    async def write() -> VisitCheck:
        async with state.database.transaction() as connection:
            grid = await _in_scope(connection, caller, id)
            fields: dict[str, Any] = {
                "visit_id": id,
                "finding": body.finding,
                "checked_at": canonical_moment(body.checked_at or caller.now),
            }
            if body.note:
                fields["note"] = body.note
            mutation = Mutation(0, "visit_check", check_id, grid, fields=fields)
            verdict = await write_as_cadre(connection, state.settings, caller, mutation)
            refuse_held(verdict)
            rows = await queries.checks_of(connection, id)
            made = next((row for row in rows if row["id"] == check_id), None)
            if made is None or made["created_by"] != caller.staff_code:
                raise id_taken(check_id)
            await note(connection, request, caller, "visit-checked", [id], 1)
            return _check(made)

    return await retry_on_conflict(write)


async def _in_scope(connection: Connection, caller: Caller, id: str) -> str:
    """The grid of a visit that the caller sees; raises `Problem` for any other."""
    grid = await queries.grid_of(connection, id)
    if grid is None or not caller.reaches(grid):
        raise Problem(NOT_FOUND, Text("There is no visit {id} in your scope.", id=id))
    return grid


def _check(row: Any) -> VisitCheck:
    values = {name: row[name] for name in ("id", "checked_at", "finding", "note", "name")}
    return VisitCheck(**values, label=FINDINGS[row["finding"]].zh, by=row["created_by"])
