"""A cadre's own page of facts: `GET /v1/cadres/{staff_code}/summary`."""

from datetime import datetime
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.identity.access import Signed
from service.identity.people import StaffCode
from service.kit.conditions import Subtree
from service.kit.database import Connection
from service.kit.errors import NOT_FOUND, READING, Problem, documented
from service.kit.state import state_of
from service.organisation.units import (
    AskedPeriod,
    PeriodOut,
    period_out,
)
from service.summaries import cadre_queries, person_queries, sealed
from service.summaries.cadre_queries import Kept
from sync_protocol.periods import Period, local_day
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["summaries"])


class PostOut(BaseModel):
    """A post of a cadre."""

    role: str = Field(description="The slug of the role")
    unit: str = Field(description="The code of the unit")
    unit_name: str | None = Field(description="What it is called")
    valid_from: datetime = Field(description="From when")
    valid_to: datetime | None = Field(description="Until when; empty: still")


class TiedHouseholds(BaseModel):
    """Households tied to a member, as they are tied now."""

    households: int = Field(description="How many")
    visited: int = Field(description="Of these, visited by anyone in the period")
    visited_by_member: int = Field(description="Of these, visited by the member in the period")


class CadreSummaryLine(BaseModel):
    """A cadre's page as CSV, in one line."""

    staff_code: str
    shown_code: str
    name: str
    party_member: bool
    unit: str | None
    unit_name: str | None
    period: str
    visits: int
    problems_raised: int
    problems_resolved: int
    problems_overdue: int
    median_hours_to_resolve: float | None
    checks: int
    contact_households: TiedHouseholds
    contracted_households: TiedHouseholds
    sealed_grids: int


class CadreSummary(BaseModel):
    """What one cadre did in a period; in grids of which the week or month is sealed as it was
    sealed.
    """

    csv_model: ClassVar[type[BaseModel]] = CadreSummaryLine

    staff_code: str = Field(description="What names the person in records")
    shown_code: str = Field(description="The staff code of today")
    name: str = Field(description="The name")
    party_member: bool = Field(description="On the last day of the period")
    posts: list[PostOut] = Field(description="All posts, the present ones first")
    period: PeriodOut = Field(description="The period")
    visits: int = Field(description="Visits made")
    problems_raised: int = Field(description="Problems raised")
    problems_resolved: int = Field(description="Problems whose resolution stands as the cadre's")
    problems_overdue: int = Field(
        description="Open and past their limit in the cadre's hands, at the period's end or now"
    )
    median_hours_to_resolve: float | None = Field(
        description="Hours from raised to resolved of what the cadre resolved"
    )
    checks: int = Field(description="Problems verified that others had resolved")
    contact_households: TiedHouseholds = Field(description="Tied to them as a party member")
    contracted_households: TiedHouseholds = Field(description="Led by them")
    sealed_grids: int = Field(
        0,
        description="How many of the grids in which the cadre worked are sealed in this period:"
        " what was done there is shown as it was sealed",
    )

    @staticmethod
    def csv_lines(body: dict[str, Any]) -> list[dict[str, Any]]:
        """The line of an answer as CSV."""
        post = next(iter(body["posts"]), {"unit": None, "unit_name": None})
        at = {name: post[name] for name in ("unit", "unit_name")}
        return [{**body, **at, "period": body["period"]["name"]}]


@router.get(
    "/cadres/{staff_code}/summary",
    summary="A cadre's own page of facts",
    operation_id="cadre_summary",
    responses=documented(*READING),
)
async def cadre_summary(
    request: Request,
    caller: Signed,
    staff_code: StaffCode,
    period: AskedPeriod,
) -> CadreSummary:
    """One's own, or that of a cadre with a post in the caller's scope: only work within that scope
    counts then.
    """
    own = staff_code == caller.staff_code
    units = caller.units_or_none()
    async with state_of(request).database.transaction() as connection:
        last = min(period.last, local_day(caller.now))
        cadre = await person_queries.cadre(connection, staff_code, last)
        posts = await person_queries.posts(connection, staff_code)
        within = [top for top in units if any(caller.covers(top, post["unit"]) for post in posts)]
        if cadre is None or not (own or within):
            raise Problem(
                NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
            )
        await note(connection, request, caller, "cadre-summary", [staff_code], 1)
        subtree = caller.subtree("" if own else within[0])
        kept = sealed.work_in(await sealed.of_cadre(connection, subtree, period, staff_code))
        counts = await _counts(connection, staff_code, subtree, period, caller.now, kept)
        medians = await cadre_queries.median_hours(connection, subtree, period, [staff_code], kept)
        tied = await person_queries.tied_households(connection, staff_code, period)
        return CadreSummary(
            staff_code=staff_code,
            shown_code=cadre["shown_code"],
            name=cadre["name"],
            party_member=cadre["party_member"],
            posts=[PostOut(**dict(post)) for post in posts],
            period=period_out(period),
            **counts,
            median_hours_to_resolve=medians.get(staff_code),
            checks=await person_queries.checks(connection, staff_code, period),
            contact_households=_tied(tied, "contact"),
            contracted_households=_tied(tied, "contracted"),
            sealed_grids=len(kept.grids),
        )


async def _counts(
    connection: Connection,
    staff_code: str,
    subtree: Subtree,
    period: Period,
    now: datetime,
    kept: Kept,
) -> dict[str, int]:
    """What a cadre did in a unit: in grids that are sealed as it was sealed."""
    found = dict(await person_queries.of_cadre(connection, staff_code, subtree, period, now))
    if not kept.grids:
        return found
    taken = await person_queries.of_cadre_in(connection, staff_code, kept.grids, period, now)
    given = [counts for cadre, _, *counts in kept.work if cadre == staff_code]
    for place, name in enumerate(found):
        found[name] += sum(counts[place] for counts in given) - taken[name]
    return found


def _tied(row: object, name: str) -> TiedHouseholds:
    values = dict(row)  # type: ignore[call-overload]
    return TiedHouseholds(
        households=values[name],
        visited=values[f"{name}_visited"],
        visited_by_member=values[f"{name}_visited_by_member"],
    )
