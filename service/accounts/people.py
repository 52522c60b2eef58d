"""Cadres one by one: `GET /v1/cadres/{staff_code}` with posts past and to come, hiring, and what is
recorded of a person: name, phone number, staff code, party membership.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, Field

from service.accounts import handover_queries
from service.accounts.answers import PostItem
from service.accounts.post_rules import (
    refuse_units_out_of_reach,
    still_in_hand,
    warnings_of_appointments,
    without_post,
)
from service.accounts.routes import require_cadre
from service.audit.audit_log import note
from service.http.ids import fresh_id
from service.http.names import Name
from service.http.strict import RequestBody
from service.identity import memberships, post_queries, posts, queries, staff_codes
from service.identity.access import Caller, Signed
from service.identity.memberships import Membership
from service.identity.people import StaffCode
from service.identity.posts import GIVEN, MAX_TITLE, Appointment, Person
from service.identity.views import View, mask
from service.kit.database import Connection, Row, retry_on_conflict
from service.kit.encrypted_values import cadre_phone, encrypted_phone
from service.kit.encryption_queries import cipher_of
from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.settings import Settings
from service.kit.state import state_of
from service.organisation.staffing import PostWarning, warnings_of_units
from sync_protocol.periods import local_day
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["accounts"])

Phone = Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")]
UnitOfPost = Annotated[str, Field(max_length=20, examples=["150221100201001"])]
Role = Annotated[str, Field(pattern=f"^({'|'.join(GIVEN)})$", examples=["grid_worker"])]
Title = Annotated[
    str | None,
    Field(
        max_length=MAX_TITLE,
        pattern=r"^[^\x00]*$",
        description="What the person is called there, beside the role",
        examples=["工作队队员"],
    ),
]
MAX_POSTS = 20


class MembershipSpan(RequestBody):
    """Days on which somebody is a party member: from `joined_on` (null: since before anything was
    recorded) until the day before `left_on` (null: still).
    """

    joined_on: date | None = None
    left_on: date | None = None


class NewPost(RequestBody):
    """A post to be given: from `valid_from` (left out: now), until just before `valid_to`, which
    for a term is known in advance.
    """

    role: Role
    unit: UnitOfPost
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    title: Title = None

    def appointment(self, now: datetime) -> Appointment:
        """The same, beginning now where nothing else was said."""
        return Appointment(self.role, self.unit, self.valid_from or now, self.valid_to, self.title)


class NewCadre(RequestBody):
    """Somebody to be hired. Party membership is given with its dates, or as yes or no."""

    staff_code: str = Field(max_length=200, examples=["W150221100201001-3"])
    name: Name
    phone: Phone = ""
    party_member: bool = False
    party_membership: list[MembershipSpan] | None = Field(None, max_length=20)
    posts: list[NewPost] = Field(min_length=1, max_length=MAX_POSTS)


class CadreCorrection(RequestBody):
    """What is to be corrected of a cadre; what is left out stays. `shown_code` is a new staff code;
    the old ones still lead to the person. `party_membership` replaces all spans; `party_member`
    replaces them by yes or no for all time.
    """

    name: Name | None = None
    phone: Phone | None = None
    party_member: bool | None = None
    party_membership: list[MembershipSpan] | None = Field(None, max_length=20)
    shown_code: str | None = Field(None, max_length=200)


class PostRecord(PostItem):
    """A post, past, present or to come. `title`: what the person is called there, beside the
    role; `end_recorded_at`: when its end was entered.
    """

    end_recorded_at: datetime | None


class CadreDetail(BaseModel):
    """A cadre with the posts of all times in the caller's units. `staff_code` never changes, and
    records name the person by it; `shown_code` is the one of today, `staff_codes` all that there
    ever were.
    """

    staff_code: str
    shown_code: str
    staff_codes: list[str]
    name: str
    phone: str
    party_member: bool = Field(description="Today, in Asia/Shanghai")
    party_membership: list[MembershipSpan] = Field(
        description="With dates; empty where only yes or no is recorded"
    )
    posts: list[PostRecord]
    warnings: list[PostWarning] = []


@router.get(
    "/cadres/{staff_code}",
    summary="A cadre",
    operation_id="get_cadre",
    responses=documented(*READING),
)
async def get_cadre(request: Request, caller: Signed, staff_code: StaffCode) -> CadreDetail:
    """With posts past, at present and to come; one's own, or of who has or had a post in the
    caller's units: then those posts.
    """
    state = state_of(request)
    units = caller.units_or_none()
    own = staff_code == caller.staff_code
    async with state.database.transaction() as connection:
        if not (
            own or await post_queries.is_known_in(connection, staff_code, caller.ranges(units))
        ):
            raise Problem(
                NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
            )
        await note(connection, request, caller, "cadre", [staff_code], 1)
        found = await detail(connection, state.settings, staff_code, caller.now)
    if not own:
        found.posts = [post for post in found.posts if caller.reaches(post.unit)]
        present = [
            post
            for post in found.posts
            if post.valid_from <= caller.now
            and (post.valid_to is None or caller.now < post.valid_to)
        ]
        if not any(caller.view_of(post.unit) is View.FULL for post in present):
            found.phone = mask("phone", found.phone)
    return found


async def detail(
    connection: Connection, settings: Settings, staff_code: str, now: datetime
) -> CadreDetail:
    """Everything of a cadre, unmasked."""
    row = await queries.cadre(connection, staff_code)
    if row is None:
        raise Problem(NOT_FOUND, Text("There is no cadre ‘{cadre}’.", cadre=staff_code))
    spans = await memberships.memberships_of(connection, staff_code)
    today = local_day(now)
    return CadreDetail(
        staff_code=staff_code,
        shown_code=row["shown_code"],
        staff_codes=await staff_codes.codes_of(connection, staff_code),
        name=row["name"],
        phone=cadre_phone(await cipher_of(connection, settings), row),
        party_member=any(span.holds_on(today) for span in spans) if spans else row["party_member"],
        party_membership=[MembershipSpan(**span._asdict()) for span in spans],
        posts=[
            PostRecord(**dict(post))
            for post in await post_queries.all_posts_of(connection, staff_code)
        ],
    )


@router.post(
    "/cadres",
    status_code=201,
    summary="Hire a cadre",
    operation_id="hire_cadre",
    responses=documented(*READING, NOT_NOW),
)
async def hire_cadre(request: Request, caller: Signed, body: NewCadre) -> CadreDetail:
    """Keeps a new person with the first posts. Give a first password, or a one-time code, before
    they sign in.
    """
    state = state_of(request)
    refuse_units_out_of_reach(caller, [post.unit for post in body.posts])
    person = Person(
        body.staff_code,
        body.name,
        body.phone,
        body.party_member,
        _spans(body.party_member or None, body.party_membership),
    )
    given = [post.appointment(caller.now) for post in body.posts]
    first_id = fresh_id(request, caller.now)

    async def work() -> CadreDetail:
        async with state.database.transaction() as connection:
            known = await post_queries.post(connection, first_id)
            if known is None or known["staff_code"] != person.staff_code:
                cipher = await cipher_of(connection, state.settings)
                await posts.hire(connection, cipher, person, given, caller.now, first_id)
                subjects = [person.staff_code, *(f"{one.role} {one.unit}" for one in given)]
                await note(connection, request, caller, "cadre-hired", subjects, 1)
            made = await detail(connection, state.settings, person.staff_code, caller.now)
            made.warnings = await warnings_after(
                connection, caller, person.staff_code, given, [], made.party_member
            )
            return made

    return await retry_on_conflict(work)


@router.patch(
    "/cadres/{staff_code}",
    summary="Correct a cadre",
    operation_id="correct_cadre",
    responses=documented(*READING, NOT_NOW),
)
async def correct_cadre(
    request: Request, caller: Signed, staff_code: StaffCode, body: CadreCorrection
) -> CadreDetail:
    """Name, phone number, membership, staff code: what is recorded of a person can be put right.
    Numbers of party members follow the dates.
    """
    state = state_of(request)
    spans = _spans(body.party_member, body.party_membership)
    if not body.model_dump(exclude_none=True):
        raise Problem(
            INVALID,
            "Nothing is to be corrected; give name, phone, party_member, party_membership or"
            " shown_code.",
        )

    async def work() -> CadreDetail:
        async with state.database.transaction() as connection:
            cipher = await cipher_of(connection, state.settings)
            phone = None if body.phone is None else encrypted_phone(cipher, staff_code, body.phone)
            await require_cadre(connection, caller, staff_code)
            await posts.lock_person(connection, staff_code)
            await queries.correct_cadre(connection, staff_code, body.name, phone)
            if body.party_member is not None:
                await memberships.set_member(connection, staff_code, body.party_member)
            elif spans is not None:
                today = local_day(caller.now)
                await memberships.set_memberships(connection, staff_code, spans, today)
            if body.shown_code is not None:
                await staff_codes.give(connection, staff_code, body.shown_code, caller.now)
                subjects = [staff_code, body.shown_code]
                await note(connection, request, caller, "staff-code-changed", subjects, 1)
            await note(connection, request, caller, "cadre-corrected", [staff_code], 1)
            return await detail(connection, state.settings, staff_code, caller.now)

    return await retry_on_conflict(work)


def _spans(
    party_member: bool | None, spans: Sequence[MembershipSpan] | None
) -> list[Membership] | None:
    if spans is None:
        return None
    if party_member is not None:
        raise Problem(
            INVALID, "Give party_membership with its dates, or party_member alone, not both."
        )
    return memberships.in_order([Membership(span.joined_on, span.left_on) for span in spans])


async def warnings_after(
    connection: Connection,
    caller: Caller,
    staff_code: str,
    given: Sequence[Appointment],
    ended: Sequence[Row],
    party_member: bool,
) -> list[PostWarning]:
    """What is to be known after posts were given, or ended (`ended`: as they are now)."""
    now = caller.now
    changes: list[Any] = [(one.unit, one.valid_from) for one in given]
    changes += [(row["unit"], row["valid_to"]) for row in ended if row["valid_to"] is not None]
    # Until a post begins that begins later now.
    changes += [(row["unit"], now) for row in ended if row["valid_from"] > now]
    found = await warnings_of_appointments(connection, given, party_member)
    found += await warnings_of_units(
        connection, [unit for unit, _ in changes], [max(moment, now) for _, moment in changes]
    )
    if any(row["valid_to"] is not None for row in ended):
        left = await queries.posts_of(connection, staff_code)
        if all(post.valid_to is not None and post.valid_to <= now for post in left):
            found.append(without_post(staff_code))
        problems, households = await handover_queries.counts_in_hand(
            connection, staff_code, caller.ranges(caller.units())
        )
        if problems or households:
            found.append(still_in_hand(staff_code, problems, households))
    return found
