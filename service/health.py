"""`/healthz` answers while the process lives, `/readyz` while it can serve."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from service.errors import UNAVAILABLE, documented
from service.state import state_of

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """Everything is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Whether the process lives", operation_id="healthz")
async def healthz() -> Health:
    """Needs nothing but the process."""
    return Health()


@router.get("/readyz", summary="Whether the service can serve", operation_id="readyz", responses=documented(UNAVAILABLE))
async def readyz(request: Request) -> Health:
    """Asks the database for the server's row."""
    async with state_of(request).database.reading() as connection:
        await connection.fetchval("SELECT one FROM server")
    return Health()
