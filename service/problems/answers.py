"""What is said of problems over REST, and what is taken."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from service.http.ids import MadeId
from service.http.strict import RequestBody
from service.organisation.units import GridCode
from sync_protocol.vocabulary import ACTIONS


class ProblemItem(BaseModel):
    """A problem where it stands. `number`: by which people name it, as ledgers and pages do.
    `overdue`: it passed its limit before it was resolved, also if it is resolved by now;
    `problems_overdue` of summaries counts only those still open.
    """

    id: str
    number: str = Field(examples=["20261119-7C3A9E"])
    grid: str
    state: str
    title: str
    detail: str | None
    duty: str
    category: str | None
    severity: str
    source: str | None
    raised_at: datetime
    raised_by: str
    handler_unit: str
    handler_cadre: str | None
    due: datetime | None
    overdue: bool
    resolved_at: datetime | None
    resolved_by: str | None
    satisfied: str | None
    escalated: int
    household_id: str | None
    dispute_kind: str | None


class ProblemPage(BaseModel):
    """A page of problems, those raised last first."""

    items: list[ProblemItem]
    next: str | None


class TimelineStep(BaseModel):
    """A step with the state after it. `ineffective` says why it changed nothing,
    `ineffective_reason` in one stable word.

    `clock_offset_ms`: the phone's clock was off by that. `device`: from which it was written,
    `device_name`: what that is called.
    """

    id: str
    at: datetime | None
    action: str
    label: str
    by: str
    name: str
    device: str
    device_name: str
    state: str
    ineffective: str | None
    ineffective_reason: str | None
    fields: dict[str, Any]
    received_at: datetime
    clock_offset_ms: int | None


class ProblemDetail(ProblemItem):
    """A problem with everything that was recorded of it, and its steps in the order in which they
    happened.
    """

    fields: dict[str, Any]
    reason: str | None
    duplicate_of: str | None
    received_at: datetime
    steps: list[TimelineStep]
    next_actions: list[str] = Field(
        description="Actions that would have an effect now if the caller took them"
    )


class NewProblem(RequestBody):
    """A problem to raise; the fields are those of the record kind `problem`."""

    grid: GridCode
    id: MadeId | None = Field(
        None, description="A UUID made by the client, so that sending twice makes one problem"
    )
    fields: dict[str, Any] = Field(
        examples=[{"title": "水管冻裂", "duty": "emergency", "severity": "urgent"}]
    )


class NewStep(RequestBody):
    """A step to take; the fields are those of the record kind `step`, without `problem_id`."""

    id: MadeId | None = Field(
        None, description="A UUID made by the client, so that sending twice makes one step"
    )
    action: str = Field(pattern=f"^({'|'.join(ACTIONS)})$", examples=["resolve"])
    fields: dict[str, Any] = Field({}, examples=[{"note": "已换新管"}])
