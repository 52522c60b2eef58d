"""What needs a decision: conflicts and held mutations, `/inbox`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from fastapi import APIRouter, Form, Query
from fastapi.responses import Response

from service.households import routes as households
from service.inbox import routes as inbox
from service.inbox.answers import (
    ConflictOut,
    ConflictPage,
    Discard,
    HeldOut,
    HeldPage,
    Release,
    Resolution,
)
from service.kit.errors import INVALID, NOT_FOUND, Problem
from service.kit.paging import Id
from service.pages import inbox_view as view
from service.pages.held_fields import changes_in, typed_in
from service.pages.names import names_of, words_of
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.units import path_to
from service.problems import routes as problems
from sync_protocol.ids import is_uuid
from sync_protocol.texts import Text

router: APIRouter = pages_router()
_ROWS = 100

UnitCode = Annotated[str, Query(max_length=20)]
Opened = Annotated[str, Query(max_length=36)]
Key = Annotated[str, Query(max_length=80)]
Place = Annotated[str, Query(max_length=200)]
Count = Annotated[int, Query(ge=0, le=_ROWS)]
Note = Annotated[str, Form(max_length=1000)]
Back = Annotated[str, Form(max_length=200)]
Ids = Annotated[list[str], Form(max_length=_ROWS)]


class Asked(NamedTuple):
    """What the page shows: of which unit, which rows are opened, and to what is alike the tables
    are narrowed.
    """

    unit: str = ""
    conflict: str = ""
    held: str = ""
    alike: str = ""
    reason: str = ""
    conflicts_after: str = ""
    held_after: str = ""


class Said(NamedTuple):
    """What the page says at its head: what was decided, or what is wrong."""

    text: Text | str
    is_bad: bool = False
    status: int = 200


@router.get("/inbox", operation_id="inbox_page")
async def inbox_page(
    visit: Signed,
    unit: UnitCode = "",
    conflict: Opened = "",
    held: Opened = "",
    alike: Key = "",
    reason: Key = "",
    conflicts_after: Place = "",
    held_after: Place = "",
    done: Count = 0,
    left: Count = 0,
) -> Response:
    """Conflicts and held mutations of a unit, one of each opened."""
    asked = Asked(unit, conflict, held, alike, reason, conflicts_after, held_after)
    said = None
    if done:
        said = Said(Text("Decided: {count}.", count=done))
    if left:
        said = Said(
            Text("Decided: {count}. Not decided: {left}; open them to see why.",
                 count=done, left=left),
            is_bad=True,
        )  # fmt: skip
    return await _page(visit, asked, said)


@router.post("/inbox/conflicts/{id}", operation_id="settle_on_page")
async def settle(
    visit: Posted,
    id: Id,
    choice: Annotated[Literal["kept", "lost"], Form()],
    note: Note = "",
    unit: Back = "",
    alike: Back = "",
    after: Back = "",
) -> Response:
    """Settles a conflict, and opens the next one."""
    body = Resolution(choice=choice, note=note)
    try:
        await inbox.resolution(visit.request, visit.caller, id, body)
    except Problem as problem:
        asked = Asked(unit=unit, conflict=id, alike=alike)
        return await _page(visit, asked, _wrong(problem))
    return _next(visit, unit=unit, alike=alike, conflict=after, done="1")


@router.post("/inbox/held/{id}/release", operation_id="release_on_page")
async def release(
    visit: Posted,
    id: Id,
    kind: Annotated[str, Form(max_length=40)],
    note: Note = "",
    unit: Back = "",
    reason: Back = "",
    after: Back = "",
) -> Response:
    """Releases a held mutation, with corrected fields where some were changed."""
    form = [
        (name, value)
        for name, value in (await visit.request.form()).multi_items()
        if isinstance(value, str)
    ]
    changes = changes_in(kind, form)
    asked = Asked(unit=unit, held=id, reason=reason)
    try:
        body = Release(changes=changes or None, note=note)
        verdict = await inbox.release(visit.request, visit.caller, id, body)
    except Problem as problem:
        return await _page(visit, asked, _wrong(problem), typed_in(form))
    if verdict["outcome"] == "held":
        still = Text("It is still held: {why}", why=verdict.get("detail") or "")
        return await _page(visit, asked, Said(still, True, 422), typed_in(form))
    return _next(visit, unit=unit, reason=reason, held=after, done="1")


@router.post("/inbox/held/{id}/discard", operation_id="discard_on_page")
async def discard(
    visit: Posted,
    id: Id,
    why: Note = "",
    unit: Back = "",
    reason: Back = "",
    after: Back = "",
) -> Response:
    """Discards a held mutation with a reason."""
    try:
        await _discard(visit, id, why)
    except Problem as problem:
        asked = Asked(unit=unit, held=id, reason=reason)
        return await _page(visit, asked, _wrong(problem))
    return _next(visit, unit=unit, reason=reason, held=after, done="1")


@router.post("/inbox/conflicts", operation_id="settle_many_on_page")
async def settle_many(
    visit: Posted,
    choice: Annotated[Literal["kept", "lost"], Form()],
    ids: Ids = [],  # noqa: B006
    note: Note = "",
    unit: Back = "",
    alike: Back = "",
) -> Response:
    """Settles all that are ticked alike."""
    body = Resolution(choice=choice, note=note)

    async def one(id: str) -> None:
        await inbox.resolution(visit.request, visit.caller, id, body)

    done, left = await _each(ids, one)
    return _next(visit, unit=unit, alike=alike if left else "", done=str(done), left=str(left))


@router.post("/inbox/held", operation_id="decide_many_on_page")
async def decide_many(
    visit: Posted,
    decision: Annotated[Literal["release", "discard"], Form()],
    ids: Ids = [],  # noqa: B006
    note: Note = "",
    unit: Back = "",
    reason: Back = "",
) -> Response:
    """Releases or discards all that are ticked."""
    caller = visit.to("release_held")

    async def one(id: str) -> None:
        if decision == "discard":
            return await _discard(visit, id, note)
        verdict = await inbox.release(visit.request, caller, id, Release(note=note))
        if verdict["outcome"] == "held":
            raise Problem(INVALID, verdict.get("detail") or "")

    if decision == "discard" and not note.strip():
        said = _wrong(Problem(INVALID, _NO_REASON))
        return await _page(visit, Asked(unit=unit, reason=reason), said)
    done, left = await _each(ids, one)
    return _next(visit, unit=unit, reason=reason if left else "", done=str(done), left=str(left))


async def _each(ids: Sequence[str], decide: Callable[[str], Awaitable[None]]) -> tuple[int, int]:
    """How many of them could be decided, and how many not."""
    done = left = 0
    for id in dict.fromkeys(ids):
        if not is_uuid(id):
            continue
        try:
            await decide(id)
            done += 1
        except Problem:
            left += 1
    return done, left


async def _discard(visit: Visit, id: str, why: str) -> None:
    if not why.strip():
        raise Problem(INVALID, _NO_REASON)
    await inbox.discard(visit.request, visit.to("discard_held"), id, Discard(reason=why))


_NO_REASON = Text("Say why it is discarded: its author reads that.")


def _wrong(problem: Problem) -> Said:
    return Said(problem.detail, True, problem.type.status)


def _next(visit: Visit, **parameters: str) -> Response:
    given = {name: value for name, value in parameters.items() if value not in ("", "0")}
    return visit.go("/inbox", **given)


async def _page(
    visit: Visit, asked: Asked, said: Said | None, typed: dict[str, str] | None = None
) -> Response:
    conflicts = await _conflicts(visit, asked)
    held = await _held(visit, asked)
    kinds, reasons = view.conflicts_alike(conflicts.items), view.held_alike(held.items)
    shown = [one for one in conflicts.items if asked.alike in ("", view.conflict_key(one))]
    aside = [one for one in held.items if asked.reason in ("", one.reason)]
    first = _opened(shown, asked.conflict)
    other = _opened(aside, asked.held)
    words = await words_of(visit)
    caller = visit.caller
    open_items: list[ConflictOut | HeldOut] = [one for one in (first, other) if one is not None]
    names = await names_of(
        visit,
        [*(one.grid for one in shown), *(one.grid for one in aside), *_codes(open_items)],
        [*_people(shown), *(one.staff_code for one in aside), *_codes(open_items)],
        [
            *((first.kept_device, first.lost_device) if first else ()),
            *((other.device,) if other else ()),
        ],
    )
    return visit.page(
        "inbox.html",
        said.status if said else 200,
        unit=asked.unit,
        asked=asked,
        said=said,
        sees_conflicts=visit.may("list_conflicts"),
        conflict_rows=view.conflict_rows(shown, names, caller),
        conflict_kinds=kinds,
        conflicts_next=conflicts.next,
        conflict=first and view.opened_conflict(first, words, names, visit.language),
        conflict_about=first and await _about(visit, first.kind, first.record),
        held_rows=view.held_rows(aside, names, caller),
        held_reasons=reasons,
        held_next=held.next,
        held_kind=other.kind if other else "",
        held=other and view.opened_held(other, words, names, caller, typed or {}),
        path_up=await path_to(visit, asked.unit) if asked.unit else [],
    )


async def _conflicts(visit: Visit, asked: Asked) -> ConflictPage:
    if not visit.may("list_conflicts"):
        return ConflictPage(items=[], next=None)
    caller, after = visit.to("list_conflicts"), asked.conflicts_after or None
    return await inbox.conflicts(
        visit.request, caller, asked.unit or None, "open", limit=_ROWS, after=after
    )


async def _held(visit: Visit, asked: Asked) -> HeldPage:
    caller, after = visit.to("list_held"), asked.held_after or None
    return await inbox.held(
        visit.request, caller, asked.unit or None, "open", limit=_ROWS, after=after
    )


_Item = TypeVar("_Item", ConflictOut, HeldOut)


def _opened(items: Sequence[_Item], id: str) -> _Item | None:
    return next((one for one in items if one.id == id), items[0] if items else None)


def _codes(items: Sequence[ConflictOut | HeldOut]) -> list[str]:
    return [code for item in items for code in view.codes_in(item)]


def _people(items: Sequence[ConflictOut]) -> list[str]:
    return [code for item in items for code in (item.kept_by, item.lost_by)]


async def _about(visit: Visit, kind: str, record: str) -> dict[str, Any] | None:
    """Which household or problem a conflict is about, read as over REST."""
    try:
        if kind == "household" and visit.may("get_household"):
            found = await households.household(visit.request, visit.to("get_household"), record)
            return {"name": found.head_name or "", "path": f"/visits?household={record}"}
        if kind == "problem" and visit.may("get_problem"):
            case = await problems.problem(visit.request, visit.to("get_problem"), record)
            return {"name": case.title, "path": f"/problems/{record}"}
    except Problem as problem:
        if problem.type is not NOT_FOUND:
            raise
    return None
