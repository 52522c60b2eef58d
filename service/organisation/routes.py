"""The tree of units, for those who read it: `GET /v1/units` and `/levels`."""

import json
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.identity.access import Signed
from service.kit.errors import READING, documented
from service.kit.paging import After, Limit, next_place, read_text
from service.kit.state import state_of
from service.organisation import queries
from service.organisation.tree import Tree
from service.organisation.units import TREE_DAY, UnitFilter, scope_of

router = APIRouter(prefix="/v1", tags=["units"])


class FormerName(BaseModel):
    """A name that a unit had until a day (excluded). `language`: zh, or mn for traditional
    Mongolian.
    """

    language: str
    name: str
    until: date


class UnitItem(BaseModel):
    """A unit of the tree. `party_group`: none, group or branch, of a grid."""

    code: str
    level: str
    parent: str | None = Field(description="The unit right above on the day of `as_of`")
    name: str
    name_mn: str | None = Field(description="In traditional Mongolian")
    former_names: list[FormerName]
    kind: str | None
    party_group: str | None
    since: date | None = Field(description="Its first day; none: always")
    closed: date | None = Field(description="The first day on which it is no more")
    go_live: date | None = Field(
        description="The first day on which its grids owe their logs; none: as the unit above"
    )


class UnitPage(BaseModel):
    """A page of units in order of code."""

    tree_day: date = Field(description=TREE_DAY)
    items: list[UnitItem]
    next: str | None


class LevelItem(BaseModel):
    """A level of the tree, the topmost first."""

    slug: str
    name_zh: str
    name_en: str
    sees_tags: bool = Field(
        description="Whether who supervises a unit of it sees the tags of its households; who"
        " supervises one above sees their counts"
    )


@router.get(
    "/units", summary="Units in scope", operation_id="list_units", responses=documented(*READING)
)
async def units(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    level: Annotated[
        str | None,
        Query(pattern=r"^[a-z][a-z0-9_]{0,39}$", examples=["village"], description="Of a level"),
    ] = None,
    parent: Annotated[
        str | None, Query(pattern=r"^\d{1,15}$", description="Right below this unit")
    ] = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=60,
            pattern=r"^[^\x00]+$",
            description="Part of the name, or of a former one",
        ),
    ] = None,
    as_of: Annotated[
        date | None, Query(description="The tree of this day, and who lay in scope then")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> UnitPage:
    """In order of code; those that are closed, too."""
    within = caller.units_or_none() if unit is None else scope_of(caller, unit)
    day = caller.today if as_of is None else as_of
    ranges = caller.tree.several(within, day)
    only = None if parent is None else caller.tree.children(parent, day)
    async with state_of(request).database.reading() as connection:
        rows = await queries.units(
            connection, ranges, level, only, text, read_text(after), limit + 1
        )
    items = [unit_item(caller.tree, row, day) for row in rows[:limit]]
    return UnitPage(
        tree_day=day,
        items=items,
        next=next_place(items[-1].code, "") if len(rows) > limit else None,
    )


def unit_item(tree: Tree, row: Any, day: date) -> UnitItem:
    """A unit's row as it is listed."""
    former = json.loads(row["former_names"])
    return UnitItem(
        **{
            **dict(row),
            "parent": tree.parent(row["code"], day),
            "former_names": former,
        }
    )


@router.get(
    "/levels",
    summary="The levels of the tree",
    operation_id="list_levels",
    responses=documented(*READING),
)
async def levels(caller: Signed) -> list[LevelItem]:
    """From the topmost down to the grids, with their names in Chinese and English."""
    return [
        LevelItem(slug=one.slug, name_zh=one.name_zh, name_en=one.name_en, sees_tags=one.sees_tags)
        for one in caller.tree.levels.values()
    ]
