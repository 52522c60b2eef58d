"""What is looked at when posts change: whether somebody may do it, and what they should know of it.

Rights are walls; what is unusual is a warning, see also `organisation.staffing`.
"""

from collections.abc import Iterable, Sequence

from service.identity import post_queries, queries
from service.identity.access import Caller
from service.identity.posts import Appointment
from service.kit.database import Connection
from service.kit.errors import NOT_ALLOWED, Problem
from service.organisation.staffing import PostWarning, warning
from service.organisation.units import absent
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import LEVELS, ROLES

# At which levels of the tree a role is held as a rule.
_LEVELS = {
    "grid_worker": ("grid",),
    "village_secretary": ("village",),
    "village_committee": ("village",),
    "village_supervisor": ("village",),
    "first_secretary": ("village",),
    "contact_member": ("grid", "village"),
    "supervisor": ("township", "banner", "city"),
}


def refuse_units_out_of_reach(caller: Caller, units: Iterable[str]) -> None:
    """Raises `Problem` for a unit above or beside those that the caller administers."""
    for unit in units:
        if not (unit.isascii() and unit.isdigit() and caller.reaches(unit)):
            raise absent(caller, unit[:20])


def refuse_own_post(caller: Caller, staff_code: str) -> None:
    """Raises `Problem` where somebody would change a post of their own, also to end it."""
    if staff_code == caller.staff_code:
        raise Problem(
            NOT_ALLOWED, "Nobody changes or ends the own posts; ask another administrator."
        )


async def refuse_to_give(connection: Connection, caller: Caller, staff_code: str) -> None:
    """Raises `Problem` where the caller may give this person no post: to nobody who stands above,
    or elsewhere too, and never to the own account.
    """
    if staff_code == caller.staff_code:
        raise Problem(
            NOT_ALLOWED,
            "Nobody gives a post to the own account, or more of one; ask another administrator.",
        )
    if not await queries.is_cadre_in(connection, staff_code, caller.ranges(), caller.now):
        raise Problem(
            NOT_ALLOWED,
            Text(
                "‘{cadre}’ has, or had last, a post outside of {units}; who administers all of it"
                " gives them another.",
                cadre=staff_code,
                units=", ".join(caller.units()),
            ),
        )


async def warnings_of_appointments(
    connection: Connection, appointments: Sequence[Appointment], party_member: bool
) -> list[PostWarning]:
    """What is unusual in posts that were given."""
    levels = await post_queries.levels_of(connection, [one.unit for one in appointments])
    found = []
    for one in appointments:
        role = Word(ROLES[one.role].en, ROLES[one.role].zh)
        level = levels.get(one.unit, "")
        if one.role in _LEVELS and level not in _LEVELS[one.role]:
            label = Word(LEVELS[level].en, LEVELS[level].zh) if level in LEVELS else level
            text = Text(
                "A {role} of a {level} is unusual; look at the unit again.", role=role, level=label
            )
            found.append(warning("unusual-level", one.unit, text))
        if one.role == "first_secretary" and one.valid_to is None:
            text = Text("A first secretary comes for a term; give valid_to when it is known.")
            found.append(warning("no-term", one.unit, text))
        if one.role == "contact_member" and not party_member:
            text = Text("A contact member is a party member, and no membership is recorded.")
            found.append(warning("no-party-member", one.unit, text))
    return found


def without_post(staff_code: str) -> PostWarning:
    """That somebody has no post any more."""
    text = Text(
        "‘{cadre}’ has no post any more: nobody signs in as them, and a phone only hands in what it"
        " holds.",
        cadre=staff_code,
    )
    return warning("without-post", None, text)


def still_in_hand(staff_code: str, problems: int, households: int) -> PostWarning:
    """That somebody who leaves has something in hand."""
    if not households:
        text = Text(
            "‘{cadre}’ still has {problems} open problems in hand; pass them on.",
            cadre=staff_code,
            problems=problems,
        )
    elif not problems:
        text = Text(
            "‘{cadre}’ still has {households} households in hand; pass them on.",
            cadre=staff_code,
            households=households,
        )
    else:
        text = Text(
            "‘{cadre}’ still has {problems} open problems and {households} households in hand; pass"
            " them on.",
            cadre=staff_code,
            problems=problems,
            households=households,
        )
    return warning("in-hand", None, text)


def not_shown_there(staff_code: str) -> PostWarning:
    """That households are tied to somebody who does not see them."""
    text = Text(
        "‘{cadre}’ has no post at present by which these households are shown to them; give one as"
        " contact member or in the village.",
        cadre=staff_code,
    )
    return warning("not-shown", None, text)
