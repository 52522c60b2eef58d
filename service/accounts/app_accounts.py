"""Accounts of apps: `/v1/apps`, for who administers the whole city. `openapi/app.md` walks through
what an app does with one.
"""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.http.names import Name
from service.http.strict import RequestBody
from service.identity import client_queries as queries
from service.identity import staff_codes
from service.identity.access import Caller, Signed
from service.identity.passwords import Passwords
from service.identity.rights import SCOPES
from service.identity.tokens import new_refresh_token
from service.kit.database import Connection, Row
from service.kit.errors import NOT_ALLOWED, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.paging import After, Limit, next_place, read_text
from service.kit.state import state_of
from service.organisation.units import absent, find_unit, in_scope
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/apps", tags=["accounts"])

CLIENT_ID = r"^[a-z][a-z0-9_-]{2,39}$"
ClientId = Annotated[str, Path(pattern=CLIENT_ID)]
# Those of `SCOPES`.
Scope = Literal[
    "articles:read", "articles:write", "requests:write", "villages:read", "statistics:read"
]


class NewApp(RequestBody):
    """An app that gets an account: what it may do (`scopes`), for a unit and all below it."""

    client_id: str = Field(
        pattern=CLIENT_ID,
        description="3 to 40 small letters, digits, - and _, beginning with a letter",
        examples=["nongmu"],
    )
    name: Name = Field(examples=["包头农牧"])
    unit: str = Field(pattern=r"^\d{1,15}$", examples=["1502"])
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(SCOPES),
        description="; ".join(f"`{scope}`: {what}" for scope, what in SCOPES.items()),
        examples=[["articles:read", "requests:write"]],
    )


class AppItem(BaseModel):
    """An app's account. `ended_at`: since then it is good for nothing."""

    client_id: str
    name: str
    unit: str
    scopes: list[str]
    created_at: datetime
    ended_at: datetime | None


class AppPage(BaseModel):
    """A page of apps in order of `client_id`."""

    items: list[AppItem]
    next: str | None


class AppSecret(BaseModel):
    """The secret of an app, which is in this answer only."""

    client_id: str
    client_secret: str


@router.get("", summary="Apps", operation_id="list_apps", responses=documented(*READING))
async def list_apps(
    request: Request, caller: Signed, limit: Limit = 100, after: After = None
) -> AppPage:
    """In order of `client_id`; those that have ended, too."""
    refuse_others(caller)
    async with state_of(request).database.transaction() as connection:
        rows = await queries.clients(connection, read_text(after), limit + 1)
        await note(connection, request, caller, "apps", caller.units(), len(rows[:limit]))
    items = [_item(row) for row in rows[:limit]]
    more = len(rows) > limit
    return AppPage(items=items, next=next_place(items[-1].client_id, "") if more else None)


@router.post(
    "",
    status_code=201,
    summary="Make an app's account",
    operation_id="create_app",
    responses=documented(*READING, NOT_NOW),
)
async def create_app(request: Request, caller: Signed, body: NewApp) -> AppSecret:
    """One that has ended may be made again, with another secret. With `client_id` and
    `client_secret` an app gets its tokens at `POST /v1/auth/token`.
    """
    refuse_others(caller)
    in_scope(caller, body.unit)
    state = state_of(request)
    secret = new_refresh_token()
    hashed = await state.of(Passwords).hash(secret)
    scopes = sorted({*body.scopes})
    async with state.database.transaction() as connection:
        if await find_unit(connection, body.unit) is None:
            raise absent(caller, body.unit)
        known = await queries.lock_client(connection, body.client_id)
        if known is None:
            await staff_codes.take(connection, body.client_id)
        elif known["revoked_at"] is None:
            raise Problem(
                NOT_NOW,
                Text(
                    "There is an app ‘{client}’ already; give it another secret, or choose another"
                    " client_id.",
                    client=body.client_id,
                ),
            )
        await queries.add_client(
            connection, body.client_id, body.name, hashed, scopes, body.unit, caller.now
        )
        subjects = [body.client_id, body.unit, *scopes]
        await note(connection, request, caller, "app-account-made", subjects, 1)
    return AppSecret(client_id=body.client_id, client_secret=secret)


@router.post(
    "/{client_id}/secret",
    status_code=201,
    summary="Give an app another secret",
    operation_id="renew_app_secret",
    responses=documented(*READING, NOT_NOW),
)
async def renew_secret(request: Request, caller: Signed, client_id: ClientId) -> AppSecret:
    """The one before is void at once; a token that was got with it is good until it expires."""
    refuse_others(caller)
    state = state_of(request)
    secret = new_refresh_token()
    hashed = await state.of(Passwords).hash(secret)
    async with state.database.transaction() as connection:
        await _good(connection, client_id)
        await queries.set_client_secret(connection, client_id, hashed)
        await note(connection, request, caller, "app-secret-renewed", [client_id], 1)
    return AppSecret(client_id=client_id, client_secret=secret)


@router.post(
    "/{client_id}/end",
    summary="End an app's account",
    operation_id="end_app",
    responses=documented(*READING, NOT_NOW),
)
async def end_app(request: Request, caller: Signed, client_id: ClientId) -> AppItem:
    """Its secret and its tokens are void at once. What it handed in stays."""
    refuse_others(caller)
    async with state_of(request).database.transaction() as connection:
        await _good(connection, client_id)
        await queries.revoke_client(connection, client_id, caller.now)
        await note(connection, request, caller, "app-account-ended", [client_id], 1)
        ended = await queries.lock_client(connection, client_id)
    assert ended is not None
    return _item(ended)


def administers_whole(caller: Caller) -> bool:
    """Whether the right of this route holds for the whole city."""
    return bool(caller.units_or_none()) and all(map(caller.reaches, caller.tree.tops(caller.today)))


def refuse_others(caller: Caller) -> None:
    """Raises `Problem` for who does not administer the whole city."""
    if not administers_whole(caller):
        raise Problem(
            NOT_ALLOWED, "Only who administers the whole city keeps the accounts of apps."
        )


async def _good(connection: Connection, client_id: str) -> Row:
    """An app that has not ended, locked; raises `Problem`."""
    row = await queries.lock_client(connection, client_id)
    if row is None:
        raise Problem(NOT_FOUND, Text("There is no app ‘{client}’.", client=client_id))
    if row["revoked_at"] is not None:
        raise Problem(
            NOT_NOW,
            Text("The app ‘{client}’ has ended; make its account again.", client=client_id),
        )
    return row


def _item(row: Row) -> AppItem:
    return AppItem(
        client_id=row["id"],
        name=row["name"],
        unit=row["unit"],
        scopes=row["scopes"],
        created_at=row["created_at"],
        ended_at=row["revoked_at"],
    )
