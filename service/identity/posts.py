"""People and their posts: to hire, give a post, end it, put it right, pass to another. Plain
functions for REST, imports and the command line alike, in the caller's transaction.

They keep what must always hold; whether somebody may do it is for the caller to judge.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from service.identity import memberships, post_queries, queries, staff_codes
from service.identity import session_queries as sessions
from service.identity.memberships import Membership
from service.identity.rights import any_present
from service.kit.database import Connection, Row
from service.kit.encrypted_values import encrypted_phone
from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, Problem
from service.kit.field_cipher import FieldCipher
from service.organisation.tree import BY_CODES
from service.organisation.trees import current_tree
from sync_protocol.ids import new_uuid7
from sync_protocol.periods import in_minutes, local_day
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import ROLES

# Between these every moment can be a stamp's, and nobody was given a post before.
EARLIEST = datetime(1949, 10, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
# An app gets its role by an account of its own.
GIVEN = tuple(role for role in ROLES if role != "app_client")
MAX_TITLE = 40


class Appointment(NamedTuple):
    """A role at a unit from `valid_from` (included) to `valid_to` (excluded; None: no end is known
    yet). `title`: what the person is called there, beside the role.
    """

    role: str
    unit: str
    valid_from: datetime
    valid_to: datetime | None = None
    title: str | None = None


class Person(NamedTuple):
    """Somebody to be hired. `memberships`: with dates, where they are known; else `party_member`
    says it for all time.
    """

    staff_code: str
    name: str
    phone: str = ""
    party_member: bool = False
    memberships: Sequence[Membership] | None = None


class PostChange(NamedTuple):
    """What is to be changed of a post; `valid_to`, where `sets_end` says that it counts, may take
    an end back.
    """

    valid_from: datetime | None = None
    sets_end: bool = False
    valid_to: datetime | None = None
    title: str | None = None


class Changed(NamedTuple):
    """A post as it was and as it is, and how many sign-ins ended because it was the last one."""

    before: Row
    after: Row
    sign_ins_ended: int


async def lock_person(connection: Connection, staff_code: str) -> None:
    """Lets one transaction at a time change a person's posts; raises `Problem` for one whose data
    was erased. The sign-ins first, as everywhere.
    """
    await sessions.lock_sign_ins(connection, staff_code)
    await queries.refuse_erased(connection, staff_code)


async def hire(
    connection: Connection,
    cipher: FieldCipher,
    person: Person,
    appointments: Sequence[Appointment],
    now: datetime,
    first_id: str | None = None,
) -> list[str]:
    """Keeps a new person with the first posts, whose ids it returns (`first_id`: that of the first,
    where the caller has made one). Nobody signs in as them before a password is given.

    Raises `Problem`: when the staff code is or was somebody's, when a unit does not exist, or when
    times cannot be.
    """
    code = staff_codes.check_form(person.staff_code)
    await sessions.lock_sign_ins(connection, code)
    await staff_codes.take(connection, code)
    phone = encrypted_phone(cipher, code, person.phone)
    await post_queries.add_cadre(connection, code, person.name, phone, person.party_member)
    if person.memberships is not None:
        today = local_day(now)
        await memberships.set_memberships(connection, code, person.memberships, today)
    ids = [first_id, *([None] * len(appointments))]
    return [
        await _keep(connection, code, one, now, id)
        for one, id in zip(appointments, ids, strict=False)
    ]


async def add_post(
    connection: Connection,
    staff_code: str,
    appointment: Appointment,
    now: datetime,
    id: str | None = None,
) -> str:
    """Gives a person another post and returns its id; `id` where the caller has made one.

    Raises `Problem`: when there is no such person or unit, when times cannot be, or when the
    person has the same role there at the same time.
    """
    await lock_person(connection, staff_code)
    if await queries.cadre(connection, staff_code) is None:
        raise Problem(NOT_FOUND, Text("There is no cadre ‘{cadre}’.", cadre=staff_code))
    return await _keep(connection, staff_code, appointment, now, id)


async def end_post(connection: Connection, id: str, at: datetime, now: datetime) -> Changed:
    """Ends a post at a moment in the past or to come; see `change_post`."""
    return await change_post(connection, id, PostChange(sets_end=True, valid_to=at), now)


async def change_post(
    connection: Connection, id: str, change: PostChange, now: datetime
) -> Changed:
    """Puts a post's start, end or title right. When the end is recorded is kept: what was written
    before it still counts for a while (promise 7).

    With the last post of a person the sign-ins without a phone end; a phone may still hand in what
    it holds. Raises `Problem`: when there is no such post, when times cannot be, when the person
    has the same role there at the same time, or when nobody would be left to administer the unit.
    """
    before = await locked_post(connection, id)
    valid_from = change.valid_from or before["valid_from"]
    valid_to = change.valid_to if change.sets_end else before["valid_to"]
    title = before["title"] if change.title is None else _title(change.title)
    _check_times(valid_from, valid_to)
    if before["role"] == "admin":
        await keep_administered(connection, before, valid_from, valid_to, now)
    if (valid_from, valid_to) != (before["valid_from"], before["valid_to"]):
        await _refuse_overlap(
            connection,
            before["staff_code"],
            Appointment(before["role"], before["unit"], valid_from, valid_to),
            id,
        )
    await post_queries.change_post(connection, id, valid_from, valid_to, title, now)
    after = await post_queries.post(connection, id)
    assert after is not None
    return Changed(before, after, await _end_sign_ins(connection, before["staff_code"], now))


async def transfer(
    connection: Connection,
    id: str,
    appointment: Appointment,
    now: datetime,
    new_id: str | None = None,
) -> tuple[Changed, str]:
    """Ends a post at the moment at which another begins, and returns the id of that."""
    row = await locked_post(connection, id)
    if (row["role"], row["unit"]) == (appointment.role, appointment.unit):
        raise Problem(
            INVALID,
            Text(
                "‘{cadre}’ is there already in this role; a transfer names another unit or role.",
                cadre=row["staff_code"],
            ),
        )
    if row["valid_to"] is not None and row["valid_to"] < appointment.valid_from:
        raise Problem(
            NOT_NOW,
            Text(
                "The post {id} ends at {end}, before the transfer; give ‘{cadre}’ another post"
                " instead.",
                id=id,
                end=in_minutes(row["valid_to"]),
                cadre=row["staff_code"],
            ),
        )
    # The new one first: an administrator may move up, and the last post has not ended.
    made = await _keep(connection, row["staff_code"], appointment, now, new_id)
    return await end_post(connection, id, appointment.valid_from, now), made


# -------------------------------------------------------------------------------------- what holds


async def locked_post(connection: Connection, id: str) -> Row:
    """A post, with its person locked: until the transaction ends nobody else changes it. Raises
    `Problem` when there is none.
    """
    row = await post_queries.post(connection, id)
    if row is not None:
        if row["role"] == "admin":
            await post_queries.lock_administrators(connection)
        await lock_person(connection, row["staff_code"])
        row = await post_queries.post(connection, id)
    if row is None:
        raise Problem(NOT_FOUND, Text("There is no post {id} in your scope.", id=id))
    return row


async def _keep(
    connection: Connection,
    staff_code: str,
    appointment: Appointment,
    now: datetime,
    id: str | None = None,
) -> str:
    _check_times(appointment.valid_from, appointment.valid_to)
    if appointment.role not in GIVEN:
        raise Problem(
            INVALID,
            Text(
                "The role ‘{role}’ is not given to people; choose one of {roles}.",
                role=appointment.role[:40],
                roles=", ".join(GIVEN),
            ),
        )
    unit = (await current_tree(connection)).units.get(appointment.unit)
    if unit is None:
        raise Problem(INVALID, Text("There is no unit ‘{unit}’.", unit=appointment.unit[:20]))
    if unit.closed and unit.closed <= local_day(appointment.valid_from):
        raise Problem(
            INVALID,
            Text(
                "‘{unit}’ was closed on {day}; give a post at the unit that does its work now.",
                unit=appointment.unit,
                day=unit.closed.isoformat(),
            ),
        )
    await _refuse_overlap(connection, staff_code, appointment)
    made = id or new_uuid7(now)
    title = None if appointment.title is None else _title(appointment.title)
    await post_queries.add_post(connection, made, staff_code, *appointment[:4], title, now)
    return made


def _title(title: str) -> str | None:
    """As it is kept; nothing is none."""
    cleaned = title.strip(" \t\n\r　")
    if len(cleaned) > MAX_TITLE or not cleaned.isprintable():
        raise Problem(
            INVALID,
            Text(
                "The title of a post has at most {max} characters on one line; shorten it.",
                max=MAX_TITLE,
            ),
        )
    return cleaned or None


def check_moment(moment: datetime) -> None:
    """Raises `Problem` for a moment at which nobody can hold a post."""
    if not EARLIEST <= moment < LATEST:
        raise Problem(
            INVALID,
            Text(
                "{moment} is no time for a post; give one from {first} to {last}.",
                moment=_shown(moment),
                first=EARLIEST.date().isoformat(),
                last=LATEST.date().isoformat(),
            ),
        )


def _shown(moment: datetime) -> str:
    """A moment for people; one at the end of all years has no local time."""
    try:
        return in_minutes(moment)
    except OverflowError:
        return moment.isoformat()


def _check_times(valid_from: datetime, valid_to: datetime | None) -> None:
    check_moment(valid_from)
    if valid_to is not None:
        check_moment(valid_to)
    if valid_to is not None and valid_to < valid_from:
        raise Problem(
            INVALID,
            Text(
                "The post would end ({end}) before it begins ({start}); put one of them right.",
                end=_shown(valid_to),
                start=_shown(valid_from),
            ),
        )


async def _refuse_overlap(
    connection: Connection, staff_code: str, appointment: Appointment, but: str | None = None
) -> None:
    role, unit, valid_from, valid_to, _ = appointment
    if valid_to == valid_from:  # held at no moment
        return
    other = await post_queries.overlapping(
        connection, staff_code, role, unit, valid_from, valid_to, but
    )
    if other is not None:
        raise Problem(
            NOT_NOW,
            Text(
                "‘{cadre}’ is {role} of {unit} already at that time, by the post {id}; change that"
                " one, or choose other times.",
                cadre=staff_code,
                role=Word(ROLES[role].en, ROLES[role].zh),
                unit=unit,
                id=other["id"],
            ),
            post=other["id"],
        )


async def keep_administered(
    connection: Connection,
    before: Row,
    valid_from: datetime,
    valid_to: datetime | None,
    now: datetime,
) -> None:
    """Raises `Problem` when the last administrator of a unit would go, now or at some time to
    come: nobody could give passwords and posts there any more.
    """
    old_from, old_to = max(before["valid_from"], now), before["valid_to"]
    gaps: list[tuple[datetime, datetime | None]] = []
    if valid_from > old_from:
        gaps.append((old_from, valid_from))
    if valid_to is not None and (old_to is None or valid_to < old_to):
        gaps.append((max(valid_to, old_from), old_to))
    tree = await current_tree(connection) if gaps else BY_CODES
    administering = [before["unit"], *tree.above(before["unit"], local_day(now))]
    for since, until in gaps:
        if until is not None and until <= since:
            continue
        if await post_queries.lacks_administrator(
            connection, before["id"], administering, since, until
        ):
            raise Problem(
                NOT_NOW,
                Text(
                    "‘{cadre}’ is the last administrator of {unit}, and without one nobody gives"
                    " posts and passwords there. Give somebody else a post as administrator"
                    " first.",
                    cadre=before["staff_code"],
                    unit=before["unit"],
                ),
            )


async def _end_sign_ins(connection: Connection, staff_code: str, now: datetime) -> int:
    posts = await queries.posts_of(connection, staff_code)
    if any_present(posts, now):
        return 0
    return await post_queries.end_sign_ins_without_phone(connection, staff_code, now)
