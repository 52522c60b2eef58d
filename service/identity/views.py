"""Who sees which field: the one table that serves the sync, REST, exports and pages alike.

A view is what a cadre sees of one grid. It follows from the posts held at present that cover the
grid, and, for single problems, from assignments. Rows are fields by their class, columns are views.
A device never holds a masked or coarse value, which it could write back: there such a field is
absent.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from service.identity.rights import PostHeld
from service.kit.encryption import MARKER
from service.organisation.tree import ALWAYS, BY_CODES, Tree
from sync_protocol.fields import Place
from sync_protocol.kinds import Kind
from sync_protocol.periods import local_day
from sync_protocol.record_state import GRID, LIFE
from sync_protocol.records import KINDS, PERSONAL


class View(StrEnum):
    """What somebody sees of a grid.

    `full`: who works there. `reduced`, `summarised`: who supervises it from the township or below,
    or from above the township. `tied`: a contact member, the tied households and what is about
    them. `assigned`: the problems that were assigned to somebody elsewhere.
    """

    FULL = "f"
    REDUCED = "r"
    SUMMARISED = "s"
    TIED = "t"
    ASSIGNED = "a"


class Shown(StrEnum):
    """How a field is shown. Only `whole` fields go to devices."""

    WHOLE = "whole"
    MASKED = "masked"
    COARSE = "coarse"
    ABSENT = "absent"


class FieldClass(StrEnum):
    """The classes of fields that are shown alike."""

    PLAIN = "plain"  # heads, members, notes, texts, codes, times, photos
    CONTACT = "contact"  # phones, addresses, whom to call back
    TAGS = "tags"  # health and finances of a household
    PLACE = "place"
    UNKNOWN = "unknown"  # fields of newer apps


_W, _M, _C, _A = Shown.WHOLE, Shown.MASKED, Shown.COARSE, Shown.ABSENT
TABLE: Mapping[FieldClass, Mapping[View, Shown]] = {
    field_class: dict(zip(View, shown, strict=True))
    for field_class, shown in {
        #                   full reduced summarised tied assigned
        FieldClass.PLAIN: (_W, _W, _W, _W, _W),
        FieldClass.CONTACT: (_W, _M, _M, _W, _M),
        FieldClass.TAGS: (_W, _W, _A, _W, _A),
        FieldClass.PLACE: (_W, _C, _C, _W, _C),
        FieldClass.UNKNOWN: (_W, _A, _A, _A, _A),
    }.items()
}

# The roles that work in a grid or village, and those that supervise it.
_WORKS_THERE = frozenset(
    {
        "grid_worker",
        "village_secretary",
        "first_secretary",
        "village_committee",
        "village_supervisor",
    }
)
_SUPERVISES = frozenset({"supervisor", "admin"})
_ORDER = {view: place for place, view in enumerate(View)}
# Personal fields that are shown like the texts beside them: whoever sees the problem sees them.
_TEXTS = frozenset({("problem", "parties"), ("problem", "agreement")})
# In these every record of the grid is shown, if not with every field.
WHOLE_GRID = frozenset({View.FULL, View.REDUCED, View.SUMMARISED})


def class_of(kind: Kind, name: str) -> FieldClass:
    """The class of a field of a record kind; a name that is not declared is an unknown field."""
    field = kind.by_name.get(name)
    if field is None:
        return FieldClass.PLAIN if name in (LIFE, GRID) else FieldClass.UNKNOWN
    if field.personal and (kind.name, name) not in _TEXTS:
        return FieldClass.CONTACT
    if isinstance(field.type, Place):
        return FieldClass.PLACE
    return FieldClass.TAGS if (kind.name, name) == ("household", "tags") else FieldClass.PLAIN


def view_of_post(post: PostHeld) -> View | None:
    """What a post shows of the grids of its unit; None if it shows no records."""
    if post.role in _WORKS_THERE:
        return View.FULL
    if post.role in _SUPERVISES:
        return View.REDUCED if post.tree.sees_tags(post.unit) else View.SUMMARISED
    return View.TIED if post.role == "contact_member" else None


class PresentViews(list[tuple[str, View]]):
    """The units of the posts held at a moment, each with its view, the widest view first; `tree`
    and `day` say what lies under them.
    """

    def __init__(self, pairs: Iterable[tuple[str, View]], tree: Tree, moment: datetime) -> None:
        super().__init__(sorted(pairs, key=lambda pair: (_ORDER[pair[1]], pair[0])))
        self.tree = tree
        # Where nothing ever moved all days are alike.
        self.day = ALWAYS if tree.is_plain else local_day(moment)


def present_views(posts: Iterable[PostHeld], moment: datetime) -> PresentViews:
    """What the posts held at a moment show of their units."""
    found: set[tuple[str, View]] = set()
    tree = BY_CODES
    for post in posts:
        if post.valid_at(moment) and (view := view_of_post(post)) is not None:
            found.add((post.unit, view))
            tree = post.tree
    return PresentViews(found, tree, moment)


def view_in(present: PresentViews, grid: str) -> View | None:
    """The widest of the `present_views` that cover a grid or unit; None if none does."""
    covers, day = present.tree.covers, present.day
    return next((view for unit, view in present if covers(unit, grid, day)), None)


@cache
def absent_on_devices(kind: Kind, view: View) -> frozenset[str]:
    """The declared fields that a device with this view does not get."""
    return frozenset(
        name for name in kind.names if TABLE[class_of(kind, name)][view] is not Shown.WHOLE
    )


def goes_to_devices(field_class: FieldClass, view: View) -> bool:
    """Whether fields of a class go to devices with a view."""
    return TABLE[field_class][view] is Shown.WHOLE


def shows_unknown(view: View) -> bool:
    """Whether fields of newer apps are shown."""
    return goes_to_devices(FieldClass.UNKNOWN, view)


# --------------------------------------------------------------------------------------- redaction

_HIDDEN = "***"
# A place is shown to two decimals, about a kilometre.
_DECIMALS = 2


def masked_phone(phone: str) -> str:
    """A phone number of which at least four digits, and more than half, are hidden."""
    if len(phone) >= 11:
        return phone[:3] + "*" * (len(phone) - 7) + phone[-4:]
    if len(phone) >= 7:
        return "*" * (len(phone) - 2) + phone[-2:]
    return "*" * len(phone)


def _masked_address(address: str) -> str:
    return address[:3] + _HIDDEN if len(address) > 3 else _HIDDEN


def _masked_contact(text: str) -> str:
    return text[:1] + _HIDDEN if len(text) > 3 else _HIDDEN


_MASKS: Mapping[str, Callable[[str], str]] = {
    "phone": masked_phone,
    "address": _masked_address,
    "contact": _masked_contact,
}


def mask(name: str, value: Any) -> Any:
    """A personal value, masked; what is no text is hidden whole."""
    if value is None or value == MARKER:
        return value
    return _MASKS[name](value) if isinstance(value, str) else _HIDDEN


def coarse(place: Any) -> Any:
    """A place to about a kilometre, without its accuracy."""
    if not isinstance(place, Mapping):
        return None
    known = {name: place.get(name) for name in ("lat", "lon")}
    return {
        name: round(value, _DECIMALS)
        for name, value in known.items()
        if isinstance(value, float | int)
    }


def redact_value(kind: str, name: str, value: Any, view: View) -> Any:
    """One field's value as a view shows it; None where it shows nothing."""
    declared = KINDS.get(kind)
    if declared is None:
        return value if view is View.FULL else None
    match TABLE[class_of(declared, name)][view]:
        case Shown.WHOLE:
            return value
        case Shown.MASKED:
            return mask(name, value)
        case Shown.COARSE:
            return coarse(value)
        case _:
            return None


def shows_whole(kind: str, name: str, view: View) -> bool:
    """Whether a view shows a field as it is, and nothing laid over it."""
    declared = KINDS.get(kind)
    return declared is not None and TABLE[class_of(declared, name)][view] is Shown.WHOLE


def for_device(kind: str, name: str, value: Any, view: View | None) -> Any:
    """One field's value if devices with a view get it; else None."""
    declared = KINDS.get(kind)
    return (
        value
        if view is not None
        and declared is not None
        and goes_to_devices(class_of(declared, name), view)
        else None
    )


def is_disguise(kind: str, name: str, value: Any, true: Iterable[Any], view: View) -> bool:
    """Whether a value that somebody sends is what the view showed in place of one of the `true`
    ones.

    Written back, a mask would become the data.
    """
    declared = KINDS.get(kind)
    if declared is None or TABLE[class_of(declared, name)][view] not in (
        Shown.MASKED,
        Shown.COARSE,
    ):
        return False
    if isinstance(value, str) and "**" in value:
        return True
    return any(
        item is not None and item != value and redact_value(kind, name, item, view) == value
        for item in true
    )


def redact(kind: str, fields: Mapping[str, Any], view: View) -> dict[str, Any]:
    """The fields of a record or mutation as a view shows them; what it does not show is left out.

    Also for kinds that this version does not know, and for mutations that could not be read: of
    those only who works there sees anything.
    """
    if view is View.FULL:
        return dict(fields)
    declared = KINDS.get(kind)
    if declared is None:
        return {}
    return {
        name: redact_value(kind, name, value, view)
        for name, value in fields.items()
        if TABLE[class_of(declared, name)][view] is not Shown.ABSENT
    }


assert {
    name for kind, names in PERSONAL.items() for name in names if (kind, name) not in _TEXTS
} <= _MASKS.keys()
