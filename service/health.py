"""`/healthz` answers while the process lives, `/readyz` while it can serve."""

import hmac
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service import metrics as figures
from service.errors import TOKEN_INVALID, UNAVAILABLE, Problem, documented
from service.state import state_of

router = APIRouter(tags=["operations"])
figures_router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """Everything is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Whether the process lives", operation_id="healthz")
async def healthz() -> Health:
    """Needs nothing but the process."""
    return Health()


@router.get("/readyz", summary="Whether the service can serve", operation_id="readyz", responses=documented(UNAVAILABLE))
async def readyz(request: Request) -> Health:
    """Asks the database for the server's row, and opens the keys that sign tokens."""
    state = state_of(request)
    async with state.database.reading() as connection:
        await connection.fetchval("SELECT one FROM server")
        await request.app.state.database_rights.check(connection)
    await state.tokens.ready()
    return Health()


_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "In the text format of Prometheus", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@figures_router.get(
    "/metrics",
    summary="Figures for Prometheus",
    operation_id="metrics",
    response_class=Response,
    responses=_TEXT | documented(TOKEN_INVALID),
)
async def metrics(request: Request) -> Response:
    """Pushes, verdicts, conflicts, feed lag, connections and the time of requests, of all processes together."""
    state = state_of(request)
    token = state.settings.metrics_token
    if token is not None and not hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
        raise Problem(TOKEN_INVALID, "Send GRIDLOOP_METRICS_TOKEN as ‘Authorization: Bearer …’.")
    return Response(figures.text(state.database.pools), media_type=figures.CONTENT_TYPE)
