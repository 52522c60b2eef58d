"""Posts: who holds or held which, giving one, and changing one: its end, its start, its title, or a
transfer, which ends it and begins another at the same moment.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel

from service.accounts.people import (
    CadreDetail,
    NewPost,
    PostRecord,
    Role,
    Title,
    UnitOfPost,
    detail,
    warnings_after,
)
from service.accounts.post_rules import (
    refuse_own_post,
    refuse_to_give,
    refuse_units_out_of_reach,
)
from service.audit.audit_log import note
from service.http.ids import fresh_id
from service.http.strict import RequestBody
from service.identity import post_queries, posts
from service.identity.access import Caller, Signed
from service.identity.people import StaffCode
from service.identity.posts import Appointment, PostChange
from service.kit.database import Connection, Row, retry_on_conflict
from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.paging import After, Id, Limit, next_place, read_id
from service.kit.state import state_of
from service.organisation.staffing import PostWarning
from service.organisation.units import UnitFilter, scope_of
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ROLES

router = APIRouter(prefix="/v1", tags=["accounts"])


class PostWithHolder(PostRecord):
    """A post with the person who holds or held it."""

    staff_code: str
    shown_code: str
    name: str


class PostPage(BaseModel):
    """A page of posts in order of id."""

    items: list[PostWithHolder]
    next: str | None


class Transfer(RequestBody):
    """Where somebody goes: the `role` stays where it is left out. `valid_to`: of the new post."""

    unit: UnitOfPost
    role: Role | None = None
    valid_to: AwareDatetime | None = None
    title: Title = None


class PostCorrection(RequestBody):
    """What is to be changed of a post; what is left out stays.

    `valid_to`: its end, in the past or to come; null takes an end back. With `transfer` it is the
    moment of the transfer, and left out now.
    """

    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    title: Title = None
    transfer: Transfer | None = None


class PostChanged(BaseModel):
    """A post as it is now. `new_post`: that of a transfer; `sign_ins_ended`: how many ended because
    it was the last post.
    """

    staff_code: str
    post: PostRecord
    new_post: PostRecord | None = None
    sign_ins_ended: int = 0
    warnings: list[PostWarning] = []


@router.get(
    "/posts",
    summary="Posts of a unit",
    operation_id="list_posts",
    responses=documented(*READING),
)
async def list_posts(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    role: Annotated[
        str | None, Query(pattern=f"^({'|'.join(ROLES)})$", examples=["grid_worker"])
    ] = None,
    at: Annotated[AwareDatetime | None, Query(description="Held at this moment")] = None,
    ended: Annotated[bool, Query(description="Those that have ended, too")] = False,
    limit: Limit = 100,
    after: After = None,
) -> PostPage:
    """Those at present and to come; with `ended` past ones, too, with `at` those of a moment."""
    units = scope_of(caller, unit)
    if at is not None:
        posts.check_moment(at)
    async with state_of(request).database.transaction() as connection:
        rows = await post_queries.posts_in(
            connection, caller.ranges(units), role, at, ended, caller.now, read_id(after), limit + 1
        )
        await note(connection, request, caller, "posts", units, len(rows[:limit]))
    items = [PostWithHolder(**dict(row)) for row in rows[:limit]]
    return PostPage(items=items, next=next_place("", items[-1].id) if len(rows) > limit else None)


@router.post(
    "/cadres/{staff_code}/posts",
    status_code=201,
    summary="Give a post",
    operation_id="give_post",
    responses=documented(*READING, NOT_NOW),
)
async def give_post(
    request: Request, caller: Signed, staff_code: StaffCode, body: NewPost
) -> CadreDetail:
    """Another role or unit for a cadre, from a moment in the past or to come, and for a term where
    `valid_to` is given.
    """
    state = state_of(request)
    refuse_units_out_of_reach(caller, [body.unit])
    given, id = body.appointment(caller.now), fresh_id(request, caller.now)

    async def work() -> CadreDetail:
        async with state.database.transaction() as connection:
            await _require_known(connection, caller, staff_code)
            await posts.lock_person(connection, staff_code)
            await refuse_to_give(connection, caller, staff_code)
            known = await post_queries.post(connection, id)
            if known is None or known["staff_code"] != staff_code:
                await posts.add_post(connection, staff_code, given, caller.now, id)
                subjects = [staff_code, id, f"{given.role} {given.unit}"]
                await note(connection, request, caller, "post-given", subjects, 1)
            made = await detail(connection, state.settings, staff_code, caller.now)
            made.warnings = await warnings_after(
                connection, caller, staff_code, [given], [], made.party_member
            )
            return made

    return await retry_on_conflict(work)


@router.patch(
    "/posts/{id}",
    summary="End, correct or transfer a post",
    operation_id="change_post",
    responses=documented(*READING, NOT_NOW),
)
async def change_post(
    request: Request, caller: Signed, id: Id, body: PostCorrection
) -> PostChanged:
    """What was written before an end counts, also when a phone hands it in days later. With the
    last post the sign-ins without a phone end.
    """
    if not body.model_fields_set:
        raise Problem(
            INVALID, "Nothing is to be changed; give valid_from, valid_to, title or transfer."
        )
    if body.transfer is not None:
        refuse_units_out_of_reach(caller, [body.transfer.unit])
        if body.valid_from is not None or body.title is not None:
            raise Problem(
                INVALID,
                "A transfer ends a post and begins another; correct the start or title of the old"
                " one in a request of its own.",
            )

    async def work() -> PostChanged:
        async with state_of(request).database.transaction() as connection:
            before = await posts.locked_post(connection, id)
            if not caller.reaches(before["unit"]):
                raise Problem(NOT_FOUND, Text("There is no post {id} in your scope.", id=id))
            if body.transfer is not None:
                return await _transfer(connection, request, caller, before, body)
            return await _change(connection, request, caller, before, body)

    return await retry_on_conflict(work)


async def _require_known(connection: Connection, caller: Caller, staff_code: str) -> None:
    """Raises `Problem` for somebody who never had a post where the caller administers."""
    if not await post_queries.is_known_in(connection, staff_code, caller.ranges()):
        raise Problem(
            NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
        )


async def _change(
    connection: Connection, request: Request, caller: Caller, before: Row, body: PostCorrection
) -> PostChanged:
    change = PostChange(
        body.valid_from, "valid_to" in body.model_fields_set, body.valid_to, body.title
    )
    staff_code = before["staff_code"]
    refuse_own_post(caller, staff_code)
    if _gives_more(before, change):
        await refuse_to_give(connection, caller, staff_code)
    done = await posts.change_post(connection, before["id"], change, caller.now)
    ends = change.sets_end and body.valid_to is not None
    subjects = [staff_code, before["id"], f"{before['role']} {before['unit']}"]
    await note(connection, request, caller, "post-ended" if ends else "post-changed", subjects, 1)
    return PostChanged(
        staff_code=staff_code,
        post=await _out(connection, staff_code, before["id"]),
        sign_ins_ended=done.sign_ins_ended,
        warnings=await warnings_after(connection, caller, staff_code, [], [done.after], False),
    )


def _gives_more(before: Row, change: PostChange) -> bool:
    """Whether a post would be held at a moment at which it was not."""
    if change.valid_from is not None and change.valid_from < before["valid_from"]:
        return True
    if not change.sets_end or before["valid_to"] is None:
        return False
    return change.valid_to is None or change.valid_to > before["valid_to"]


async def _transfer(
    connection: Connection, request: Request, caller: Caller, before: Row, body: PostCorrection
) -> PostChanged:
    assert body.transfer is not None
    staff_code, to = before["staff_code"], body.transfer
    await refuse_to_give(connection, caller, staff_code)
    given = Appointment(
        to.role or before["role"], to.unit, body.valid_to or caller.now, to.valid_to, to.title
    )
    made, ended = await _made_before(connection, before, given, body.valid_to), 0
    if made is None:
        done, made = await posts.transfer(connection, before["id"], given, caller.now)
        ended = done.sign_ins_ended
        subjects = [
            staff_code,
            before["id"],
            f"{before['role']} {before['unit']}",
            f"{given.role} {given.unit}",
        ]
        await note(connection, request, caller, "post-transferred", subjects, 1)
    after = await post_queries.post(connection, before["id"])
    assert after is not None
    person = await detail(connection, state_of(request).settings, staff_code, caller.now)
    return PostChanged(
        staff_code=staff_code,
        post=await _out(connection, staff_code, before["id"]),
        new_post=await _out(connection, staff_code, made),
        sign_ins_ended=ended,
        warnings=await warnings_after(
            connection, caller, staff_code, [given], [after], person.party_member
        ),
    )


async def _made_before(
    connection: Connection, before: Row, given: Appointment, at: datetime | None
) -> str | None:
    """The post that the same transfer has made already: the answer to it was lost."""
    end: datetime | None = before["valid_to"]
    if end is None or (at is not None and at != end):
        return None
    rows = await post_queries.all_posts_of(connection, before["staff_code"])
    return next(
        (
            row["id"]
            for row in rows
            if (row["role"], row["unit"], row["valid_from"]) == (given.role, given.unit, end)
        ),
        None,
    )


async def _out(connection: Connection, staff_code: str, id: str) -> PostRecord:
    rows = await post_queries.all_posts_of(connection, staff_code)
    return next(PostRecord(**dict(row)) for row in rows if row["id"] == id)
