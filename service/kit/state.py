"""What a running service holds: settings, database, a clock, and what each domain gives. No state
of the field work itself.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast

from fastapi import Request

from service.kit.database import Database
from service.kit.settings import Settings

T = TypeVar("T")


class State:
    """Made when the app starts. `now` is the service's clock; tests and simulations pass their own.

    What domains hold is asked for by its class, so that nothing here knows of them:
    `state.of(Tokens)`.
    """

    def __init__(
        self, settings: Settings, database: Database, now: Callable[[], datetime], *parts: Any
    ) -> None:
        self.settings = settings
        self.database = database
        self.now = now
        self._parts: dict[type, Any] = {}
        for part in parts:
            self.give(type(part), part)

    def give(self, kind: type[T], part: T) -> None:
        """Takes an object in, as that of a class."""
        self._parts[kind] = part

    def of(self, kind: type[T]) -> T:
        """The object of a class that was given; raises KeyError when there is none."""
        return cast(T, self._parts[kind])


def state_of(request: Request) -> State:
    """The state behind a request."""
    return cast(State, request.app.state.gridloop)
