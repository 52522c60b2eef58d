"""What stands against the value of an indicator: the indicator says of which periods and units it
is, and who reports it. Pure.
"""

from service.organisation.tree import Tree
from service.vocabulary.indicators import indicator_on
from service.vocabulary.terms import Vocabulary
from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from service.writes.validities import Validities
from sync_protocol.periods import kind_of, local_day
from sync_protocol.record_state import Record
from sync_protocol.records import INDICATOR_VALUE
from sync_protocol.texts import Text


def against_value(
    vocabulary: Vocabulary,
    tree: Tree,
    validities: Validities,
    item: PreparedMutation,
    record: Record | None,
) -> HoldReason | None:
    """A value that is written or changed. What stands never becomes wrong: the indicator may have
    ended, or be another by now.
    """
    fields = {**(record.fields if record is not None else {}), **item.fields}
    code, period, unit = fields.get("indicator"), fields.get("period"), item.mutation.grid
    if item.override or code is None or period is None:
        return None
    found = indicator_on(vocabulary, code, local_day(item.moment))
    if found is None:
        return HoldReason(
            "fields-wrong",
            Text(
                "There was no indicator ‘{code}’ on {day}; see /v1/indicators.",
                code=code,
                day=local_day(item.moment),
            ),
        )
    level = tree.level(unit)
    if kind_of(period) != found.period or level is None or level.slug != found.level:
        return HoldReason(
            "fields-wrong",
            Text(
                "The indicator ‘{code}’ is reported by units of the level {level} for each"
                " {period}; ‘{name}’ of {unit} is none.",
                code=code,
                level=found.level,
                period=found.period,
                name=period,
                unit=unit,
            ),
        )
    posts = validities.at(item.author, INDICATOR_VALUE.name, unit, item.judged_at)
    if item.decider is None and not any(post.role in found.reporters for post in posts):
        return HoldReason(
            "not-allowed",
            Text(
                "{cadre} does not report the indicator ‘{code}’ of {unit}; those who do: {roles}.",
                cadre=item.author.staff_code,
                code=code,
                unit=unit,
                roles=", ".join(found.reporters),
            ),
        )
    return None
