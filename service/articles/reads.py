"""How often articles were read: counted by unit and day, never by reader."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.articles import read_queries
from service.articles.queries import Readers
from service.audit.audit_log import note
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.kit.errors import INVALID, NOT_FOUND, READING, Problem, documented
from service.kit.paging import Id
from service.kit.state import state_of
from service.organisation.units import (
    AskedPeriod,
    AsOf,
    PeriodOut,
    UnitCode,
    UnitOut,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
)
from service.summaries.queries import unit_and_children
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/articles", tags=["articles"])

# What one person may have read of one article between two requests, and what an app's readers may.
_MOST = {"phone": 100, "app": 1_000_000}


class ArticleRead(RequestBody):
    """How often an article was read on a day; today if left out."""

    article: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
    count: int = Field(1, ge=1, le=1_000_000)
    day: date | None = None


class ArticleReads(RequestBody):
    """What was read since the last request. `unit`: where the app's readers live, in its unit; of a
    cadre it is the unit of the post.
    """

    unit: Annotated[str | None, Field(pattern=r"^\d{4,15}$")] = None
    reads: list[ArticleRead] = Field(min_length=1, max_length=100)


class ReadsCounted(BaseModel):
    """How many were counted; `unknown`: ids of articles that are not meant for the reader."""

    counted: int
    unknown: list[str]


class UnitReads(BaseModel):
    """How often an article was read in a unit."""

    unit: UnitOut
    reads: int
    phone: int = Field(description="By cadres, on phones and in the browser")
    app: int = Field(description="By readers of an app")


class ReadsOfArticle(BaseModel):
    """How often an article was read in a unit and a period, and in each unit right below. Nobody is
    named, and reads of one person are as many as there were.
    """

    article: str
    period: PeriodOut
    whole: UnitReads
    below: list[UnitReads]


@router.post(
    "/reads",
    summary="Count reads of articles",
    operation_id="count_article_reads",
    responses=documented(*READING),
)
async def count_reads(request: Request, caller: Signed, body: ArticleReads) -> ReadsCounted:
    """Adds to the counts of a unit and a day. With an `Idempotency-Key` a request that is sent
    again counts once.
    """
    source: Literal["phone", "app"] = "phone" if caller.client is None else "app"
    unit = _unit_of(caller, body.unit)
    for read in body.reads:
        if read.count > _MOST[source]:
            text = Text("count: at most {most} of an article at once.", most=_MOST[source])
            raise Problem(INVALID, text)
    wanted = {read.article.lower() for read in body.reads}
    above = caller.tree.above(unit, caller.today)
    readers = Readers(caller.ranges([unit]), above)
    async with state_of(request).database.transaction() as connection:
        known = await read_queries.meant_for(connection, sorted(wanted), readers)
        rows = [
            (read.article.lower(), unit, min(read.day or caller.today, caller.today), read.count)
            for read in body.reads
            if read.article.lower() in known
        ]
        await read_queries.add_reads(connection, rows, source)
    return ReadsCounted(counted=sum(row[3] for row in rows), unknown=sorted(wanted - known))


def _unit_of(caller: Caller, named: str | None) -> str:
    """The unit for which reads are counted: of a cadre the lowest of a present post."""
    units = caller.units()
    if named is not None:
        if not any(caller.covers(top, named) for top in units):
            raise Problem(NOT_FOUND, Text("There is no unit ‘{unit}’ in your scope.", unit=named))
        return named
    return min(units, key=lambda unit: (-len(unit), unit))


@router.get(
    "/{id}/reads",
    summary="How often an article was read",
    operation_id="article_reads",
    responses=documented(*READING),
)
async def reads(
    request: Request,
    caller: Signed,
    id: Id,
    unit: UnitCode,
    period: AskedPeriod,
    as_of: AsOf = "period",
) -> ReadsOfArticle:
    """By unit, from phones and the app."""
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, period)
        rows = await read_queries.reads(connection, on.subtree, on.breakdown, id, period)
        children = (await unit_and_children(connection, unit, on.children))[1:]
        await note(connection, request, caller, "article-reads", [id, unit], len(rows))
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row["code"], {})[row["source"]] = row["reads"]
    every = {
        source: sum(one.get(source, 0) for one in counts.values()) for source in ("phone", "app")
    }
    return ReadsOfArticle(
        article=id,
        period=period_out(period),
        whole=_reads(unit_out(found), every),
        below=[_reads(unit_out(child), counts.get(child["code"], {})) for child in children],
    )


def _reads(unit: UnitOut, counts: dict[str, int]) -> UnitReads:
    phone, app = counts.get("phone", 0), counts.get("app", 0)
    return UnitReads(unit=unit, reads=phone + app, phone=phone, app=app)
