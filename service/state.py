"""What a running service holds: settings, database, tokens and a clock. No state of the field work itself."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, cast

import msgspec
from fastapi import Request

from service.database import Database
from service.settings import Settings

if TYPE_CHECKING:
    from service.identity.attempts import Attempts
    from service.identity.passwords import Passwords
    from service.identity.tokens import Tokens
    from service.sync.exchange import Exchanges


class State(msgspec.Struct):
    """Made when the app starts. `now` is the service's clock; tests and simulations pass their own."""

    settings: Settings
    database: Database
    tokens: "Tokens"
    attempts: "Attempts"
    passwords: "Passwords"
    exchanges: "Exchanges"
    now: Callable[[], datetime]


def state_of(request: Request) -> State:
    """The state behind a request."""
    return cast(State, request.app.state.gridloop)
