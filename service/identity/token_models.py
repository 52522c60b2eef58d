"""What comes to the token endpoint, and what it answers."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_MOST_OF_A_CURSOR = 500_000


class TokenAnswer(BaseModel):
    """Tokens as OAuth 2.0 gives them; `expires_in` in seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOiJFUzI1NiIs…",
                    "token_type": "bearer",
                    "expires_in": 900,
                    "refresh_token": "q5Zl…",
                    "staff_code": "W150221100201001-1",
                }
            ]
        }
    )

    access_token: str
    token_type: str = "bearer"
    expires_in: int
    refresh_token: str | None = None
    staff_code: str | None = None
    scope: str | None = Field(None, description="What an app's token allows")
    password_change_needed: bool = Field(
        False,
        description="A first password: choose your own at /v1/auth/password before anything else",
    )
    otp_enrolment_needed: bool = Field(
        False,
        description="Your role asks for a second factor: set one up at /v1/auth/otp before"
        " anything else",
    )
    registered_at: datetime | None = Field(
        None,
        description="Since when the device is registered; inherited from a `predecessor` that was"
        " proven",
    )


class Grant(BaseModel):
    """What is asked for, as an OAuth 2.0 form."""

    grant_type: str = Field(
        examples=["password"], description="`password`, `refresh_token` or `client_credentials`"
    )
    username: str | None = Field(
        None, max_length=80, examples=["W150221100201001-1"], description="The staff code"
    )
    password: str | None = Field(None, max_length=200, examples=["gridloop-demo"])
    otp: str | None = Field(
        None,
        max_length=20,
        description="A code of the authenticator app, or a recovery code; asked for by"
        " `otp-needed`",
    )
    refresh_token: str | None = Field(None, max_length=200)
    client_id: str | None = Field(None, max_length=80, description="Of an app")
    client_secret: str | None = Field(None, max_length=200)
    scope: str | None = Field(
        None,
        max_length=400,
        description="Of an app: what the token shall allow; left out: all that it may",
    )
    device_id: Annotated[str, AfterValidator(str.lower)] | None = Field(
        None,
        max_length=36,
        description="A UUID that the phone made for itself; binds the tokens to it",
    )
    device_name: str = Field("", max_length=100)
    platform: str = Field("", max_length=40)
    app_version: str = Field("", max_length=40)
    predecessor: str | None = Field(
        None,
        max_length=_MOST_OF_A_CURSOR,
        description="The last cursor, or the last refresh token, of the device in whose place this"
        " one comes",
    )
