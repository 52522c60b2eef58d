"""Setting the levels of the tree: `PUT /v1/levels`."""

from fastapi import APIRouter, Request
from pydantic import Field

from service.audit.audit_log import note
from service.http.names import Name
from service.http.strict import RequestBody
from service.identity.access import Signed
from service.kit.database import retry_on_conflict
from service.kit.errors import NOT_ALLOWED, NOT_NOW, READING, Problem, documented
from service.kit.state import state_of
from service.organisation import levels
from service.organisation.routes import LevelItem
from service.organisation.tree import LevelFacts
from service.organisation.trees import read_tree

router = APIRouter(prefix="/v1", tags=["units"])


class NewLevel(RequestBody):
    """A level of the tree. `sees_tags`: see `GET /v1/levels`."""

    slug: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", examples=["village"])
    name_zh: Name = Field(examples=["嘎查村"])
    name_en: Name = Field(examples=["village"])
    sees_tags: bool = False


class Levels(RequestBody):
    """All levels from the topmost down; the last is `grid`."""

    levels: list[NewLevel] = Field(min_length=2, max_length=10)


@router.put(
    "/levels",
    summary="Set the levels of the tree",
    operation_id="set_levels",
    responses=documented(*READING, NOT_NOW),
)
async def set_levels(request: Request, caller: Signed, body: Levels) -> list[LevelItem]:
    """For who administers the whole. Levels with units stay, in their order, and names may be
    others. A new level comes only where no units lie right under each other.
    """
    state = state_of(request)

    async def work() -> None:
        async with state.database.transaction() as connection:
            tree = await read_tree(connection)
            tops = tree.tops(caller.today)
            if not all(map(caller.reaches, tops)):
                raise Problem(
                    NOT_ALLOWED, "Only who administers the whole city sets the levels of its tree."
                )
            facts = [
                LevelFacts(one.slug, position, one.name_zh, one.name_en, one.sees_tags)
                for position, one in enumerate(body.levels, 1)
            ]
            await levels.set_levels(connection, facts, caller.today)
            await note(connection, request, caller, "levels-set", tops, len(facts))

    await retry_on_conflict(work)
    return [LevelItem(**one.model_dump()) for one in body.levels]
