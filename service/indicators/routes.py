"""Indicators 指标: `/v1/indicators`, their values and targets."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.identity.rights import REPORTS
from service.indicators import queries
from service.indicators.answers import (
    IndicatorItem,
    IndicatorList,
    NewIndicator,
    NewTarget,
    NewValue,
    TargetOut,
    ValueItem,
    Values,
)
from service.indicators.values import read_values
from service.kit.database import Connection, retry_on_conflict
from service.kit.errors import HELD, INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.state import state_of
from service.organisation.units import (
    AskedPeriod,
    AsOf,
    UnitCode,
    in_scope,
    named_period,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
)
from service.summaries.queries import unit_and_children
from service.vocabulary.changes import Changes, begins
from service.vocabulary.indicators import LIST, Indicator, indicator_on, indicators_on
from service.vocabulary.keeping import current_reference_data, read_reference_data
from service.vocabulary.terms import WORD_PATTERN, Term
from service.writes.server_writes import refuse_held, write_as_cadre
from sync_protocol import periods
from sync_protocol.ids import indicator_value_id
from sync_protocol.messages import Mutation
from sync_protocol.periods import Period, kind_of
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/indicators", tags=["indicators"])

Code = Annotated[str, Path(pattern=WORD_PATTERN, max_length=40, examples=["collective_income"])]
_MISSING = 100


@router.get(
    "",
    summary="What is reported of units",
    operation_id="list_indicators",
    responses=documented(*READING),
)
async def list_indicators(
    request: Request,
    caller: Signed,
    on: Annotated[date | None, Query(description="As of this day; today if left out")] = None,
) -> IndicatorList:
    """The indicators that hold on a day."""
    async with state_of(request).database.reading() as connection:
        data = await current_reference_data(connection)
    found = indicators_on(data.vocabulary, on or caller.today)
    return IndicatorList(items=[_item(one) for one in found])


def _item(one: Indicator) -> IndicatorItem:
    values = one._asdict() | {"reporters": list(one.reporters)}
    if one.valid_from == date.min:
        values["valid_from"] = None
    return IndicatorItem(**values)


@router.put(
    "/{code}",
    summary="Write an indicator from a day on",
    operation_id="put_indicator",
    responses=documented(*READING, NOT_NOW),
)
async def put_indicator(
    request: Request, caller: Signed, code: Code, body: NewIndicator
) -> IndicatorItem:
    """It reaches phones with the vocabulary. What was reported stays as it was."""
    state = state_of(request)
    _refuse(caller, body)
    values = body.model_dump(include={"name_zh", "name_en", "measure", "period", "level"})
    wanted = Indicator(
        code,
        **values,
        aggregate=body.aggregate,
        reporters=tuple(body.reporters),
        target=body.target,
    )

    async def write() -> IndicatorItem:
        async with state.database.unhurried.transaction() as connection:
            data = await read_reference_data(connection)
            changes = Changes(connection, state.settings, caller)
            known = data.vocabulary.edited.get(LIST, {}).get(code)
            place = body.position
            if place is None:
                place = known[-1].position if known else changes.next_position(data, LIST)
            first = body.valid_from or caller.today
            term = Term(
                *(LIST, code, body.name_zh.strip(), body.name_en.strip(), None, place),
                *(first, body.valid_to, wanted.attributes()),
            )
            written = await changes.put(LIST, term)
            await queries.open_feeds(connection, body.level)
            await note(connection, request, caller, "indicator-written", [code], 1)
            ends = next(one.valid_to for one in written.terms if begins(one) == first)
            return _item(wanted._replace(valid_from=first, valid_to=ends))

    return await retry_on_conflict(write)


def _refuse(caller: Caller, body: NewIndicator) -> None:
    if body.level not in caller.tree.levels:
        raise Problem(
            INVALID,
            Text(
                "level: there is no level ‘{level}’; there are {levels}.",
                level=body.level,
                levels=", ".join(caller.tree.levels),
            ),
        )
    unknown = sorted({*body.reporters} - REPORTS)
    if unknown:
        raise Problem(
            INVALID,
            Text(
                "reporters: ‘{role}’ reports no indicators; those who may: {roles}.",
                role=unknown[0],
                roles=", ".join(sorted(REPORTS)),
            ),
        )


async def _known(connection: Connection, code: str, day: date) -> Indicator:
    data = await current_reference_data(connection)
    found = indicator_on(data.vocabulary, code, day)
    if found is None:
        raise Problem(
            NOT_FOUND, Text("There is no indicator ‘{code}’ on {day}.", code=code, day=day)
        )
    return found


def _refuse_period(one: Indicator, period: Period) -> None:
    kind = kind_of(period.name)
    if kind != one.period:
        raise Problem(
            INVALID,
            Text(
                "The indicator ‘{code}’ is reported for each {period}; ‘{name}’ is none.",
                code=one.code,
                period=one.period,
                name=period.name,
            ),
        )


@router.get(
    "/{code}/values",
    summary="An indicator of a unit and a period",
    operation_id="indicator_values",
    responses=documented(*READING),
)
async def values(
    request: Request,
    caller: Signed,
    code: Code,
    unit: UnitCode,
    period: AskedPeriod,
    as_of: AsOf = "period",
    limit: Annotated[int, Query(ge=1, le=10_000, description="Values at most")] = 1000,
) -> Values:
    """The value and what is left of the target, unit by unit, and who has not reported. The period
    is of the kind for which the indicator is reported.
    """
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, period)
        one = await _known(connection, code, caller.today)
        _refuse_period(one, period)
        [of_unit] = await read_values(connection, on, [one], period)
        children = (await unit_and_children(connection, unit, on.children))[1:]
        shown = of_unit.items()[:limit]
        await note(connection, request, caller, "indicator", [code, unit, period.name], len(shown))
    missing = of_unit.missing
    return Values(
        indicator=_item(one),
        unit=unit_out(found),
        period=period_out(period),
        tree_day=on.day,
        **of_unit.part(of_unit.codes),
        missing_count=len(missing),
        missing=missing[:_MISSING],
        below=of_unit.below(on, children),
        items=shown,
    )


@router.put(
    "/{code}/values",
    summary="Report a value",
    operation_id="report_indicator",
    responses=documented(*READING, HELD),
)
async def report(request: Request, caller: Signed, code: Code, body: NewValue) -> ValueItem:
    """A mutation of the cadre's server-side device, like those of phones: one value for a unit and
    a period, whoever reports it.
    """
    state = state_of(request)
    period = named_period(periods.named, body.period)
    in_scope(caller, body.unit)
    id = indicator_value_id(body.unit, code, period.name)
    fields: dict[str, Any] = {"indicator": code, "period": period.name, "value": body.value}
    fields |= {name: getattr(body, name) for name in ("source", "note") if getattr(body, name)}
    if body.evidence:
        fields["evidence"] = {"add": sorted({*body.evidence})}

    async def write() -> ValueItem:
        async with state.database.transaction() as connection:
            one = await _known(connection, code, caller.today)
            base = await queries.value_rev(connection, id)
            mutation = Mutation(0, "indicator_value", id, body.unit, base=base, fields=fields)
            verdict = await write_as_cadre(connection, state.settings, caller, mutation)
            refuse_held(verdict)
            await note(connection, request, caller, "indicator-reported", [code, body.unit], 1)
            on = unit_on(caller, body.unit, "today", period)
            [of_unit] = await read_values(connection, on, [one], period)
            return next(item for item in of_unit.items() if item.unit.code == body.unit)

    return await retry_on_conflict(write)


@router.put(
    "/{code}/targets/{unit}",
    summary="Set what a unit is to reach",
    operation_id="put_indicator_target",
    responses=documented(*READING),
)
async def put_target(
    request: Request,
    caller: Signed,
    code: Code,
    unit: Annotated[str, Path(pattern=r"^\d{4,15}$")],
    body: NewTarget,
) -> TargetOut:
    """In place of what the indicator says for all."""
    period = named_period(periods.named, body.period)
    in_scope(caller, unit)
    async with state_of(request).database.transaction() as connection:
        one = await _known(connection, code, caller.today)
        _refuse_period(one, period)
        level = caller.tree.level(unit)
        if level is None or level.slug != one.level or unit not in caller.tree.units:
            raise Problem(
                INVALID,
                Text(
                    "The indicator ‘{code}’ is reported by units of the level {level}; ‘{unit}’"
                    " is none.",
                    code=code,
                    level=one.level,
                    unit=unit,
                ),
            )
        await queries.put_target(
            connection, code, period.name, unit, body.target, caller.staff_code, caller.now
        )
        subjects = [code, unit, period.name]
        await note(connection, request, caller, "indicator-target-set", subjects, 1)
    return TargetOut(indicator=code, unit=unit, period=period.name, target=body.target)
