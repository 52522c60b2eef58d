"""What forms share: what was typed, which is shown again where it could not be carried out, and the
bodies of REST that are made of it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from service.kit.errors import (
    HELD,
    INVALID,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_NOW,
    TOO_LARGE,
    Problem,
)
from service.kit.validation_errors import fault
from service.pages.filters import day_of
from service.pages.page import Visit
from sync_protocol.periods import midnight
from sync_protocol.texts import Text

Body = TypeVar("Body", bound=BaseModel)

# What somebody can put right in the form that they have before them.
_SHOWN_IN_FORM = (HELD, INVALID, NOT_ALLOWED, NOT_FOUND, NOT_NOW, TOO_LARGE)
_MAX_FIELDS = 2_000

# What the fields of forms are called where something is wrong with them.
LABELS: Mapping[str, Text] = {
    "body": Text("Text"),
    "client_id": Text("Id of the app"),
    "code": Text("Short code"),
    "due": Text("Due by"),
    "evidence": Text("Evidence"),
    "hour": Text("Hour"),
    "households": Text("Households"),
    "kind": Text("Kind"),
    "left_on": Text("Left on"),
    "measure": Text("Measured in"),
    "name": Text("Name"),
    "name_en": Text("Name in English"),
    "name_mn": Text("Name in Mongolian"),
    "name_zh": Text("Name in Chinese"),
    "note": Text("Note"),
    "password": Text("First password"),
    "period": Text("Period"),
    "phone": Text("Phone number"),
    "plan": Text("Plan"),
    "position": Text("Place in the list"),
    "posts": Text("Posts"),
    "reporters": Text("Reported by"),
    "role": Text("Role"),
    "scopes": Text("What it may do"),
    "shown_code": Text("Staff code"),
    "source": Text("Source"),
    "staff_code": Text("Staff code"),
    "target": Text("Target"),
    "text": Text("Text"),
    "title": Text("Title"),
    "to": Text("To"),
    "unit": Text("Unit"),
    "value": Text("Value"),
}


class Typed(NamedTuple):
    """A form that was sent. `form`: which of the page it is; `problem`: why it was not carried
    out.
    """

    form: str = ""
    fields: Mapping[str, Sequence[str]] = MappingProxyType({})
    problem: Problem | None = None

    def get(self, name: str) -> str:
        """What was typed into a field, without white space around it; empty where nothing was."""
        return (self.fields.get(name) or ("",))[0].strip()

    def all(self, name: str) -> list[str]:
        """What was chosen, of fields that stand several times."""
        return [text.strip() for text in self.fields.get(name, ())]

    def at(self, name: str, place: int) -> str:
        """One of them; empty where there are not so many."""
        found = self.all(name)
        return found[place] if place < len(found) else ""

    def only(self, *names: str) -> dict[str, str]:
        """Those of the fields that are not empty."""
        return {name: text for name in names if (text := self.get(name))}

    def day(self, name: str) -> date | None:
        """A day; raises `Problem` for what is none."""
        return day_of(self.get(name))

    def moment(self, name: str) -> datetime | None:
        """The midnight with which a day begins in Asia/Shanghai."""
        day = self.day(name)
        return None if day is None else midnight(day)

    def again(self, form: str, name: str, value: Any = "") -> Any:
        """What stands in a field of a form: what was typed before, else the value at hand."""
        if self.form != form:
            return "" if value is None else value
        return self.get(name)

    def was_chosen(self, form: str, name: str, value: str, chosen: bool = False) -> bool:
        """The same of a box to tick, or one of a list."""
        if self.form != form:
            return chosen
        return value in self.all(name)


NOTHING = Typed()


async def typed_in(request: Request, form: str) -> Typed:
    """The form that was sent with a request."""
    fields: dict[str, list[str]] = {}
    for name, value in (await request.form()).multi_items()[:_MAX_FIELDS]:
        if isinstance(value, str) and name != "csrf":
            fields.setdefault(name, []).append(value)
    return Typed(form, fields)


async def carried_out(
    visit: Visit,
    form: str,
    work: Callable[[Typed], Awaitable[Response]],
    again: Callable[[Typed], Awaitable[Response]],
) -> Response:
    """Carries a form out; where it is refused for something that can be put right, shows the page
    `again` with what was typed.
    """
    typed = await typed_in(visit.request, form)
    try:
        return await work(typed)
    except Problem as problem:
        if problem.type not in _SHOWN_IN_FORM:
            raise
        shown = await again(typed._replace(problem=problem))
        shown.status_code = problem.type.status
        return shown


def made(model: type[Body], **values: Any) -> Body:
    """A body of REST; raises `Problem` with the first thing that is wrong with it."""
    try:
        return model(**values)
    except ValidationError as error:
        item = error.errors()[0]
        name = str(next((part for part in item["loc"] if part in LABELS), item["loc"][0]))
        where = LABELS.get(name, name)
        raise Problem(INVALID, Text("{where}: {what}.", where=where, what=fault(item))) from None


def short_code(typed: Typed) -> str:
    """The code of a word or an indicator; raises `Problem` for what is none."""
    code = typed.get("code")
    if not (code.isascii() and code.isidentifier() and code.islower() and len(code) <= 40):
        raise Problem(
            INVALID, "A code has small letters, digits and _, and begins with a letter; 40 at most."
        )
    return code


def number_of(typed: Typed, name: str) -> float | None:
    """A number as people write it; raises `Problem` for what is none."""
    text = typed.get(name).replace(",", "").replace("，", "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        where = LABELS.get(name, name)
        what = Text("‘{text}’ is no number", text=text[:40])
        raise Problem(INVALID, Text("{where}: {what}.", where=where, what=what)) from None
