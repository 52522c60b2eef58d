"""What is said of cadres and their phones over REST, and what is taken."""

from datetime import datetime

from pydantic import BaseModel, Field

from service.http.strict import RequestBody
from service.identity.passwords import RULE


class PostItem(BaseModel):
    """A post of a cadre. `title`: what the person is called there, beside the role."""

    id: str
    role: str
    title: str | None
    unit: str
    unit_name: str | None
    valid_from: datetime
    valid_to: datetime | None


class CadreItem(BaseModel):
    """A cadre with the posts held in the units that were asked for. Without the right to it the
    phone is masked. `shown_code`: the code by which the person goes today.
    """

    staff_code: str
    shown_code: str
    name: str
    phone: str
    party_member: bool
    posts: list[PostItem]


class CadrePage(BaseModel):
    """A page of cadres in order of staff code."""

    items: list[CadreItem]
    next: str | None


class DeviceItem(BaseModel):
    """A phone. `handed_in`: `all` (nothing waits on it), `waiting`, `needs_you` (held mutations
    wait for a decision), or `unknown`.
    """

    id: str
    staff_code: str
    cadre_name: str
    name: str
    platform: str
    app_version: str
    acked_seq: int
    queued: int = Field(description="Mutations that waited on the phone when it was last seen")
    held: int = Field(description="Its mutations that are held")
    handed_in: str
    clock_offset_ms: int
    created_at: datetime
    last_seen: datetime | None
    revoked_at: datetime | None


class DevicePage(BaseModel):
    """A page of phones."""

    items: list[DeviceItem]
    next: str | None


class FirstPassword(RequestBody):
    """A first password, which the cadre must change at the first sign-in, within 72 hours unless
    the server is set otherwise.
    """

    password: str = Field(max_length=200, description=RULE)


class RecoveryCode(BaseModel):
    """A one-time code for a forgotten password; shown once. It is used at `POST
    /v1/auth/recover`.
    """

    code: str = Field(examples=["7K3M9-Q2FXW"])
    expires_at: datetime
