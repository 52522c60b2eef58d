"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for who has
lost it.
"""

import hmac
import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import pyotp

from service.identity import second_factor_queries as queries
from service.identity.one_time_codes import Kept, keep_codes, new_code, use_code
from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.kit.encryption import Place, Undecrypted
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings

PURPOSE = "second-factor"
RECOVERY_CODES = 10
_STEP_S = 30
# A phone's clock may be one step off.
_STEPS = (-1, 0, 1)


def is_asked_for(settings: Settings, posts: Iterable[PostHeld], now: datetime) -> bool:
    """Whether a cadre with these posts must have a second factor."""
    return any(post.role in settings.otp_roles and post.valid_at(now) for post in posts)


def matching_step(secret: str, code: str, now: datetime, after: int) -> int | None:
    """The time step whose code this is, around now and later than `after`; None for a wrong or used
    one.
    """
    totp = pyotp.TOTP(secret, interval=_STEP_S)
    current = int(now.timestamp()) // _STEP_S
    for step in (current + offset for offset in _STEPS):
        if step > after and hmac.compare_digest(totp.generate_otp(step), code):
            return step
    return None


class Taken(StrEnum):
    """What a code was: one of the app, or a recovery code."""

    APP = "otp"
    RECOVERY = "recovery-code"


async def takes(
    connection: Connection, settings: Settings, staff_code: str, code: str, now: datetime
) -> Taken | None:
    """What a code was, which is used up now; None when it is wrong."""
    found = await queries.second_factor(connection, staff_code)
    if found is None:
        return None
    digits = code.replace(" ", "")
    if re.fullmatch(r"[0-9]{6}", digits):
        secret = (await cipher_of(connection, settings)).decrypt(
            secret_place(staff_code), found["secret"]
        )
        if isinstance(secret, Undecrypted):
            return None
        step = matching_step(secret, digits, now, found["last_step"])
        return (
            Taken.APP
            if step is not None and await queries.take_step(connection, staff_code, step)
            else None
        )
    if found["confirmed_at"] is None:
        return None
    return (
        Taken.RECOVERY
        if await use_code(connection, settings, Kept(staff_code, PURPOSE), code, now)
        else None
    )


async def new_recovery_codes(
    connection: Connection, settings: Settings, staff_code: str, now: datetime
) -> list[str]:
    """Ten new recovery codes; the older ones are no longer good."""
    codes = [new_code() for _ in range(RECOVERY_CODES)]
    await keep_codes(connection, settings, Kept(staff_code, PURPOSE), codes, now)
    return codes


def new_secret() -> str:
    """A secret for an authenticator app, in Base32."""
    return pyotp.random_base32()


def address_of(secret: str, staff_code: str, issuer: str) -> str:
    """The `otpauth:` address that an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret, interval=_STEP_S).provisioning_uri(
        name=staff_code, issuer_name=issuer
    )


def secret_place(staff_code: str) -> Place:
    """Where a cadre's secret stands, encrypted."""
    return Place("second_factor", "secret", staff_code)
