"""`/healthz` answers while the process lives, `/readyz` while it can serve."""

import hmac
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.identity.tokens import Tokens
from service.jobs.figures import Figures
from service.kit import metrics as figures
from service.kit.database_errors import TOO_NEW, fault_of, is_of_database
from service.kit.errors import TOKEN_INVALID, UNAVAILABLE, Problem, documented, unavailable
from service.kit.localization import FOR_PROGRAMS, localized
from service.kit.state import state_of
from service.runtime.clocks import RETRY_AFTER_S, ClockWatch
from service.runtime.tables_watch import TablesWatch
from service.runtime.write_probe import WriteProbe
from sync_protocol.texts import Text

router = APIRouter(tags=["operations"])
figures_router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(Health):
    """Everything that is needed is there. `warnings`: what somebody should look at all the same, a
    sentence each. `tables`: the revision of the database's tables; `tables_newer`: whether they are
    of a newer release, over which this one may run for a while.
    """

    warnings: list[str] = []
    tables: str = ""
    tables_newer: bool = False


@router.get("/healthz", summary="Whether the process lives", operation_id="healthz")
async def healthz() -> Health:
    """Needs nothing but the process."""
    return Health()


@router.get(
    "/readyz",
    summary="Whether the service can serve",
    operation_id="readyz",
    responses=documented(UNAVAILABLE),
)
async def readyz(request: Request) -> Readiness:
    """Asks the database for the server's row and of which release its tables are, compares the
    clocks, opens the keys that sign tokens, and tries now and then whether a write goes through.
    """
    try:
        await _look(request)
    except Problem as problem:
        # What is known all the same.
        problem.members |= _state(request).model_dump(exclude={"status"})
        raise
    return _state(request)


async def _look(request: Request) -> None:
    """Raises `Problem` for what keeps the service from serving."""
    state = state_of(request)
    clock: ClockWatch | None = request.app.state.clock
    watch: TablesWatch = request.app.state.tables
    probe: WriteProbe = request.app.state.write_probe
    try:
        async with state.database.reading() as connection:
            await watch.look(connection)
            if watch.too_new is None:
                await connection.fetchval("SELECT one FROM server")
                await request.app.state.database_rights.check(connection)
                if clock is not None:
                    await clock.look(connection)
    except Exception as error:
        probe.failed(error)
        fault = fault_of(error) if is_of_database(error) else None
        if fault is None:
            raise
        raise unavailable(fault, error) from error
    if watch.too_new is not None:
        raise Problem(UNAVAILABLE, watch.too_new, {"Retry-After": str(TOO_NEW.retry_after)})
    if clock is not None and clock.wrong is not None:
        raise Problem(UNAVAILABLE, clock.wrong, {"Retry-After": str(RETRY_AFTER_S)})
    await state.of(Tokens).ready()
    await probe.check(state.database)


def _state(request: Request) -> Readiness:
    """What is known of the tables and what somebody should look at."""
    clock: ClockWatch | None = request.app.state.clock
    watch: TablesWatch = request.app.state.tables
    warnings: list[Text] = [_FORWARDED] if request.app.state.unnamed_proxies.were_here else []
    warnings += clock.warnings if clock is not None else []
    warnings += [watch.tables.warning] if watch.tables.warning is not None else []
    shown = [localized(text, FOR_PROGRAMS) for text in warnings]
    return Readiness(
        warnings=shown, tables=watch.tables.revision or "", tables_newer=watch.tables.are_newer
    )


_FORWARDED = Text(
    "Forwarded headers came from an address that may not speak for others, and were ignored; the"
    " log names it."
    " If it is your proxy, start with gridloop serve --proxy and its address."
)
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "In the text format of Prometheus",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


@figures_router.get(
    "/metrics",
    summary="Figures for Prometheus",
    operation_id="metrics",
    response_class=Response,
    responses=_TEXT | documented(TOKEN_INVALID),
)
async def metrics(request: Request) -> Response:
    """Pushes, verdicts, conflicts, feed lag, connections, jobs and the time of requests, of all
    processes together.
    """
    state = state_of(request)
    token = state.settings.metrics_token
    if token is not None and not hmac.compare_digest(
        request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()
    ):
        raise Problem(TOKEN_INVALID, "Send GRIDLOOP_METRICS_TOKEN as ‘Authorization: Bearer …’.")
    await state.of(Figures).note(state.database)
    return Response(figures.text(state.database.pools), media_type=figures.CONTENT_TYPE)
