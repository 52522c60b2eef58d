"""What each cadre of a unit did, `/cadres`, and a cadre's own page, `/cadres/{staff_code}`."""

from typing import Annotated, Any, NamedTuple, get_args

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.identity import staff_codes
from service.organisation.units import MaybePeriod
from service.pages.asked import asked, names_of
from service.pages.figures import Shown, shown
from service.pages.glossary import FIGURES
from service.pages.page import Signed, Visit, pages_router
from service.pages.units import path_to
from service.summaries import cadre_report
from service.summaries import cadre_routes as summaries
from service.summaries.cadre_answers import CadreTable
from service.summaries.cadre_report import CadreSummary
from service.summaries.cadre_routes import Sort
from service.vocabulary.keeping import current_reference_data
from sync_protocol.texts import Text, Word

router: APIRouter = pages_router()

COUNTS = ("visits", "problems_raised", "problems_resolved", "problems_overdue")
# How many stand on a page, and on the next when more are asked for.
_SHOWN = (100, 1_000, 10_000)
# Party members alone, others alone, or both.
_GROUPS: dict[str, bool | None] = {"": None, "party": True, "others": False}

Unit = Annotated[str, Query(max_length=20)]
Short = Annotated[str, Query(max_length=40)]


class CadreLine(NamedTuple):
    """A cadre of the table."""

    code: str
    shown_code: str
    name: str
    is_party_member: bool
    unit: str
    numbers: list[Shown]
    median: Shown
    rank: Shown


class GroupLine(NamedTuple):
    """Party members, others, or work that is no cadre's."""

    id: str
    label: Text
    cadres: Shown | None
    numbers: list[Shown]


class Number(NamedTuple):
    """A number of a cadre's page with what it is called."""

    label: Text
    shown: Shown


@router.get("/cadres", operation_id="cadres_page")
async def cadres_page(
    visit: Signed,
    period: MaybePeriod,
    unit: Unit = "",
    sort: Short = "",
    group: Short = "",
    shown: Annotated[int, Query(ge=1, le=_SHOWN[-1])] = _SHOWN[0],
) -> Response:
    """The cadres with work in a unit, by a number."""
    at = asked(visit, unit, period)
    by = _sort(sort)
    table = await summaries.cadres(
        visit.request, visit.caller, at.unit, at.period, by, _GROUPS.get(group), limit=shown
    )
    count = sum(one.cadres for one in table.groups)
    return visit.page(
        "cadres.html",
        unit=at.unit,
        asked=at,
        table=table,
        path_up=await path_to(visit, at.unit),
        columns=[FIGURES[key].label for key in COUNTS],
        keys=COUNTS,
        groups=_groups(table),
        cadres=await _lines(visit, table),
        sort=by,
        group=group if group in _GROUPS else "",
        count=count,
        shown=shown,
        more=next((size for size in _SHOWN if size > shown), None) if count > shown else None,
        has_ranks=any(row.rank is not None for row in table.items),
    )


def _sort(asked_for: str) -> Sort:
    return next((one for one in get_args(Sort) if one == asked_for), "problems_resolved")


async def _lines(visit: Visit, table: CadreTable) -> list[CadreLine]:
    names = await names_of(visit, {row.unit for row in table.items if row.unit is not None})
    return [
        CadreLine(
            row.staff_code,
            row.shown_code,
            row.name,
            row.party_member,
            names.get(row.unit or "", row.unit or ""),
            [shown(key, getattr(row, key)) for key in COUNTS],
            shown("median_hours_to_resolve", row.median_hours_to_resolve),
            shown("rank", row.rank),
        )
        for row in table.items
    ]


def _groups(table: CadreTable) -> list[GroupLine]:
    found = [
        GroupLine(
            "party" if one.party_member else "others",
            Text("Party members") if one.party_member else Text("Others"),
            shown("cadres", one.cadres, "groups."),
            [shown(key, getattr(one, key), "groups.") for key in COUNTS],
        )
        for one in sorted(table.groups, key=lambda one: not one.party_member)
    ]
    rest = [shown(key, getattr(table.unassigned, key), "unassigned.") for key in COUNTS]
    return [*found, GroupLine("unassigned", Text("In nobody's hands"), None, rest)]


@router.get("/cadres/{staff_code}", operation_id="cadre_page")
async def cadre_page(
    visit: Signed,
    period: MaybePeriod,
    staff_code: Annotated[str, Path(max_length=40, pattern=r"^[^\x00-\x1f]+$")],
) -> Response:
    """What one cadre did in a period: of colleagues in one's scope, and of oneself."""
    at = asked(visit, "", period)
    async with visit.state.database.reading() as connection:
        code = await staff_codes.key_of(connection, staff_code)
        roles = (await current_reference_data(connection)).vocabulary.labels(
            "role", min(at.period.last, visit.caller.today)
        )
    found = await cadre_report.cadre_summary(visit.request, visit.caller, code, at.period)
    words = {post.role: _word(roles.get(post.role), post.role) for post in found.posts}
    return visit.page(
        "cadre.html",
        unit=at.unit or None,
        asked=at,
        cadre=found,
        numbers=_numbers(found),
        tied=_tied(found),
        roles=words,
        now=visit.caller.now,
        sees_devices=visit.may("list_devices"),
    )


def _word(label: Any, code: str) -> Word:
    return Word(label.en or label.zh, label.zh) if label else Word(code, code)


def _numbers(found: CadreSummary) -> list[Number]:
    return [
        *(
            Number(FIGURES[key].label, shown(key, getattr(found, key)))
            for key in (*COUNTS, "median_hours_to_resolve")
        ),
        Number(Text("Solutions of others verified"), shown("checks", found.checks)),
    ]


def _tied(found: CadreSummary) -> list[tuple[str, Text, list[Shown]]]:
    """The households tied to a cadre: as a party member's contacts, and as contracted."""
    return [
        (
            name,
            label,
            [
                shown(key, getattr(tied, key), f"{name}.")
                for key in ("households", "visited", "visited_by_member")
            ],
        )
        for name, label, tied in (
            ("contact_households", Text("Contact households"), found.contact_households),
            ("contracted_households", Text("Contracted households"), found.contracted_households),
        )
    ]
