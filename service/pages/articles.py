"""Articles as who writes them sees them: `/admin/articles`, each with how often it was read."""

from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.articles import reads as article_reads
from service.articles import routes as articles
from service.articles.routes import ArticleOut, ArticleUpdate, NewArticle
from service.organisation.units import MaybePeriod
from service.pages.areas import areas
from service.pages.asked import asked
from service.pages.figures import Shown, shown
from service.pages.forms import NOTHING, Typed, carried_out, made
from service.pages.names import names_of
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.units import path_to
from sync_protocol.texts import Text

router: APIRouter = pages_router()

_ROWS = 50
KINDS: dict[str, Text] = {
    "party_voice": Text("Voice of the Party"),
    "policy": Text("Policy"),
    "technical_guidance": Text("Technical guidance"),
}
STATES: dict[str, Text] = {
    "draft": Text("draft"),
    "published": Text("published"),
    "withdrawn": Text("withdrawn"),
}
DONE: dict[str, Text] = {
    "written": Text("The draft is kept; nobody but editors sees it."),
    "changed": Text("The article was changed."),
    "published": Text("The article is published, and reaches phones with their next sync."),
    "withdrawn": Text("The article was withdrawn; phones delete it with their next sync."),
}

Id = Annotated[str, Path(max_length=40, pattern=r"^[0-9a-fA-F-]+$")]
Short = Annotated[str, Query(max_length=40)]
UnitCode = Annotated[str, Query(max_length=20, pattern=r"^\d*$")]


class ReadsLine(NamedTuple):
    """How often an article was read in a unit: in all, on phones, in an app."""

    code: str
    name: str
    numbers: list[Shown]


@router.get("/admin/articles", operation_id="admin_articles_page")
async def articles_page(
    visit: Signed,
    unit: UnitCode = "",
    kind: Short = "",
    state: Short = "",
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Articles meant for a unit, those changed last first."""
    found = await articles.articles(
        visit.request,
        visit.to("list_articles"),
        unit or None,
        kind if kind in KINDS else None,  # type: ignore[arg-type]
        state if state in STATES else None,  # type: ignore[arg-type]
        _ROWS,
        after or None,
    )
    names = await names_of(
        visit, [item.unit for item in found.items], [item.author for item in found.items]
    )
    return visit.page(
        "admin_articles.html",
        areas=areas(visit),
        unit=unit or None,
        path_up=await path_to(visit, unit) if unit else [],
        found=found,
        names=names,
        kinds=KINDS,
        states=STATES,
        kind=kind,
        state=state,
        after=after,
        may_write=visit.may("create_article"),
    )


@router.get("/admin/articles/new", operation_id="new_article_page")
async def new_article(visit: Signed, unit: UnitCode = "") -> Response:
    """The form for a draft."""
    return await _form(visit, Typed("article", {"unit": [unit]}))


async def _form(visit: Visit, typed: Typed = NOTHING, looks: bool = False) -> Response:
    unit = typed.get("unit")
    if not (unit.isdecimal() and visit.may_at("create_article", unit)):
        unit = min(visit.to("create_article").units(), key=len)
    return visit.page(
        "admin_article_new.html",
        areas=areas(visit),
        unit=unit,
        path_up=await path_to(visit, unit),
        kinds=KINDS,
        looks=looks,
        typed=typed,
    )


@router.post("/admin/articles/new", operation_id="create_article_on_page")
async def create(visit: Posted) -> Response:
    """Keeps a draft; or only shows how it would look."""

    async def work(typed: Typed) -> Response:
        if typed.get("look"):
            return await _form(visit, typed, looks=True)
        body = made(NewArticle, **_values(typed), unit=typed.get("unit"))
        kept = await articles.create(visit.request, visit.caller, body)
        return visit.go(f"/admin/articles/{kept.id}", done="written")

    return await carried_out(visit, "article", work, lambda typed: _form(visit, typed))


def _values(typed: Typed) -> dict[str, str]:
    # Browsers end lines as letters do.
    return {
        "kind": typed.get("kind"),
        "title": typed.get("title"),
        "body": typed.get("body").replace("\r\n", "\n"),
    }


@router.get("/admin/articles/{id}", operation_id="admin_article_page")
async def article_page(
    visit: Signed, id: Id, period: MaybePeriod, unit: UnitCode = "", done: Short = ""
) -> Response:
    """An article as people read it, its form, and how often it was read."""
    return await _page(visit, id, unit, period=period, notice=DONE.get(done))


async def _page(
    visit: Visit, id: str, unit: str = "", typed: Typed = NOTHING, **told: Any
) -> Response:
    found = await articles.article(visit.request, visit.to("get_article"), id)
    at = asked(visit, unit, told.pop("period", None), ("month", "week", "year"), under_way=True)
    reads = await article_reads.reads(
        visit.request, visit.to("article_reads"), id, at.unit, at.period
    )
    edits = visit.may_at("update_article", found.unit)
    values: dict[str, Any] = {"notice": None, "looks": False} | told
    return visit.page(
        "admin_article.html",
        areas=areas(visit),
        unit=at.unit,
        asked=at,
        found=found,
        names=await names_of(visit, [found.unit], [found.author]),
        path_up=await path_to(visit, at.unit),
        kinds=KINDS,
        states=STATES,
        may_edit=edits and found.state != "withdrawn",
        may_publish=edits and found.state == "draft",
        may_withdraw=edits and found.state == "published",
        whole=_line(reads.whole),
        below=[_line(one) for one in reads.below],
        typed=typed,
        **values,
    )


def _line(one: article_reads.UnitReads) -> ReadsLine:
    keys = ("reads", "phone", "app")
    return ReadsLine(one.unit.code, one.unit.name, [shown(key, getattr(one, key)) for key in keys])


@router.post("/admin/articles/{id}", operation_id="update_article_on_page")
async def update(visit: Posted, id: Id) -> Response:
    """Changes an article; or only shows how it would look."""

    async def work(typed: Typed) -> Response:
        if typed.get("look"):
            return await _page(visit, id, typed=typed, looks=True)
        await articles.update(
            visit.request, visit.caller, id, made(ArticleUpdate, **_values(typed))
        )
        return visit.go(f"/admin/articles/{id}", done="changed")

    return await carried_out(visit, "article", work, lambda typed: _page(visit, id, typed=typed))


@router.post("/admin/articles/{id}/publish", operation_id="publish_article_on_page")
async def publish(visit: Posted, id: Id) -> Response:
    """Shows a draft to everybody for whom it is meant."""

    async def work(typed: Typed) -> Response:
        return _done(visit, await articles.publish(visit.request, visit.caller, id))

    return await carried_out(
        visit, "article-publish", work, lambda typed: _page(visit, id, typed=typed)
    )


@router.post("/admin/articles/{id}/withdraw", operation_id="withdraw_article_on_page")
async def withdraw(visit: Posted, id: Id) -> Response:
    """Takes a published article away."""

    async def work(typed: Typed) -> Response:
        return _done(visit, await articles.withdraw(visit.request, visit.caller, id))

    return await carried_out(
        visit, "article-withdraw", work, lambda typed: _page(visit, id, typed=typed)
    )


def _done(visit: Visit, found: ArticleOut) -> Response:
    return visit.go(f"/admin/articles/{found.id}", done=found.state)
