"""Lists of words with their days, `/admin/vocabulary`, and limits, deadlines and ranks,
`/admin/limits`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.kit.errors import INVALID, NOT_ALLOWED, NOT_NOW, Problem
from service.pages.areas import areas
from service.pages.forms import NOTHING, Typed, carried_out, made, number_of, short_code
from service.pages.page import Posted, Signed, Visit, pages_router
from service.vocabulary import routes as vocabulary
from service.vocabulary.changes import list_word, the_keeper
from service.vocabulary.routes import Attributes, NewTerm, TermChange, TermItem
from service.vocabulary.terms import LISTS, ListName
from sync_protocol.texts import Text, Word

router: APIRouter = pages_router()

# Values stand on a page of their own, and indicators on another.
WORDS: tuple[ListName, ...] = ("duty", "category", "dispute_kind", "tag", "severity", "role")
VALUES: tuple[ListName, ...] = ("limit", "deadline", "rank")
SOURCES: dict[str, Text] = {
    "code": Text("as delivered"),
    "settings": Text("by the settings"),
    "edited": Text("kept here"),
}
DONE: dict[str, Text] = {
    "written": Text("It is written, and reaches phones with their next sync."),
    "changed": Text("It is changed, and reaches phones with their next sync."),
}

Which = Annotated[ListName, Path(alias="list")]
Code = Annotated[str, Path(max_length=40, pattern=r"^[a-z][a-z0-9_]*$")]


class Line(NamedTuple):
    """A term of a list, how it stands today, and what its values say."""

    item: TermItem
    is_over: bool
    is_to_come: bool
    says: Text | None


def may_keep(visit: Visit, operation: str) -> bool:
    """Whether the visitor administers the topmost unit, and so keeps lists."""
    if not visit.may(operation):
        return False
    try:
        the_keeper(visit.to(operation))
    except Problem as problem:
        if problem.type not in (NOT_ALLOWED, NOT_NOW):
            raise
        return False
    return True


@router.get("/admin/vocabulary", operation_id="vocabulary_page")
async def vocabulary_page(
    visit: Signed,
    name: Annotated[str, Query(alias="list", max_length=40)] = "duty",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """A list with the words of all times."""
    chosen = next((one for one in WORDS if one == name), WORDS[0])
    return await _words(visit, chosen, notice=DONE.get(done))


async def _words(visit: Visit, name: ListName, typed: Typed = NOTHING, **told: Any) -> Response:
    lines = await _lines(visit, name)
    duties = await _lines(visit, "duty") if name == "category" else []
    values: dict[str, Any] = {"notice": None, "warnings": ()} | told
    return visit.page(
        "admin_vocabulary.html",
        areas=areas(visit),
        lists=[(one, list_word(one)) for one in WORDS],
        name=name,
        title=list_word(name),
        is_open=LISTS[name].open,
        lines=lines,
        duties=[(line.item.code, _word(line.item)) for line in duties if not line.is_over],
        duty_names={line.item.code: _word(line.item) for line in duties},
        sources=SOURCES,
        may_write=may_keep(visit, "put_term"),
        today=visit.caller.today,
        typed=typed,
        **values,
    )


def _word(item: TermItem) -> Word:
    return Word(item.name_en or item.name_zh, item.name_zh)


async def _lines(visit: Visit, name: ListName) -> list[Line]:
    found = await vocabulary.vocabulary(visit.request, visit.to("list_vocabulary"), name)
    today = visit.caller.today
    return [
        Line(
            item,
            item.valid_to is not None and item.valid_to <= today,
            item.valid_from is not None and item.valid_from > today,
            says(item),
        )
        for item in found.items
    ]


def says(item: TermItem) -> Text | None:
    """What the values of a term say, in words."""
    given = item.attributes
    if "hours" in given:
        return Text("{hours} hours by the clock", hours=given["hours"])
    if "hour" in given:
        if given.get("working_days"):
            return Text(
                "by {hour}:00 on working day {days} after the period",
                hour=given["hour"],
                days=given["days"],
            )
        return Text(
            "by {hour}:00 on day {days} after the period", hour=given["hour"], days=given["days"]
        )
    if "working_days" in given:
        return Text("{days} working days", days=given["working_days"])
    if "shown" in given:
        return Text("shown") if given["shown"] else Text("not shown")
    return None


@router.post("/admin/vocabulary/{list}", operation_id="put_term_on_page")
async def put_term(visit: Posted, name: Which) -> Response:
    """Writes a word from a day on: a new one, or one that is there by another name."""

    async def work(typed: Typed) -> Response:
        code = short_code(typed)
        duty = typed.get("duty")
        body = made(
            NewTerm,
            **_names(typed),
            valid_from=typed.day("valid_from"),
            valid_to=typed.day("valid_to"),
            attributes=Attributes(duty=duty) if duty else None,
        )
        came = await vocabulary.put_term(visit.request, visit.caller, name, code, body)
        return await _shown(visit, name, "written", came.warnings)

    return await carried_out(visit, "term-put", work, lambda typed: _words(visit, name, typed))


async def _shown(visit: Visit, name: ListName, done: str, warnings: Sequence[str]) -> Response:
    if warnings:
        told = [{"text": text} for text in warnings]
        return await _words(visit, name, notice=DONE[done], warnings=told)
    return visit.go("/admin/vocabulary", list=name, done=done)


def _names(typed: Typed) -> dict[str, Any]:
    values: dict[str, Any] = typed.only("name_zh", "name_en", "name_mn")
    if typed.get("position"):
        values["position"] = typed.get("position")
    return values


@router.post("/admin/vocabulary/{list}/{code}", operation_id="change_term_on_page")
async def change_term(visit: Posted, name: Which, code: Code) -> Response:
    """Corrects the names or the place of a word of today, or ends it."""

    async def work(typed: Typed) -> Response:
        values = _names(typed)
        if not typed.get("name_mn"):
            values["name_mn"] = None
        if typed.get("valid_to") != typed.get("valid_to_was"):
            values["valid_to"] = typed.day("valid_to")
        body = made(TermChange, **values)
        came = await vocabulary.change_term(visit.request, visit.caller, name, code, body)
        return await _shown(visit, name, "changed", came.warnings)

    return await carried_out(
        visit, f"term-change {code}", work, lambda typed: _words(visit, name, typed)
    )


@router.get("/admin/limits", operation_id="limits_page")
async def limits_page(visit: Signed, done: Annotated[str, Query(max_length=40)] = "") -> Response:
    """Time limits of problems, deadlines of logs, and whether ranks are shown."""
    return await _limits(visit, notice=DONE.get(done))


async def _limits(visit: Visit, typed: Typed = NOTHING, **told: Any) -> Response:
    values: dict[str, Any] = {"notice": None, "dues_changed": 0, "warnings": ()} | told
    return visit.page(
        "admin_limits.html",
        areas=areas(visit),
        lists=[(one, list_word(one), await _lines(visit, one)) for one in VALUES],
        sources=SOURCES,
        may_write=may_keep(visit, "put_term"),
        today=visit.caller.today,
        typed=typed,
        **values,
    )


@router.post("/admin/limits/{list}/{code}", operation_id="put_limit_on_page")
async def put_limit(visit: Posted, name: Which, code: Code) -> Response:
    """Sets a value from a day on."""

    async def work(typed: Typed) -> Response:
        if name not in VALUES:
            raise Problem(INVALID, "This list has no values; its words are changed on their page.")
        lines = await _lines(visit, name)
        item = next((one.item for one in lines if one.item.code == code), None)
        if item is None:
            raise Problem(INVALID, Text("There is no such value: {code}.", code=code))
        body = made(
            NewTerm,
            name_zh=item.name_zh,
            name_en=item.name_en,
            name_mn=item.name_mn,
            position=item.position,
            valid_from=typed.day("valid_from"),
            attributes=_attributes(name, typed),
        )
        came = await vocabulary.put_term(visit.request, visit.caller, name, code, body)
        told = [{"text": text} for text in came.warnings]
        if told or came.dues_changed:
            return await _limits(
                visit, notice=DONE["written"], dues_changed=came.dues_changed, warnings=told
            )
        return visit.go("/admin/limits", done="written")

    return await carried_out(
        visit, f"limit {name} {code}", work, lambda typed: _limits(visit, typed)
    )


def _attributes(name: str, typed: Typed) -> Attributes:
    if name == "rank":
        return made(Attributes, shown=bool(typed.get("shown")))
    amount = number_of(typed, "amount")
    if amount is None or amount != int(amount):
        raise Problem(INVALID, "Give a whole number.")
    if name == "limit":
        by = "hours" if typed.get("by") == "hours" else "working_days"
        return made(Attributes, **{by: int(amount)})
    return made(
        Attributes,
        days=int(amount),
        hour=typed.get("hour") or None,
        working_days=bool(typed.get("working_days")),
    )
