"""Party membership in a workbook: yes or no today, or the first and the last day of the last span.
Pure.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from service.imports.cells import Wrong
from service.imports.sheet_check import Spans


def holds_on(spans: Spans, day: str) -> bool:
    """Whether a day lies in one of the spans."""
    return any((first or "") <= day and (end is None or day < end) for first, end in spans)


def spans_wanted(values: Mapping[str, Any], there: Spans, is_member: bool, today: str) -> Spans:
    """The spans that a row asks for of a person who has these, and is a member today or not; where
    it gives no day and there are none, none. Raises `Wrong`.
    """
    given = [values[name] for name in ("party_from", "party_to") if name in values]
    says = values.get("party_member")
    if not (any(given) or (given and there)):
        if not there or says is None or says == is_member:
            return there
        return _from_today(there, today) if says else _until_today(there, today)
    first, end = values.get("party_from"), None
    if values.get("party_to"):
        end = (date.fromisoformat(values["party_to"]) + timedelta(days=1)).isoformat()
    former = there[-1] if there else (None, None)
    if there and first is not None and former[1] is not None and first >= former[1]:
        wanted = [*there, (first, end)]  # they came back
    else:
        if "party_to" not in values and first in (None, former[0]):
            end = former[1]
        wanted = [*there[:-1], (first if "party_from" in values else former[0], end)]
    _refuse_impossible(wanted)
    if says is not None and says != holds_on(wanted, today) and wanted != [*there]:
        raise Wrong("membership-differs")
    return wanted


def _from_today(there: Spans, today: str) -> Spans:
    first, end = there[-1]
    if end is not None and end >= today:
        return [*there[:-1], (first, None)]
    return [*there, (today, None)]


def _until_today(there: Spans, today: str) -> Spans:
    before = [(first, end) for first, end in there if (first or "") < today]
    return [*before[:-1], (before[-1][0], today)] if before else []


def _refuse_impossible(spans: Spans) -> None:
    for first, end in spans:
        if first is not None and end is not None and first >= end:
            raise Wrong("membership-reversed")
    for (_, end), (first, _) in pairwise(spans):
        if end is None or first is None or first < end:
            raise Wrong("membership-overlaps")
