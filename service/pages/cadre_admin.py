"""A cadre as administrators see one, `/admin/cadres/{staff_code}`: what is recorded of the person,
the posts, what is in hand, passwords. `/admin/hire` makes a new one.
"""

from collections.abc import Sequence
from datetime import date
from itertools import zip_longest
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.accounts import handover, people
from service.accounts import routes as accounts
from service.accounts.people import (
    CadreCorrection,
    CadreDetail,
    MembershipSpan,
    NewCadre,
    NewPost,
    PostRecord,
)
from service.identity import queries, staff_codes
from service.identity.posts import GIVEN
from service.kit.errors import NOT_ALLOWED, NOT_FOUND, Problem
from service.organisation import routes as organisation
from service.organisation.units import UnitOut
from service.pages.admin import roles_of
from service.pages.areas import areas
from service.pages.forms import NOTHING, Typed, carried_out, made
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.unit_choice import with_unit
from service.pages.units import path_to
from sync_protocol.texts import Text

router: APIRouter = pages_router()

Code = Annotated[str, Path(max_length=40, pattern=r"^[^\x00-\x1f]+$")]
_IN_HAND = 20
_NEAR = 200
_SPANS = 2  # empty rows for days of membership

# What was done, said on the page that is shown after it.
DONE: dict[str, Text] = {
    "hired": Text("The person was added. Give a one-time code, so that they choose a password."),
    "corrected": Text("It was corrected."),
    "given": Text("The post was given."),
    "changed": Text("The post was changed."),
    "ended": Text("The post has its end."),
    "transferred": Text("The person was transferred."),
    "handed-over": Text("It was handed over."),
    "password": Text("The first password was given. Every sign-in of theirs has ended."),
    "otp": Text("The second factor was taken away. Every sign-in of theirs has ended."),
    "sessions": Text("Every sign-in of theirs has ended."),
}


class PostLine(NamedTuple):
    """A post, how it stands today, and what may be done with it."""

    item: PostRecord
    is_over: bool
    is_to_come: bool
    may_change: bool


class Allowed(NamedTuple):
    """What the visitor may do with this cadre."""

    administer: bool
    give_code: bool
    hand_over: bool


@router.get("/admin/cadres/{staff_code}", operation_id="admin_cadre_page")
async def cadre(
    visit: Signed, staff_code: Code, done: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    """What is recorded of a cadre, with the posts of all times."""
    return await cadre_page(visit, staff_code, notice=DONE.get(done))


async def cadre_page(
    visit: Visit, staff_code: str, typed: Typed = NOTHING, **told: Any
) -> Response:
    """The page, with a form that could not be carried out, or what was done."""
    code = await key_of(visit, staff_code)
    found = await people.get_cadre(visit.request, visit.to("get_cadre"), code)
    allowed = await _allowed(visit, code)
    unit = next((post.unit for post in found.posts), None)
    values = {"notice": None, "warnings": (), "given": None, "passed_on": None} | told
    return visit.page(
        "admin_cadre.html",
        areas=areas(visit),
        unit=unit,
        cadre=found,
        at=f"/admin/cadres/{code}",
        posts=[_line(visit, post, allowed, code) for post in found.posts],
        allowed=allowed,
        in_hand=await _in_hand(visit, code) if allowed.hand_over else None,
        spans=_spans(found),
        roles=await roles_of(visit),
        given_roles=await role_choices(visit),
        near=await units_near(visit, unit) if allowed.administer else [],
        typed=typed,
        is_own=code == visit.caller.staff_code,
        **values,
    )


async def key_of(visit: Visit, staff_code: str) -> str:
    """The staff code by which records name a person, by any that the person has or had."""
    async with visit.state.database.reading() as connection:
        return await staff_codes.key_of(connection, staff_code)


async def _allowed(visit: Visit, code: str) -> Allowed:
    if code == visit.caller.staff_code:
        return Allowed(False, False, False)
    caller = visit.to("give_post")
    async with visit.state.database.reading() as connection:
        administers = visit.may("give_post") and await queries.is_cadre_in(
            connection, code, caller.ranges(), caller.now
        )
        gives_code = visit.may("make_recovery_code")
        if gives_code:
            try:
                await accounts.require_recoverable(connection, visit.to("make_recovery_code"), code)
            except Problem as problem:
                if problem.type not in (NOT_ALLOWED, NOT_FOUND):
                    raise
                gives_code = False
    return Allowed(administers, gives_code, visit.may("hand_over"))


def _line(visit: Visit, post: PostRecord, allowed: Allowed, code: str) -> PostLine:
    now = visit.caller.now
    return PostLine(
        post,
        post.valid_to is not None and post.valid_to <= now,
        post.valid_from > now,
        code != visit.caller.staff_code and visit.may_at("change_post", post.unit),
    )


async def _in_hand(visit: Visit, code: str) -> handover.InHand | None:
    """None of who stands outside of what the visitor settles."""
    try:
        return await handover.in_hand(visit.request, visit.to("hand_over"), code, _IN_HAND)
    except Problem as problem:
        if problem.type is not NOT_FOUND:
            raise
        return None


def _spans(found: CadreDetail) -> list[MembershipSpan]:
    empty = [MembershipSpan() for _ in range(_SPANS)]
    return [*found.party_membership, *empty]


async def role_choices(visit: Visit) -> list[tuple[str, Any]]:
    """The roles that people are given, by the names of today."""
    words = await roles_of(visit)
    return [(role, words[role]) for role in GIVEN]


async def units_near(visit: Visit, unit: str | None) -> Sequence[UnitOut]:
    """The units beside, above and below one, from which another is chosen."""
    if unit is None:
        return []
    caller = visit.to("list_units")
    above = caller.tree.above(unit, caller.today)
    found: dict[str, UnitOut] = {one.code: one for one in await path_to(visit, unit)}
    for parent in (unit, *above[:1]):
        page = await organisation.units(visit.request, caller, parent=parent, limit=_NEAR)
        for one in page.items:
            if one.closed is None:
                found[one.code] = UnitOut(code=one.code, level=one.level, name=one.name)
    return [*found.values()]


@router.post("/admin/cadres/{staff_code}", operation_id="correct_cadre_on_page")
async def correct(visit: Posted, staff_code: Code) -> Response:
    """Corrects what is recorded of a person."""

    async def work(typed: Typed) -> Response:
        values: dict[str, Any] = {
            name: typed.get(name) for name in ("name", "phone") if typed.get(name) != was(name)
        }
        if typed.get("shown_code") != was("shown_code"):
            values["shown_code"] = typed.get("shown_code")
        spans = spans_of(typed)
        if spans != before.party_membership:
            values["party_membership"] = spans
        elif not spans and bool(typed.get("party_member")) != before.party_member:
            values["party_member"] = bool(typed.get("party_member"))
        body = made(CadreCorrection, **values)
        await people.correct_cadre(visit.request, visit.caller, code, body)
        return visit.go(f"/admin/cadres/{code}", done="corrected")

    def was(name: str) -> str:
        return str(getattr(before, name))

    code = await key_of(visit, staff_code)
    # What stands there unchanged is not sent: a phone may be masked.
    before = await people.get_cadre(visit.request, visit.to("get_cadre"), code)
    return await carried_out(
        visit, "cadre-correct", work, lambda typed: cadre_page(visit, code, typed)
    )


def spans_of(typed: Typed) -> list[MembershipSpan]:
    """The days of membership of a form; rows without any day are passed over."""
    rows = zip_longest(typed.all("joined_on"), typed.all("left_on"), fillvalue="")
    return [
        made(MembershipSpan, joined_on=joined or None, left_on=left or None)
        for joined, left in rows
        if joined or left
    ]


@router.get("/admin/hire", operation_id="hire_page")
async def hire_page(
    visit: Signed, unit: Annotated[str, Query(max_length=20, pattern=r"^\d*$")] = ""
) -> Response:
    """The form for a new cadre."""
    return await _hire_form(visit, unit)


async def _hire_form(visit: Visit, unit: str, typed: Typed = NOTHING) -> Response:
    unit = unit if unit and visit.may_at("hire_cadre", unit) else ""
    return visit.page(
        "admin_hire.html",
        areas=areas(visit),
        unit=unit or None,
        roles=await role_choices(visit),
        near=await units_near(visit, unit or min(visit.to("hire_cadre").units())),
        today=visit.caller.today,
        typed=typed,
    )


@router.post("/admin/hire", operation_id="hire_on_page")
async def hire(visit: Posted) -> Response:
    """Keeps a new person with a first post."""

    async def work(typed: Typed) -> Response:
        body = new_cadre(await with_unit(visit, typed, "unit"))
        kept = await people.hire_cadre(visit.request, visit.caller, body)
        if kept.warnings:
            return await cadre_page(
                visit, kept.staff_code, notice=DONE["hired"], warnings=kept.warnings
            )
        return visit.go(f"/admin/cadres/{kept.staff_code}", done="hired")

    return await carried_out(
        visit, "cadre-hire", work, lambda typed: _hire_form(visit, typed.get("unit")[:20], typed)
    )


def new_cadre(typed: Typed) -> NewCadre:
    """The person of a form."""
    joined: date | None = typed.day("joined_on")
    values: dict[str, Any] = {"party_member": bool(typed.get("party_member"))}
    if joined is not None:
        values = {"party_membership": [MembershipSpan(joined_on=joined)]}
    return made(
        NewCadre,
        **typed.only("staff_code", "name", "phone"),
        **values,
        posts=[new_post(typed)],
    )


def new_post(typed: Typed) -> NewPost:
    """The post of a form."""
    return made(
        NewPost,
        **typed.only("role", "unit", "title"),
        valid_from=typed.moment("valid_from"),
        valid_to=typed.moment("valid_to"),
    )
