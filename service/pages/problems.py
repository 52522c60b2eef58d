"""Problems: a list with filters, a board by state, and one problem with its timeline and the forms
of its steps: `/problems`, `/problems/{id}`.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query
from fastapi.responses import Response

from service.accounts import routes as accounts
from service.accounts.answers import CadreItem
from service.http.ids import fresh_id
from service.inbox import routes as inbox
from service.kit.errors import NOT_FOUND, Problem
from service.kit.paging import Id
from service.organisation.units import maybe_period
from service.pages import problem_view as view
from service.pages.filters import (
    After,
    FirstDay,
    Flag,
    LastDay,
    Sought,
    StaffCode,
    UnitCode,
    Word,
    day_of,
    sought,
)
from service.pages.names import names_of, words_of
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.step_forms import FORMS, fields_of
from service.pages.units import path_to
from service.problems import routes as problems
from service.problems.answers import NewStep, ProblemDetail, ProblemItem, ProblemPage
from sync_protocol.periods import FIRST_YEAR
from sync_protocol.vocabulary import ACTIONS, SEVERITIES, STATES

router: APIRouter = pages_router()

# Beside the states: those that somebody still has to deal with.
OPEN = "open"
_ROWS, _CARDS, _DONE = 100, 300, 60
_CADRES = 200

State_ = Annotated[str, Query(pattern=f"^({'|'.join(STATES)}|{OPEN})?$")]
Severity = Annotated[str, Query(pattern=f"^({'|'.join(SEVERITIES)})?$")]
Action = Literal[
    "accept", "assign", "handle", "resolve", "verify", "close", "return", "reopen", "escalate",
    "extend", "reject", "join", "note",
]  # fmt: skip
Field = Annotated[str, Form(max_length=200)]


class Asked:
    """The filters that were asked for."""

    def __init__(
        self,
        unit: UnitCode = "",
        state: State_ = "",
        overdue: Flag = "",
        severity: Severity = "",
        duty: Word = "",
        cadre: StaffCode = "",
        text: Sought = "",
        first: FirstDay = "",
        last: LastDay = "",
        by: Literal["raised", "resolved", "due"] = "raised",
    ) -> None:
        self.unit, self.state, self.overdue, self.severity = unit, state, overdue, severity
        self.duty, self.cadre, self.text = duty, cadre, text
        self.first, self.last, self.by = first, last, by

    async def read(
        self, visit: Visit, limit: int, after: str | None = None, **also: Any
    ) -> ProblemPage:
        """The problems, by the route of REST."""
        first, last = day_of(self.first), day_of(self.last)
        if first and not last:
            last = max(first, visit.caller.today)
        if last and not first:
            first = last.replace(year=FIRST_YEAR, month=1, day=1)
        given: dict[str, Any] = {
            "state": self.state if self.state not in ("", OPEN) else None,
            "open": True if self.state == OPEN else None,
        }
        return await problems.problems(
            visit.request,
            visit.to("list_problems"),
            self.unit or None,
            **(given | also),
            overdue=True if self.overdue else None,
            severity=self.severity or None,
            duty=self.duty or None,
            cadre=sought(self.cadre),
            text=sought(self.text),
            period=maybe_period(first=first, last=last),
            by=self.by,
            limit=limit,
            after=after,
        )


@router.get("/problems", operation_id="problems_page")
async def problems_page(
    visit: Signed,
    unit: UnitCode = "",
    view: Literal["list", "board"] = "list",
    state: State_ = "",
    overdue: Flag = "",
    severity: Severity = "",
    duty: Word = "",
    cadre: StaffCode = "",
    text: Sought = "",
    first: FirstDay = "",
    last: LastDay = "",
    by: Literal["raised", "resolved", "due"] = "raised",
    after: After = "",
) -> Response:
    """Problems of a unit, as a list or as a board by state."""
    asked = Asked(unit, state, overdue, severity, duty, cadre, text, first, last, by)
    return await (_board(visit, asked) if view == "board" else _list(visit, asked, after))


async def _list(visit: Visit, asked: Asked, after: str) -> Response:
    found = await asked.read(visit, _ROWS, after or None)
    return await _page(visit, asked, found.items, next=found.next, columns=None)


async def _board(visit: Visit, asked: Asked) -> Response:
    # Those that wait for somebody, and those whose resolution waits to be verified.
    waiting = await asked.read(visit, _CARDS, state=None, open=True)
    resolved = await asked.read(visit, _DONE, state="resolved", open=None)
    items = [*waiting.items, *resolved.items]
    columns = view.columns_of(items)
    is_cut = waiting.next is not None or resolved.next is not None
    return await _page(visit, asked, items, next=None, columns=columns, is_cut=is_cut)


async def _page(visit: Visit, asked: Asked, items: list[ProblemItem], **also: Any) -> Response:
    words = await words_of(visit)
    names = await names_of(
        visit,
        [code for item in items for code in (item.grid, item.handler_unit)],
        [code for item in items for code in (item.raised_by, item.handler_cadre)],
    )
    return visit.page(
        "problem_list.html",
        unit=asked.unit,
        asked=asked,
        rows={item.id: view.row_of(item, words, names) for item in items},
        words=words,
        path_up=await path_to(visit, asked.unit) if asked.unit else [],
        **({"is_cut": False} | also),
    )


@router.get("/problems/{id}", operation_id="problem_page")
async def problem_page(
    visit: Signed, id: Id, step: Annotated[str, Query(max_length=36)] = ""
) -> Response:
    """A problem with its timeline, and the steps that are allowed. `step`: the one just taken."""
    found = await problems.problem(visit.request, visit.to("get_problem"), id)
    return await _case(visit, found, view.outcome_of(found, step))


@router.post("/problems/{id}/{action}", operation_id="take_step_on_page")
async def take_step(
    visit: Posted,
    id: Id,
    action: Action,
    step: Annotated[str, Form(max_length=36)] = "",
    note: Annotated[str, Form(max_length=4000)] = "",
    to_unit: Field = "",
    to_cadre: Field = "",
    satisfied: Field = "",
    reason: Field = "",
    until: Field = "",
    duplicate_of: Field = "",
    answer: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Takes a step, and shows the problem again with what came of it."""
    typed = {"note": note, "to_unit": to_unit, "to_cadre": to_cadre, "satisfied": satisfied}
    typed |= {"reason": reason, "until": until, "duplicate_of": duplicate_of}
    typed["answer"] = answer
    try:
        body = NewStep(id=step or None, action=action, fields=fields_of(action, typed))
        found = await problems.take_step(visit.request, visit.to("take_step"), id, body)
    except Problem as problem:
        if problem.type is NOT_FOUND:
            raise
        found = await problems.problem(visit.request, visit.to("get_problem"), id)
        said = view.Said(problem.detail, True)
        return await _case(visit, found, said, problem.type.status, {action: typed})
    if not visit.caller.reaches(found.grid):
        # It was assigned from elsewhere, and the step may have given it back.
        return visit.go("/problems")
    return visit.go(f"/problems/{id}", step=step or found.steps[-1].id)


async def _case(
    visit: Visit,
    found: ProblemDetail,
    said: "view.Said | None",
    status: int = 200,
    typed: dict[str, dict[str, str]] | None = None,
) -> Response:
    lost = await _lost(visit, found.id)
    above = visit.caller.tree.above(found.grid, visit.caller.today)
    cadres = await _cadres(visit, above) if "assign" in found.next_actions else []
    words = await words_of(visit)
    names = await names_of(
        visit,
        [found.grid, found.handler_unit, *above, *view.values_of(found, "to_unit")],
        [
            *(found.raised_by, found.handler_cadre, found.resolved_by),
            *view.values_of(found, "to_cadre"),
            *(code for item in lost for code in (item.kept_by, item.lost_by)),
        ],
        [step.device for step in found.steps],
    )
    return visit.page(
        "problem_case.html",
        status,
        unit=None,
        case=view.case_of(found, words, names),
        id=found.id,
        from_app=found.source == "app",
        said=said,
        timeline=view.timeline_of(found, words, names),
        lost=view.lost_of(lost, words, names, visit.language),
        forms=[FORMS[action] for action in ACTIONS if action in found.next_actions],
        typed=typed or {},
        step=fresh_id(visit.request, visit.caller.now),
        words=words,
        units=[(code, names.unit(code)) for code in above],
        cadres=cadres,
    )


async def _cadres(visit: Visit, above: list[str]) -> list[CadreItem]:
    """Those with a post in the village of the problem, to whom it may be assigned."""
    if not above or not visit.may("list_cadres"):
        return []
    caller = visit.to("list_cadres")
    if not caller.reaches(above[0]):
        return []
    return (await accounts.cadres(visit.request, caller, above[0], limit=_CADRES)).items


async def _lost(visit: Visit, id: str) -> list[Any]:
    """The values of the problem that lost to others."""
    if not visit.may("list_conflicts"):
        return []
    caller = visit.to("list_conflicts")
    return (await inbox.conflicts(visit.request, caller, kind="problem", record=id)).items
