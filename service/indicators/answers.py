"""What is said of indicators and marks over REST, and what is taken."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.http.strict import RequestBody
from service.organisation.units import TREE_DAY, PeriodOut, UnitOut

PeriodKind = Literal["day", "week", "month", "quarter", "half", "year"]
Aggregate = Literal["sum", "mean", "latest", "none"]
Mark = Literal["model", "weak", "lagging"]
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]+$")]
Amount = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
_NAME_OF_PERIOD = Annotated[str, Field(max_length=10, examples=["2026"])]


class IndicatorItem(BaseModel):
    """What is reported, by whom, for which periods and units."""

    code: str
    name_zh: str
    name_en: str
    measure: str = Field(description="The unit of measure", examples=["万元"])
    period: PeriodKind = Field(description="For each of which it is reported")
    level: str = Field(description="The level of the units that it is reported for")
    aggregate: Aggregate = Field(
        description="How units below add up: `latest` is the value that was reported last, `none`"
        " that they do not"
    )
    reporters: list[str] = Field(description="The roles that report it")
    target: float | None = Field(
        description="What each unit is to reach, if it has none of its own"
    )
    valid_from: date | None
    valid_to: date | None


class IndicatorList(BaseModel):
    """The indicators that hold on a day, in their order."""

    items: list[IndicatorItem]


class NewIndicator(RequestBody):
    """An indicator as it is from a day on."""

    name_zh: Name
    name_en: Name
    measure: Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[^\x00-\x1f]+$")]
    period: PeriodKind
    level: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", examples=["village"])]
    aggregate: Aggregate
    reporters: Annotated[list[str], Field(min_length=1, max_length=10)]
    target: Amount | None = None
    position: int | None = Field(None, ge=0, le=100_000)
    valid_from: date | None = Field(None, description="Its first day; today if left out")
    valid_to: date | None = None


class ValueItem(BaseModel):
    """What a unit has reported. `evidence`: sha-256 of photos or files."""

    unit: UnitOut
    value: float
    target: float | None
    progress: float | None = Field(description="value / target")
    source: str | None
    evidence: list[str]
    note: str | None
    by: str
    name: str
    received_at: datetime


class BelowItem(BaseModel):
    """A unit right below: what the units in it come to."""

    unit: UnitOut
    value: float | None
    target: float | None
    progress: float | None
    units: int = Field(description="How many report")
    reported: int
    reached: int = Field(description="How many of them have reached their target")


class Values(BaseModel):
    """An indicator of a unit in a period: what was reported of the units in it, what that comes to,
    and what is missing.
    """

    indicator: IndicatorItem
    unit: UnitOut
    period: PeriodOut
    tree_day: date = Field(description=TREE_DAY)
    value: float | None = Field(description="What the values come to, as the indicator adds up")
    target: float | None
    progress: float | None = Field(description="value / target")
    units: int = Field(description="How many units are to report")
    reported: int
    reached: int = Field(description="How many of them have reached their target")
    missing_count: int
    missing: list[UnitOut] = Field(description="The first hundred that have not reported")
    below: list[BelowItem]
    items: list[ValueItem] = Field(description="The first `limit` values in order of unit")


class NewValue(RequestBody):
    """A value of a unit for a period; in the place of the one that was reported before."""

    unit: Annotated[str, Field(pattern=r"^\d{4,15}$", examples=["150221100201"])]
    period: _NAME_OF_PERIOD
    value: Amount
    source: Annotated[str, Field(max_length=200)] | None = None
    evidence: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        [], max_length=20, description="sha-256 of photos or files"
    )
    note: Annotated[str, Field(max_length=4000)] | None = None


class NewTarget(RequestBody):
    """What a unit is to reach in a period; null: what the indicator says for all."""

    period: _NAME_OF_PERIOD
    target: Amount | None


class TargetOut(BaseModel):
    """What a unit is to reach."""

    indicator: str
    unit: str
    period: str
    target: float | None


class PlanStep(RequestBody):
    """A step of a plan, due by a day."""

    due: date
    text: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
    done_on: date | None = None


class NewMark(RequestBody):
    """How a unit is marked from a day on, with the plan by which it gets on."""

    mark: Mark
    valid_from: date | None = Field(None, description="The first day; today if left out")
    valid_to: date | None = Field(None, description="The first day on which it holds no more")
    note: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] | None = None
    plan: list[PlanStep] = Field([], max_length=50, description="Its steps, in order")


class MarkItem(BaseModel):
    """A mark of a unit. `overdue_steps`: steps of the plan that are past their day and not done."""

    unit: UnitOut
    mark: Mark
    label: str
    valid_from: date
    valid_to: date | None
    note: str | None
    plan: list[PlanStep]
    overdue_steps: int
    set_by: str
    set_at: datetime


class MarkPage(BaseModel):
    """Marks in order of unit; `units`: how many have each mark on the day."""

    items: list[MarkItem]
    units: dict[str, int]
    next: str | None
