"""What is said of conflicts and held mutations over REST, and what is taken."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.http.strict import RequestBody


class AboutOut(BaseModel):
    """Whom or what a record is about, as far as it is shown to you: the household with its head,
    the problem with its title, when the visit was made, the week, month or other period.
    """

    household_id: str | None = None
    head_name: str | None = None
    problem_id: str | None = None
    title: str | None = None
    visited_at: datetime | None = None
    period: str | None = None


class ConflictOut(BaseModel):
    """A field on which two devices disagreed, with both values, authors, times and devices."""

    id: str
    grid: str
    kind: str
    record: str
    field: str
    rule: str = Field(
        description="The rule that chose: its name, a colon, and in words, in the language of the"
        " request"
    )
    rev: int
    kept: Any
    kept_by: str
    kept_device: str
    kept_at: datetime
    lost: Any
    lost_by: str
    lost_device: str
    lost_at: datetime
    created_at: datetime
    choice: str | None = None
    value: Any = None
    note: str | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None
    about: AboutOut | None = Field(None, description="In lists: whom or what it is about")


class ConflictPage(BaseModel):
    """A page of conflicts."""

    items: list[ConflictOut]
    next: str | None


class HeldOut(BaseModel):
    """A mutation kept aside, whole, with the reason."""

    id: str
    device: str
    seq: int
    staff_code: str
    kind: str
    record: str
    grid: str
    reason: str
    detail: str
    state: str
    received_at: datetime
    mutation: dict[str, Any]
    normalised: bool = Field(
        False,
        description="Whether `mutation` is a copy that can be shown of something that cannot; see"
        " its original",
    )
    waits_for: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision: str | None = None
    about: AboutOut | None = Field(None, description="In lists: whom or what it is about")


class HeldPage(BaseModel):
    """A page of held mutations."""

    items: list[HeldOut]
    next: str | None


class Resolution(RequestBody):
    """How a conflict is settled."""

    choice: Literal["kept", "lost", "value"] = Field(examples=["lost"])
    value: Any = Field(None, description="With choice `value`: the value to set")
    note: str = Field("", max_length=1000)


class Release(RequestBody):
    """How a held mutation is released: as it is, or with corrected fields. `fields` takes the place
    of all that were sent.
    """

    fields: dict[str, Any] | None = None
    changes: dict[str, Any] | None = Field(
        None,
        description="Instead of `fields`: only these are corrected, the others stay as they were"
        " sent, also those that are not shown to you",
    )
    note: str = Field("", max_length=1000)


class Discard(RequestBody):
    """Why a held mutation is discarded."""

    reason: str = Field(min_length=1, max_length=1000)
