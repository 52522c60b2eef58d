"""Articles: `/v1/articles`, for people and for the app."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.articles import queries
from service.audit.audit_log import note
from service.http.ids import MadeId, fresh_id
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.identity.rights import EDITS, scope
from service.kit.bounded import cut
from service.kit.conditions import Range
from service.kit.database import Connection
from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.paging import After, Id, Limit, next_after, read_after
from service.kit.state import state_of
from service.organisation.units import find_unit, scope_of
from service.writes.queries import next_in_mailbox
from sync_protocol.fields import InvalidValue, Text
from sync_protocol.texts import Text as Sentence
from sync_protocol.texts import text_of

router = APIRouter(prefix="/v1/articles", tags=["articles"])

ArticleKind = Literal["party_voice", "policy", "technical_guidance"]
ArticleState = Literal["draft", "published", "withdrawn"]
_TITLE, _BODY = Text(200, min=1), Text(20_000, min=1)


class ArticleOut(BaseModel):
    """An article for a unit and all below it."""

    id: str
    unit: str
    kind: ArticleKind
    title: str
    body: str
    state: ArticleState
    author: str
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None
    withdrawn_at: datetime | None


class ArticlePage(BaseModel):
    """A page of articles, those changed last first."""

    items: list[ArticleOut]
    next: str | None


class NewArticle(RequestBody):
    """A draft; nobody but editors of the unit sees it before it is published."""

    id: MadeId | None = Field(
        None, description="A UUID made by the client, so that sending twice makes one article"
    )
    unit: str = Field(pattern=r"^\d{4,15}$", examples=["150221"])
    kind: ArticleKind
    title: str = Field(max_length=200, examples=["春季接羔技术要点"])
    body: str = Field(max_length=20_000)


class ArticleUpdate(RequestBody):
    """What is to change; what is left out stays."""

    kind: ArticleKind | None = None
    title: str | None = Field(None, max_length=200)
    body: str | None = Field(None, max_length=20_000)


_WRITING = documented(*READING, NOT_NOW)


def _edited(caller: Caller) -> list[Range]:
    """The ranges of the units whose articles the caller edits: by a post, or all of the app's unit
    with the scope to write.
    """
    roles = EDITS if caller.client is None else frozenset({"app_client"})
    return caller.ranges(scope(caller.posts, caller.now, roles))


def _readers(caller: Caller, units: list[str]) -> queries.Readers:
    above = {code for unit in units for code in caller.tree.above(unit, caller.today)}
    return queries.Readers(caller.ranges(units), sorted(above))


@router.get("", summary="Articles", operation_id="list_articles", responses=documented(*READING))
async def articles(
    request: Request,
    caller: Signed,
    unit: Annotated[
        str | None,
        Query(
            max_length=20,
            description="Meant for this unit: its own, those of units above, and below",
        ),
    ] = None,
    kind: ArticleKind | None = None,
    state: ArticleState | None = None,
    limit: Limit = 100,
    after: After = None,
) -> ArticlePage:
    """Those changed last first; drafts and withdrawn ones only for who edits them."""
    units = scope_of(caller, unit)
    async with state_of(request).database.transaction() as connection:
        rows, more = cut(
            await queries.articles(
                connection,
                _readers(caller, units),
                _edited(caller),
                kind,
                state,
                read_after(after),
                limit + 1,
            ),
            limit,
        )
        await note(connection, request, caller, "articles", units, len(rows))
    items = [ArticleOut(**dict(row)) for row in rows]
    return ArticlePage(
        items=items, next=next_after(items[-1].updated_at, items[-1].id) if more else None
    )


@router.get(
    "/{id}", summary="An article", operation_id="get_article", responses=documented(*READING)
)
async def article(request: Request, caller: Signed, id: Id) -> ArticleOut:
    """One article."""
    async with state_of(request).database.transaction() as connection:
        row = await queries.article(
            connection, id, _readers(caller, caller.units()), _edited(caller)
        )
        if row is None:
            raise _absent(id)
        await note(connection, request, caller, "article", [id], 1)
    return ArticleOut(**dict(row))


@router.post(
    "",
    status_code=201,
    summary="Write an article",
    operation_id="create_article",
    responses=documented(*READING),
)
async def create(request: Request, caller: Signed, body: NewArticle) -> ArticleOut:
    """Makes a draft for a unit that the caller edits."""
    id = body.id or fresh_id(request, caller.now)
    title, text = _clean("title", _TITLE, body.title), _clean("body", _BODY, body.body)
    async with state_of(request).database.transaction() as connection:
        allowed = caller.reaches(body.unit)
        if not allowed or await find_unit(connection, body.unit) is None:
            raise Problem(
                NOT_FOUND,
                Sentence("There is no unit ‘{unit}’ for which you write articles.", unit=body.unit),
            )
        await queries.add_article(
            connection, id, body.unit, body.kind, title, text, caller.staff_code, caller.now
        )
        row = await _locked(connection, caller, id)
        if (row["unit"], row["author"]) != (body.unit, caller.staff_code):
            raise Problem(
                INVALID, Sentence("The id {id} is another article's; make a new one.", id=id)
            )
        await note(connection, request, caller, "article-written", [id], 1)
    return ArticleOut(**dict(row))


@router.patch(
    "/{id}", summary="Change an article", operation_id="update_article", responses=_WRITING
)
async def update(request: Request, caller: Signed, id: Id, body: ArticleUpdate) -> ArticleOut:
    """A published one reaches the phones anew."""
    async with state_of(request).database.transaction() as connection:
        row = await _locked(connection, caller, id)
        if row["state"] == "withdrawn":
            raise Problem(NOT_NOW, "The article was withdrawn; write a new one.")
        title = row["title"] if body.title is None else _clean("title", _TITLE, body.title)
        text = row["body"] if body.body is None else _clean("body", _BODY, body.body)
        await queries.change_article(
            connection, id, body.kind or row["kind"], title, text, caller.now
        )
        if row["state"] == "published":
            await _to_phones(connection, row)
        await note(connection, request, caller, "article-changed", [id], 1)
        return ArticleOut(**dict(await _locked(connection, caller, id)))


@router.post(
    "/{id}/publication",
    summary="Publish an article",
    operation_id="publish_article",
    responses=_WRITING,
)
async def publish(request: Request, caller: Signed, id: Id) -> ArticleOut:
    """From now on the people of its unit and all below see it, and phones get it with their next
    sync.
    """
    return await _turn(request, caller, id, "draft", "published")


@router.post(
    "/{id}/withdrawal",
    summary="Withdraw an article",
    operation_id="withdraw_article",
    responses=_WRITING,
)
async def withdraw(request: Request, caller: Signed, id: Id) -> ArticleOut:
    """Phones delete it with their next sync; editors still see it."""
    return await _turn(request, caller, id, "published", "withdrawn")


async def _turn(request: Request, caller: Caller, id: str, before: str, after: str) -> ArticleOut:
    async with state_of(request).database.transaction() as connection:
        row = await _locked(connection, caller, id)
        if row["state"] != after:
            if row["state"] != before:
                text = Sentence(
                    "The article is {state}; only one that is {before} can be {after}.",
                    state=row["state"],
                    before=before,
                    after=after,
                )
                raise Problem(NOT_NOW, text)
            await queries.turn_article(connection, id, after, caller.now)
            await _to_phones(connection, row)
        await note(connection, request, caller, f"article-{after}", [id], 1)
        return ArticleOut(**dict(await _locked(connection, caller, id)))


async def _locked(connection: Connection, caller: Caller, id: str) -> Any:
    row = await queries.lock_article(connection, id, _edited(caller))
    if row is None:
        raise _absent(id)
    return row


async def _to_phones(connection: Connection, row: Any) -> None:
    await queries.place_in_feed(
        connection, row["id"], await next_in_mailbox(connection, "#" + row["unit"], 1)
    )


def _clean(name: str, kind: Text, text: str) -> str:
    try:
        return str(kind.clean(text))
    except InvalidValue as error:
        raise Problem(
            INVALID, Sentence("{field} {what}.", field=name, what=text_of(error))
        ) from None


def _absent(id: str) -> Problem:
    return Problem(NOT_FOUND, Sentence("There is no article {id} in your scope.", id=id))
