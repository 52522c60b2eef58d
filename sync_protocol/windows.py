"""What a first pull holds: the windows of promise 13, the same on phone and server."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from sync_protocol import lifecycle, periods
from sync_protocol.messages import Change
from sync_protocol.moments import canonical_moment
from sync_protocol.records import (
    ANALYSIS_WEEKS,
    ARTICLE_DAYS,
    CLOSED_PROBLEM_DAYS,
    SUMMARY_MONTHS,
    VISIT_DAYS,
)


class Windows(NamedTuple):
    """The oldest that a first pull still holds, for a day in Asia/Shanghai: wire moments, an ISO
    week and a month.
    """

    visits: str
    closed_problems: str
    week: str
    month: str
    articles: str


def windows_on(today: date) -> Windows:
    """The windows on a day."""
    month = today.replace(day=1)
    for _ in range(SUMMARY_MONTHS):
        month = (month - timedelta(days=1)).replace(day=1)
    return Windows(
        visits=canonical_moment(periods.midnight(today - timedelta(days=VISIT_DAYS))),
        closed_problems=canonical_moment(
            periods.midnight(today - timedelta(days=CLOSED_PROBLEM_DAYS))
        ),
        week=periods.week_of(today - timedelta(weeks=ANALYSIS_WEEKS)),
        month=periods.month_of(month),
        articles=canonical_moment(periods.midnight(today - timedelta(days=ARTICLE_DAYS))),
    )


def in_first_pull(
    changes: Sequence[Change], today: date, own_work_from: str | None = None
) -> set[tuple[str, str]]:
    """`(kind, id)` of the live records of a copy that a first pull on `today` would give;
    `own_work_from`: see `lifecycle.fold`.
    """
    windows = windows_on(today)
    over = _ended_problems(changes, windows.closed_problems, own_work_from)
    shown = set()
    for change in changes:
        if change.deleted:
            continue
        match change.kind:
            case "visit":
                within = change.fields.get("visited_at", "") >= windows.visits
            case "visit_check":
                within = change.fields.get("checked_at", "") >= windows.visits
            case "problem":
                within = change.id not in over
            case "step":
                within = change.fields.get("problem_id") not in over
            case "weekly_analysis":
                within = change.fields.get("week", "") >= windows.week
            case "monthly_summary":
                within = change.fields.get("month", "") >= windows.month
            case "article":
                within = change.fields.get("published_at", "") >= windows.articles
            case "held":
                within = change.fields.get("state") == "open"
            case _:
                within = True
        if within:
            shown.add((change.kind, change.id))
    return shown


def _ended_problems(changes: Iterable[Change], before: str, own_work_from: str | None) -> set[str]:
    """The problems that were closed, rejected or joined before a moment."""
    problems: dict[str, Change] = {}
    steps: dict[str, list[lifecycle.Step]] = {}
    for change in changes:
        if change.kind == "problem":
            problems[change.id] = change
        elif change.kind == "step" and not change.deleted:
            step = lifecycle.Step(
                change.id, change.stamp, change.created_by or change.by, change.fields
            )
            steps.setdefault(str(change.fields.get("problem_id")), []).append(step)
    over = set()
    for problem_id, problem in problems.items():
        some = steps.get(problem_id, ())
        case = lifecycle.fold(
            problem.fields, problem.grid, problem.created_by, some, own_work_from=own_work_from
        )
        if case.ended_at is not None and case.ended_at < before:
            over.add(problem_id)
    return over
