"""What the grants of the token endpoint share: whose attempt it is, the code of the second factor,
and the answer.
"""

from datetime import datetime, timedelta

from service.identity import second_factor
from service.identity import session_queries as sessions
from service.identity.attempts import Attempts, Origin, network_of
from service.identity.session_queries import NewToken
from service.identity.token_models import TokenAnswer
from service.identity.tokens import Issued, Tokens
from service.kit.database import Connection
from service.kit.errors import OTP_NEEDED, POSTS_ENDED, Problem
from service.kit.state import State


async def origin_of(
    connection: Connection, staff_code: str, device: str | None, address: str
) -> Origin:
    """Whose attempt it is, and whether the device or the address is known to the account."""
    network = network_of(address)
    known_device = device is not None and await sessions.is_known_device(
        connection, device, staff_code
    )
    known_address = not known_device and await sessions.is_known_address(
        connection, staff_code, network
    )
    return Origin(staff_code.casefold(), address, device if known_device else None, known_address)


async def check_code(
    state: State, staff_code: str, code: str | None, now: datetime
) -> second_factor.Taken:
    """Raises `Problem` unless a code of the second factor, or a recovery code, is right and new;
    which of them it was.
    """
    if not code:
        raise Problem(
            OTP_NEEDED,
            "The password is right; send the code of the authenticator app, too, as otp.",
        )
    async with state.of(Attempts).counted(
        state.of(Attempts).of_code(staff_code.casefold()), now, OTP_NEEDED
    ):
        async with state.database.transaction() as connection:
            taken = await second_factor.takes(connection, state.settings, staff_code, code, now)
            if taken is not None:
                return taken
        raise Problem(OTP_NEEDED, "The code is wrong, or was used before; wait for the next one.")


def posts_ended() -> Problem:
    """The answer to who has no post at present."""
    return Problem(
        POSTS_ENDED,
        "You have no post at present. A phone may still hand in what it holds, at /v1/sync; for"
        " all else ask the administrator.",
    )


def end_of(state: State, since: datetime, now: datetime) -> datetime:
    """Until when a refresh token is good that is given now, in a sign-in that began at `since`."""
    settings = state.settings
    return min(
        now + timedelta(days=settings.refresh_days), since + timedelta(days=settings.sign_in_days)
    )


def answer_of(
    state: State, token: NewToken, refresh_token: str, registered_at: datetime | None, now: datetime
) -> TokenAnswer:
    """The tokens of a sign-in, as the endpoint answers them."""
    about = Issued(token.device, token.family, token.generation, registered_at)
    return TokenAnswer(
        access_token=state.of(Tokens).access_token(token.staff_code, now, about),
        expires_in=state.settings.access_minutes * 60,
        refresh_token=refresh_token,
        staff_code=token.staff_code,
        registered_at=registered_at,
    )
