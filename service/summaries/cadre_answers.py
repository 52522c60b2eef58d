"""What is answered of cadres and of members, and the lines of these as CSV."""

from datetime import date
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from service.organisation.units import (
    TREE_DAY,
    PeriodOut,
    UnitOut,
)
from service.summaries.answers import SealedPart


class CadreRow(BaseModel):
    """What one cadre did in a period; with the filter `party_member` on those of its days only."""

    staff_code: str = Field(description="What names the person in records")
    shown_code: str = Field(description="The staff code of today")
    name: str = Field(description="The name")
    party_member: bool = Field(
        description="On the last day of the period, or today; with the filter as it says"
    )
    unit: str | None = Field(description="The unit of the present post, or of the last one")
    unit_name: str | None = Field(None, description="What that unit is called")
    visits: int = Field(description="Visits that the cadre made in the unit in the period")
    problems_raised: int = Field(description="Problems that the cadre raised")
    problems_resolved: int = Field(description="Problems whose resolution stands as the cadre's")
    problems_overdue: int = Field(
        description="Open and past their limit in the cadre's hands, now or at the period's end if"
        " earlier"
    )
    median_hours_to_resolve: float | None = Field(
        None, description="Hours from raised to resolved of what the cadre resolved"
    )
    rank: int | None = Field(None, description="Empty unless ranks are switched on")


class GroupTotals(BaseModel):
    """The sums of party members, or of others: what was done on days of membership counts here,
    what was done before or after there.
    """

    party_member: bool = Field(description="Of members, or of others")
    cadres: int = Field(description="How many cadres")
    visits: int = Field(description="Visits of them all")
    problems_raised: int = Field(description="Problems that they raised")
    problems_resolved: int = Field(description="Problems that they resolved")
    problems_overdue: int = Field(description="Open and past their limit in their hands")


class UnassignedUnit(BaseModel):
    """A unit right below with problems overdue in nobody's hands."""

    unit: UnitOut = Field(description="The unit in which the problems lie, whoever handles them")
    problems_overdue: int = Field(description="Open and past their limit")


class Unassigned(BaseModel):
    """What is no cadre's: problems overdue in nobody's hands, and work of accounts that are no
    cadres. Without filters it adds up to the totals of the unit with the groups; it is the same
    with them.
    """

    visits: int = Field(description="Visits by accounts that are no cadres")
    problems_raised: int = Field(description="Problems raised by such accounts")
    problems_resolved: int = Field(description="Problems resolved by such accounts")
    problems_overdue: int = Field(description="Open and past their limit in no cadre's hands")
    units: list[UnassignedUnit] = Field(
        description="Where the overdue ones lie, by unit right below"
    )


class CadreLine(CadreRow):
    """A cadre table as CSV: a line for each cadre, then the sums of members and of others, and what
    is no cadre's.
    """

    row: Literal["cadre", "members", "others", "unassigned"]
    cadres: int | None
    period: str
    of: UnitOut
    sealed: bool


class CadreTable(BaseModel):
    """The cadres of a unit and a period, party members and others summed apart. Of a week or month
    that is sealed it shows what was sealed; above, the sealed parts count as they were sealed.
    """

    csv_model: ClassVar[type[BaseModel]] = CadreLine

    unit: UnitOut = Field(description="The unit")
    period: PeriodOut = Field(description="The period")
    tree_day: date = Field(description=TREE_DAY)
    groups: list[GroupTotals] = Field(
        description="The sums of members and of others, of all cadres that the filters leave, also"
        " of those that `items` has no room for"
    )
    unassigned: Unassigned = Field(description="What is no cadre's")
    items: list[CadreRow] = Field(description="The cadres, the highest first")
    more: bool = Field(False, description="Whether there are more cadres than `limit`")
    sealed: bool = Field(False, description="Whether all of it is shown as it was sealed")
    sealed_parts: list[SealedPart] = Field(
        [], description="The topmost sealed units below one that is not sealed"
    )

    @staticmethod
    def csv_lines(body: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of an answer as CSV."""
        whole = {
            "period": body["period"]["name"],
            "of": body["unit"],
            "sealed": body["sealed"],
            "cadres": None,
        }
        groups = [
            {**whole, **group, "row": "members" if group["party_member"] else "others"}
            for group in body["groups"]
        ]
        return [
            *({**whole, **item, "row": "cadre"} for item in body["items"]),
            *groups,
            {**whole, **body["unassigned"], "row": "unassigned"},
        ]


class MemberRow(BaseModel):
    """A member with the households that are tied to them, and how many of those were visited by
    anyone.
    """

    staff_code: str = Field(description="What names the person in records")
    shown_code: str = Field(description="The staff code of today")
    name: str = Field(description="The name")
    party_member: bool = Field(description="On the last day of the period, or today")
    households: int = Field(description="Households that are tied to them now")
    visited: int = Field(description="Of these, visited by anyone in the period")


class MemberTable(BaseModel):
    """The members of a unit with tied households, the least visited first. The households of the
    items, `without_one`, `unknown` and, of contact members, `outside_party` add up to `households`.
    """

    unit: UnitOut = Field(description="The unit")
    period: PeriodOut = Field(description="The week or the month")
    tree_day: date = Field(description=TREE_DAY)
    households: int = Field(description="Households of the unit now")
    without_one: int = Field(description="Households that are tied to nobody in this way")
    unknown: int = Field(description="Households that are tied to a code that no cadre has")
    outside_party: int = Field(
        description="Households that are tied to a cadre who is no party member; as contact members"
        " they are not among the items"
    )
    items: list[MemberRow] = Field(description="The members, the least visited first")
    more: bool = Field(False, description="Whether there are more members than `limit`")
