"""The tables of cadres, their posts and devices, refresh tokens and signing keys."""

from datetime import date, datetime
from uuid import UUID as Uuid

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlmodel import Field, SQLModel


def _code() -> Column[str]:
    return Column(Text(collation="C"), primary_key=True)


class Cadre(SQLModel, table=True):
    """A person who works with Gridloop. `password` is an argon2 hash; without one nobody signs in
    as this cadre.

    `must_change`: it is a first password, which is good until `password_expires_at`. `shown_code`:
    the code by which the person goes today, where that is another than `staff_code`, which never
    changes: records name people by it. `party_member` holds where there is no `PartyMembership`.
    """

    staff_code: str = Field(sa_column=_code())
    name: str = Field(sa_type=Text)
    phone: str = Field(default="", sa_type=Text)
    party_member: bool = False
    password: str | None = Field(default=None, sa_type=Text)
    demo: bool = False
    must_change: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default="false")
    )
    password_expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    shown_code: str | None = Field(default=None, sa_column=Column(Text(collation="C")))


class StaffCodeAlias(SQLModel, table=True):
    """A code that was given to a cadre after the first one; it is nobody else's ever after."""

    __tablename__ = "staff_code_alias"

    code: str = Field(sa_column=_code())
    staff_code: str = Field(sa_column=Column(Text(collation="C"), nullable=False, index=True))
    given_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class PartyMembership(SQLModel, table=True):
    """A span of days in Asia/Shanghai on which a cadre is a party member: from `joined_on` (empty:
    since before anything was recorded) until the day before `left_on` (empty: still).

    `number` counts a cadre's spans in order, from 1.
    """

    __tablename__ = "party_membership"

    staff_code: str = Field(sa_column=_code())
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    joined_on: date | None = Field(default=None, sa_type=Date)
    left_on: date | None = Field(default=None, sa_type=Date)


class Post(SQLModel, table=True):
    """A role at a unit from `valid_from` until `valid_to`; empty means still. `end_recorded_at`:
    when the end was entered. `title`: what the person is called there, beside the role.
    """

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    staff_code: str = Field(sa_column=Column(Text(collation="C"), nullable=False, index=True))
    role: str = Field(sa_type=Text)
    unit: str = Field(sa_column=Column(Text(collation="C"), nullable=False, index=True))
    valid_from: datetime = Field(sa_type=DateTime(timezone=True))
    valid_to: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    end_recorded_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    title: str | None = Field(default=None, sa_type=Text)


class Device(SQLModel, table=True):
    """A phone, or the server-side device of a cadre's REST writes.

    `acked_seq` counts the mutations taken in; `last_stamp` is the highest corrected stamp among
    them; `queued` is what the phone said was still waiting on it. `created_at` is when it was
    registered; `audited_on` the last day on which its pull was written into the audit trail.
    """

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    staff_code: str = Field(sa_column=Column(Text(collation="C"), nullable=False, index=True))
    name: str = Field(default="", sa_type=Text)
    platform: str = Field(default="", sa_type=Text)
    app_version: str = Field(default="", sa_type=Text)
    acked_seq: int = Field(default=0, sa_type=BigInteger)
    last_stamp: int = Field(default=0, sa_type=BigInteger)
    queued: int = 0
    clock_offset_ms: int = Field(default=0, sa_type=BigInteger)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    last_seen: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    audited_on: date | None = Field(default=None, sa_type=Date)


class RefreshToken(SQLModel, table=True):
    """A refresh token, known by its hash. A family is one sign-in, which began at `family_since`
    from `address`.

    It grows by rotation: `generation` counts from 0. `first_used_at`: when the token, or an access
    token that was issued with it, was first used; from then on the one before is no longer good,
    and its use revokes the family. `ended_by`: why it was revoked.
    """

    __tablename__ = "refresh_token"
    __table_args__ = (
        Index("refresh_token_generation", "family", "generation"),
        Index("refresh_token_staff_code", "staff_code"),
    )

    hash: str = Field(sa_column=Column(Text, primary_key=True))
    family: Uuid = Field(sa_column=Column(UUID, nullable=False))
    staff_code: str = Field(sa_type=Text)
    device: Uuid | None = Field(default=None, sa_column=Column(UUID))
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    used_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    generation: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    first_used_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    family_since: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("now()"))
    )
    ended_by: str | None = Field(default=None, sa_type=Text)
    address: str = Field(sa_column=Column(Text, nullable=False, server_default=""))


class PageSession(SQLModel, table=True):
    """A browser that is signed in to the pages, known by the hash of its cookie.

    `family`: the sign-in that it belongs to, which has a refresh token that nobody was given; the
    session ends with that. `last_seen_at`: when a page was last asked for, to a minute; `ends_at`:
    when it ends however often that is.
    """

    __tablename__ = "page_session"

    hash: str = Field(sa_column=Column(Text, primary_key=True))
    family: Uuid = Field(sa_column=Column(UUID, nullable=False, index=True))
    staff_code: str = Field(sa_column=Column(Text(collation="C"), nullable=False, index=True))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    last_seen_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    ends_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))


class SecondFactor(SQLModel, table=True):
    """A cadre's authenticator app (TOTP). `secret` is encrypted; it counts from `confirmed_at` on.

    `last_step`: the time step of the last code that was taken, so that no code is taken twice.
    """

    __tablename__ = "second_factor"

    staff_code: str = Field(sa_column=_code())
    secret: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    confirmed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    last_step: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))


class OneTimeCode(SQLModel, table=True):
    """A code that is good once: in place of a second factor, or (`purpose` = `password`) to set a
    new password until `expires_at`.

    `hash` is encrypted: the codes are too short for a plain hash. See `one_time_codes`.
    """

    __tablename__ = "one_time_code"

    staff_code: str = Field(sa_column=_code())
    purpose: str = Field(sa_column=Column(Text, primary_key=True))
    hash: str = Field(sa_column=Column(Text, primary_key=True))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class Attempt(SQLModel, table=True):
    """A window in which attempts to sign in are counted; `expires_at` and `last_at`, of the last
    failure, are Unix times.
    """

    __table_args__ = {"prefixes": ["UNLOGGED"]}

    key: str = Field(sa_column=Column(Text, primary_key=True))
    count: int = Field(sa_column=Column(Integer, nullable=False))
    expires_at: float = Field(sa_column=Column(Double, nullable=False))
    last_at: float = Field(sa_column=Column(Double, nullable=False, server_default="0"))


class AppClient(SQLModel, table=True):
    """An app's account: what it may do (`scopes`), and for which unit and all below. `secret` is an
    argon2 hash.
    """

    __tablename__ = "app_client"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    secret: str = Field(sa_column=Column(Text, nullable=False))
    scopes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    unit: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class SigningKey(SQLModel, table=True):
    """A key pair that signs access tokens (ES256); the newest signs, all are published until
    retired.
    """

    __tablename__ = "signing_key"

    kid: str = Field(sa_column=Column(Text, primary_key=True))
    private_pem: str = Field(sa_type=Text)
    public_pem: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    retired_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
