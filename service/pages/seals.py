"""Sealing and unsealing a week or a month."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form
from fastapi.responses import Response

from service.pages.page import Posted, Visit, pages_router
from service.summaries import seal_routes
from service.summaries.seal_routes import Unseal

router: APIRouter = pages_router()

# The pages whose periods are sealed, and what REST calls those.
SEALED: dict[str, Literal["weekly", "monthly"]] = {"week": "weekly", "month": "monthly"}

Kind = Annotated[Literal["week", "month"], Form()]
Name = Annotated[str, Form(max_length=10)]
Unit = Annotated[str, Form(max_length=20)]


@router.post("/seal", operation_id="seal_on_page")
async def seal(visit: Posted, kind: Kind, name: Name, unit: Unit) -> Response:
    """Seals, and shows the page again."""
    await seal_routes.seal(visit.request, visit.caller, SEALED[kind], name, unit)
    return _back(visit, kind, name, unit)


@router.post("/unseal", operation_id="unseal_on_page")
async def unseal(
    visit: Posted,
    kind: Kind,
    name: Name,
    unit: Unit,
    reason: Annotated[str, Form(min_length=1, max_length=1000)],
) -> Response:
    """Lifts the seal with a reason, and shows the page again."""
    body = Unseal(reason=reason)
    await seal_routes.unseal(visit.request, visit.caller, SEALED[kind], name, unit, body)
    return _back(visit, kind, name, unit)


def _back(visit: Visit, kind: str, name: str, unit: str) -> Response:
    return visit.go(f"/{kind}", unit=unit, **{kind: name})
