"""Lists of words, limits and deadlines: `/v1/vocabulary`."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.http.names import Mongolian, Name
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.kit.database import retry_on_conflict
from service.kit.errors import INVALID, NOT_NOW, READING, Problem, documented
from service.kit.localization import FOR_PROGRAMS, localized
from service.kit.settings import Settings
from service.kit.state import state_of
from service.vocabulary.changes import Changes, Written, begins
from service.vocabulary.keeping import current_reference_data, read_reference_data
from service.vocabulary.rules import ReferenceData
from service.vocabulary.terms import LISTS, WORD_PATTERN, ListName, Term, base_terms
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/vocabulary", tags=["vocabulary"])

_WRITING = documented(*READING, NOT_NOW)
Position = Annotated[int, Field(ge=0, le=100_000, description="Its place; ties by code")]
Which = Annotated[ListName, Path(alias="list", description="The list")]
Code = Annotated[str, Path(pattern=WORD_PATTERN, max_length=40, examples=["elderly_alone"])]
Source = Literal["code", "settings", "edited"]


class Attributes(RequestBody):
    """What a term says beside its name, by its list. `limit`: `hours` by the clock, or
    `working_days`. `deadline`: `days` after the week or month, the `hour`, and whether only
    working days count. `rank`: `shown`. `category`: the `duty` that it belongs to.
    """

    hours: int | None = Field(None, ge=1, le=8760)
    working_days: int | bool | None = Field(None, description="limit: how many; deadline: whether")
    days: int | None = Field(None, ge=1, le=60)
    hour: int | None = Field(None, ge=0, le=23)
    shown: bool | None = None
    duty: str | None = Field(None, pattern=WORD_PATTERN)


class NewTerm(RequestBody):
    """A term as it is from a day on."""

    name_zh: Name
    name_en: Name
    name_mn: Mongolian | None = Field(None, description="In traditional Mongolian")
    position: Position | None = None
    valid_from: date | None = Field(None, description="Its first day; today if left out")
    valid_to: date | None = Field(
        None, description="The first day on which it is no more; still, if left out"
    )
    attributes: Attributes | None = None


class TermChange(RequestBody):
    """What is to be another of the term of today; what is left out stays."""

    name_zh: Name | None = None
    name_en: Name | None = None
    name_mn: Mongolian | None = None
    position: Position | None = None
    valid_to: date | None = Field(
        None, description="The first day on which it is no more; null: it goes on"
    )


class TermItem(BaseModel):
    """A term from a day (none: always) to a day (excluded; none: still). `source`: `code` and
    `settings` until its list was edited.
    """

    id: str
    list: ListName
    code: str
    name_zh: str
    name_en: str
    name_mn: str | None
    position: int
    valid_from: date | None
    valid_to: date | None
    attributes: dict[str, int | bool | str | float]
    source: Source


class TermList(BaseModel):
    """Terms in the order of lists and positions."""

    items: list[TermItem]


class TermsWritten(BaseModel):
    """The terms of a code as they are now; `dues_changed`: how many problems are due at another
    time since; `warnings`: what is to be known, as that the term ends because another begins.
    """

    items: list[TermItem]
    dues_changed: int
    warnings: list[str] = []


@router.get(
    "",
    summary="Words, limits and deadlines",
    operation_id="list_vocabulary",
    responses=documented(*READING),
)
async def vocabulary(
    request: Request,
    caller: Signed,
    name: Annotated[ListName | None, Query(alias="list", description="Only this list")] = None,
    on: Annotated[date | None, Query(description="Only what holds on this day")] = None,
) -> TermList:
    """Also what has ended, or is yet to begin."""
    state = state_of(request)
    async with state.database.reading() as connection:
        data = await current_reference_data(connection)
    found = [
        item
        for one in LISTS
        if name is None or one == name
        for item in _items(data, state.settings, one, on)
    ]
    return TermList(items=found)


def _items(data: ReferenceData, settings: Settings, name: str, on: date | None) -> list[TermItem]:
    edited = data.vocabulary.edited.get(name, {})
    terms = [(term, True) for some in edited.values() for term in some]
    terms += [(term, False) for term in base_terms(settings, name) if term.code not in edited]
    terms.sort(key=lambda one: (one[0].position, one[0].code, one[0].valid_from))
    return [_item(term, is_edited) for term, is_edited in terms if on is None or term.holds_on(on)]


def _item(term: Term, is_edited: bool) -> TermItem:
    source: Source = "edited" if is_edited else "settings" if LISTS[term.list].valued else "code"
    values = term._asdict() | {"valid_from": begins(term)}
    return TermItem(id=term.id, source=source, **values)


@router.put(
    "/{list}/{code}",
    summary="Write a term from a day on",
    operation_id="put_term",
    responses=_WRITING,
)
async def put_term(
    request: Request, caller: Signed, name: Which, code: Code, body: NewTerm
) -> TermsWritten:
    """Adds a word, or gives one another name or value from a day on; what held before keeps its
    days. A value changes from today at the earliest.
    """
    attributes = _attributes(name, body.attributes)

    async def work(changes: Changes, data: ReferenceData) -> Written:
        known = data.vocabulary.edited.get(name, {}).get(code)
        base = [t for t in base_terms(state_of(request).settings, name) if t.code == code]
        place = known[-1].position if known else base[0].position if base else None
        if body.position is not None:
            place = body.position
        return await changes.put(
            name,
            Term(
                name,
                code,
                body.name_zh,
                body.name_en,
                body.name_mn,
                changes.next_position(data, name) if place is None else place,
                body.valid_from or caller.today,
                body.valid_to,
                attributes,
            ),
        )

    return await _change(request, caller, name, code, "vocabulary-written", work)


@router.patch(
    "/{list}/{code}",
    summary="Correct or end a term",
    operation_id="change_term",
    responses=_WRITING,
)
async def change_term(
    request: Request, caller: Signed, name: Which, code: Code, body: TermChange
) -> TermsWritten:
    """Names and place of the term of today, or the day on which it ends, tomorrow at the earliest.
    What was written with it stays as it is, and readable.
    """
    values = body.model_dump(exclude_unset=True)
    nulls = {name for name in ("name_zh", "name_en", "position") if values.get(name, "") is None}
    if nulls or not values:
        raise Problem(INVALID, "Nothing is to be changed; give a name, a position or valid_to.")

    async def work(changes: Changes, data: ReferenceData) -> Written:
        return await changes.correct(name, code, values)

    return await _change(request, caller, name, code, "vocabulary-changed", work)


async def _change(
    request: Request,
    caller: Caller,
    name: str,
    code: str,
    action: str,
    work: Callable[[Changes, ReferenceData], Awaitable[Written]],
) -> TermsWritten:
    state = state_of(request)

    async def once() -> TermsWritten:
        async with state.database.unhurried.transaction() as connection:
            data = await read_reference_data(connection)
            written = await work(Changes(connection, state.settings, caller), data)
            await note(connection, request, caller, action, [f"{name}/{code}"], 1)
            if written.dues_changed:
                await note(
                    connection,
                    request,
                    caller,
                    "dues-recomputed",
                    [f"{name}/{code}"],
                    written.dues_changed,
                )
        items = [_item(term, True) for term in written.terms]
        warnings = [localized(text, FOR_PROGRAMS) for text in written.warnings]
        return TermsWritten(items=items, dues_changed=written.dues_changed, warnings=warnings)

    return await retry_on_conflict(once)


def _attributes(name: str, given: Attributes | None) -> dict[str, Any]:
    """The attributes of a term of a list; raises `Problem` where they are not those of the
    list.
    """
    found = {} if given is None else given.model_dump(exclude_none=True)
    match name:
        case "limit":
            number = found.get("working_days")
            fits = found.keys() == {"hours"} or (
                found.keys() == {"working_days"}
                and type(number) is int
                and 1 <= number <= _MOST_WORKING_DAYS
            )
            wanted = Text("either hours, or working_days as a number from 1 to 250")
        case "deadline":
            found.setdefault("working_days", False)
            fits = (
                found.keys() == {"days", "hour", "working_days"}
                and type(found["working_days"]) is bool
            )
            wanted = Text("days, hour, and working_days as true or false")
        case "rank":
            fits, wanted = found.keys() == {"shown"}, Text("shown")
        case "indicator":
            fits, wanted = False, Text("kept at /v1/indicators; write them there")
        case "category":
            fits, wanted = found.keys() <= {"duty"}, Text("nothing but the duty it belongs to")
        case _:
            fits, wanted = not found, Text("none")
    if not fits:
        raise Problem(
            INVALID,
            Text("attributes: those of the list {list} are: {wanted}.", list=name, wanted=wanted),
        )
    return found


_MOST_WORKING_DAYS = 250
