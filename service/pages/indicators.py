"""The targets of villages: `/indicators`, all of a unit and a period, and `/indicators/{code}`, one
of them; with the villages that are marked as model, weak or lagging, and their plans.
"""

from itertools import zip_longest
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.identity.rights import REPORTS
from service.indicators import mark_routes
from service.indicators import routes as indicators
from service.indicators.answers import IndicatorItem, NewMark, NewTarget, NewValue, PlanStep, Values
from service.kit.errors import INVALID, NOT_FOUND, Problem
from service.organisation.units import MaybePeriod, named_period
from service.pages import indicators_view as view
from service.pages.asked import Asked, asked
from service.pages.forms import NOTHING, Typed, carried_out, made, number_of
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.periods import changes
from service.pages.units import path_to
from sync_protocol import periods
from sync_protocol.periods import Period, kind_of
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import MARKS

router: APIRouter = pages_router()

_MARKS = 50
_VALUES = 500
_EMPTY_STEPS = 3
UnitCode = Annotated[str, Query(max_length=20, pattern=r"^\d*$")]
Short = Annotated[str, Query(max_length=40)]
Code = Annotated[str, Path(max_length=40, pattern=r"^[a-z][a-z0-9_]*$")]
After = Annotated[str | None, Query(max_length=500)]
DONE: dict[str, Text] = {
    "reported": Text("The value is reported."),
    "target": Text("The target is set."),
    "marked": Text("The mark is kept with its plan."),
}


@router.get("/indicators", operation_id="indicators_page")
async def indicators_page(
    visit: Signed,
    period: MaybePeriod,
    unit: UnitCode = "",
    mark: Short = "",
    after: After = None,
    done: Short = "",
) -> Response:
    """All indicators of a unit and a period, and its marked villages."""
    return await _page(visit, unit, period, mark=mark, after=after, notice=DONE.get(done))


async def _listed(visit: Visit) -> list[IndicatorItem]:
    found = await indicators.list_indicators(visit.request, visit.to("list_indicators"))
    return found.items


async def _page(
    visit: Visit, unit: str, period: Period | None, typed: Typed = NOTHING, **told: Any
) -> Response:
    items = await _listed(visit)
    kinds = [kind for kind in view.KINDS if any(one.period == kind for one in items)] or ["year"]
    at = asked(visit, unit, period, kinds, under_way=True)
    of_kind = [one for one in items if one.period == at.kind]
    every = [
        await indicators.values(visit.request, visit.to("indicator_values"), one.code, at.unit,
                                at.period)
        for one in of_kind
    ]  # fmt: skip
    given: dict[str, Any] = {"mark": "", "after": None, "notice": None} | told
    mark: Any = given["mark"] if given["mark"] in MARKS else ""
    found = await mark_routes.list_marks(
        visit.request,
        visit.to("list_marks"),
        at.unit,
        mark or None,
        limit=_MARKS,
        after=given["after"],
    )
    path_up = await path_to(visit, at.unit)
    return visit.page(
        "indicators.html",
        unit=at.unit,
        asked=at,
        path_up=path_up,
        unit_name=path_up[-1].name,
        indicators=[(one, view.name_of(one)) for one in of_kind],
        has_any=bool(items),
        wholes=[view.whole_of(values) for values in every],
        missing=[values.missing_count for values in every],
        rows=view.rows_of(every),
        each=view.EACH,
        marks=[view.marked(item, visit.caller.today) for item in found.items],
        counts=[(name, _mark_word(name), found.units.get(name, 0)) for name in MARKS],
        mark=mark,
        further=found.next,
        after=given["after"],
        notice=given["notice"],
        may_mark=_is_marked_level(visit, at.unit, items) and visit.may_at("put_mark", at.unit),
        mark_words=[(name, _mark_word(name)) for name in MARKS],
        empty_steps=range(_EMPTY_STEPS),
        today=visit.caller.today,
        typed=typed,
    )


def _mark_word(name: str) -> Word:
    return Word(MARKS[name].en, MARKS[name].zh)


def _is_marked_level(visit: Visit, unit: str, items: list[IndicatorItem]) -> bool:
    """Whether a unit is like those that are marked: villages, or what indicators are told of."""
    level = visit.caller.tree.level(unit)
    return level is not None and level.slug in {"village", *(one.level for one in items)}


@router.post("/indicators/marks", operation_id="mark_on_page")
async def mark_unit(visit: Posted) -> Response:
    """Marks a unit from a day on, with the whole plan."""

    async def work(typed: Typed) -> Response:
        unit = typed.get("unit")
        body = made(
            NewMark,
            mark=typed.get("mark"),
            valid_from=typed.day("valid_from"),
            valid_to=typed.day("valid_to"),
            note=typed.get("note") or None,
            plan=_plan(typed),
        )
        if not (unit.isdecimal() and len(unit) <= 15):
            raise Problem(NOT_FOUND, Text("There is no unit ‘{unit}’.", unit=unit[:20]))
        await mark_routes.put_mark(visit.request, visit.caller, unit, body)
        return visit.go("/indicators", unit=unit, done="marked")

    async def again(typed: Typed) -> Response:
        form = f"mark {typed.get('was')}".strip()
        return await _page(visit, typed.get("unit")[:20], None, typed._replace(form=form))

    return await carried_out(visit, "mark", work, again)


def _plan(typed: Typed) -> list[PlanStep]:
    """The steps of a form; rows without a text are passed over."""
    rows = zip_longest(typed.all("due"), typed.all("text"), typed.all("done_on"), fillvalue="")
    return [
        made(PlanStep, due=due, text=text, done_on=done_on or None)
        for due, text, done_on in rows
        if text
    ]


@router.get("/indicators/{code}", operation_id="indicator_page")
async def indicator_page(
    visit: Signed, code: Code, period: MaybePeriod, unit: UnitCode = "", done: Short = ""
) -> Response:
    """An indicator of a unit: the units below, what was reported, and who has not."""
    return await _one(visit, code, unit, period, notice=DONE.get(done))


async def _one(
    visit: Visit,
    code: str,
    unit: str,
    period: Period | None,
    typed: Typed = NOTHING,
    notice: Text | None = None,
) -> Response:
    item = next((one for one in await _listed(visit) if one.code == code), None)
    if item is None:
        raise Problem(NOT_FOUND, Text("There is no indicator ‘{code}’ today.", code=code))
    if period is not None and kind_of(period.name) != item.period:
        period = None
    at: Asked = asked(visit, unit, period, (item.period,), under_way=True)
    values: Values = await indicators.values(
        visit.request, visit.to("indicator_values"), code, at.unit, at.period, limit=_VALUES
    )
    level = visit.caller.tree.level(at.unit)
    is_reported_here = level is not None and level.slug == item.level
    roles = frozenset(item.reporters) & REPORTS
    return visit.page(
        "indicator.html",
        unit=at.unit,
        asked=at,
        path_up=await path_to(visit, at.unit),
        found=values,
        item=item,
        name=view.name_of(item),
        whole=view.whole_of(values),
        below=[view.part_of(one.unit.code, one.unit.name, one) for one in values.below],
        lines=[view.line_of(one) for one in values.items],
        each=view.EACH[item.period],
        aggregate=view.AGGREGATES[item.aggregate],
        own=next((one for one in values.items if one.unit.code == at.unit), None),
        may_report=is_reported_here and visit.caller.holds(roles, at.unit),
        may_target=is_reported_here and visit.may_at("put_indicator_target", at.unit),
        amount=view.amount,
        notice=notice,
        typed=typed,
    )


@router.post("/indicators/{code}/report", operation_id="report_on_page")
async def report(visit: Posted, code: Code) -> Response:
    """Reports a value of a unit for a period."""

    async def work(typed: Typed) -> Response:
        value = number_of(typed, "value")
        if value is None:
            raise Problem(INVALID, "Type the value that is reported.")
        body = made(NewValue, **typed.only("unit", "period", "source", "note"), value=value)
        await indicators.report(visit.request, visit.caller, code, body)
        return _back(visit, code, body.unit, body.period, "reported")

    return await carried_out(
        visit, "indicator-report", work, lambda typed: _again(visit, code, typed)
    )


@router.post("/indicators/{code}/target", operation_id="target_on_page")
async def target(visit: Posted, code: Code) -> Response:
    """Sets what a unit is to reach; left empty, what the indicator says for all."""

    async def work(typed: Typed) -> Response:
        body = made(NewTarget, period=typed.get("period"), target=number_of(typed, "target"))
        unit = typed.get("unit")
        await indicators.put_target(visit.request, visit.caller, code, unit, body)
        return _back(visit, code, unit, body.period, "target")

    return await carried_out(
        visit, "indicator-target", work, lambda typed: _again(visit, code, typed)
    )


def _again(visit: Visit, code: str, typed: Typed) -> Any:
    try:
        period = named_period(periods.named, typed.get("period"))
    except Problem:
        period = None
    return _one(visit, code, typed.get("unit")[:20], period, typed)


def _back(visit: Visit, code: str, unit: str, period: str, done: str) -> Response:
    named = changes(named_period(periods.named, period))
    given = {name: str(value) for name, value in named.items() if value}
    return visit.go(f"/indicators/{code}", unit=unit, done=done, **given)
