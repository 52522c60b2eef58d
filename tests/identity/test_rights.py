"""The table of rights: every route, every role, one's own unit, the unit above, a sibling, and a
former post.
"""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from service.app import create_app
from service.identity.rights import EDITS, PAGES, REPORTS, ROUTES, WRITES
from service.kit.settings import Settings
from simulator.places import NOW, SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.world import FAR_GRID, GRID, WORKER, World

FAR_WORKER = f"W{FAR_GRID}-1"
SOMEBODY = "SOMEBODY"
WEEK = {"week": "2026-W46"}


class Place(NamedTuple):
    """A unit with something of everything in it."""

    unit: str
    grid: str
    cadre: str
    household: str = ""
    problem: str = ""
    conflict: str = ""
    held: str = ""
    device: str = ""
    article: str = ""
    post: str = ""
    tie: str = ""
    visit: str = ""


class Call(NamedTuple):
    """A request about a place."""

    method: str
    path: str
    query: dict[str, Any] = {}  # noqa: RUF012
    body: Any = None


def calls(place: Place) -> Iterator[tuple[str, Call]]:
    """A request for every route of the table that is about a place, by operation id."""
    unit = {"unit": place.unit}
    yield "list_conflicts", Call("GET", "/v1/conflicts", unit)
    yield "list_held", Call("GET", "/v1/held", unit)
    yield "list_units", Call("GET", "/v1/units", unit)
    yield "list_cadres", Call("GET", "/v1/cadres", unit)
    yield "list_posts", Call("GET", "/v1/posts", unit)
    post = {"role": "village_committee", "unit": place.unit}
    someone = {"staff_code": f"N-{place.unit}", "name": "新人", "posts": [post]}
    yield "hire_cadre", Call("POST", "/v1/cadres", {}, someone)
    yield "list_visits", Call("GET", "/v1/visits", unit)
    yield "list_problems", Call("GET", "/v1/problems", unit)
    yield "list_households", Call("GET", "/v1/households", unit)
    yield "visiting", Call("GET", "/v1/summaries/visiting", unit | WEEK)
    of_year = {"unit": place.unit, "period": "2026"}
    path = "/v1/indicators/income"
    yield "indicator_values", Call("GET", f"{path}/values", unit | {"year": "2026"})
    value = {**of_year, "value": 1}
    yield "report_indicator", Call("PUT", f"{path}/values", {}, value)
    target = {"period": "2026", "target": 1}
    yield "put_indicator_target", Call("PUT", f"{path}/targets/{place.unit}", {}, target)
    yield "list_marks", Call("GET", "/v1/marks", unit)
    yield "put_mark", Call("PUT", f"/v1/marks/{place.unit}", {}, {"mark": "model"})
    yield "list_ties", Call("GET", "/v1/ties", unit)
    yield "list_analyses", Call("GET", "/v1/analyses", unit | WEEK)
    yield (
        "list_monthly_summaries",
        Call("GET", "/v1/monthly-summaries", unit | {"month": "2026-10"}),
    )
    yield "weekly_summary", Call("GET", "/v1/summaries/weekly", unit | WEEK)
    yield "monthly_summary", Call("GET", "/v1/summaries/monthly", unit | {"month": "2026-10"})
    yield "daily_summary", Call("GET", "/v1/summaries/daily", unit | {"day": "2026-10-12"})
    quarter = unit | {"quarter": "2026-Q3"}
    yield "quarterly_summary", Call("GET", "/v1/summaries/quarterly", quarter)
    yield "half_year_summary", Call("GET", "/v1/summaries/half-yearly", unit | {"half": "2026-H1"})
    yield "yearly_summary", Call("GET", "/v1/summaries/yearly", unit | {"year": "2026"})
    yield "period_summary", Call("GET", "/v1/summaries", unit | WEEK)
    yield "summary_trend", Call("GET", "/v1/summaries/trend", unit)
    yield "cadre_table", Call("GET", "/v1/summaries/cadres", unit | WEEK)
    yield "member_table", Call("GET", "/v1/summaries/members", unit | WEEK | {"role": "contact"})
    yield "list_seals", Call("GET", "/v1/summaries/weekly/2026-W46/seal", unit)
    yield "loop", Call("GET", "/v1/loop", unit | WEEK)
    yield "export_ledger", Call("GET", "/v1/exports/weekly.xlsx", unit | WEEK)
    yield "ask_ledger", Call("POST", "/v1/exports/weekly.xlsx", unit | WEEK)
    yield "export_roster", Call("GET", "/v1/exports/roster.xlsx", unit)
    yield "list_webhooks", Call("GET", "/v1/webhooks", unit)
    told = {"name": "w", "events": ["period.closed"], "address": "https://8.8.8.8/", **unit}
    yield "create_webhook", Call("POST", "/v1/webhooks", {}, told)
    yield "list_devices", Call("GET", "/v1/devices", unit)
    yield "list_articles", Call("GET", "/v1/articles", unit)
    yield "seal_summary", Call("POST", "/v1/summaries/weekly/2026-W46/seal", unit)
    yield (
        "unseal_summary",
        Call("DELETE", "/v1/summaries/weekly/2026-W46/seal", unit, {"reason": "x"}),
    )
    yield (
        "create_article",
        Call(
            "POST",
            "/v1/articles",
            {},
            {"unit": place.unit, "kind": "policy", "title": "t", "body": "b"},
        ),
    )
    yield "create_request", Call("POST", "/v1/requests", {}, {"unit": place.unit, "title": "t"})
    yield "list_villages", Call("GET", "/v1/villages", unit)
    yield "village_statistics", Call("GET", "/v1/statistics", unit | WEEK)
    yield "list_audit", Call("GET", "/v1/audit")
    days = "2026-12-01,休,那达慕"
    yield "put_calendar_year", Call("PUT", "/v1/calendar/2026", unit, days)
    yield "delete_calendar_year", Call("DELETE", "/v1/calendar/2026", unit)
    yield "get_unit", Call("GET", f"/v1/units/{place.unit}")
    yield "create_unit", Call("POST", "/v1/units", {}, {"parent": place.unit, "name": "新网格"})
    if not place.household:
        return
    yield "change_unit", Call("PATCH", f"/v1/units/{place.grid}", {}, {"name": "新名"})
    yield (
        "move_unit",
        Call(
            "POST",
            f"/v1/units/{place.grid}/move",
            {},
            {"to": place.unit, "from": str(NOW.date() + timedelta(days=2))},
        ),
    )
    yield (
        "split_unit",
        Call(
            "POST",
            f"/v1/units/{place.grid}/split",
            {},
            {"name": "分网格", "households": [place.household]},
        ),
    )
    beside = place.grid[:-1] + "2"
    yield (
        "move_household",
        Call("POST", f"/v1/households/{place.household}/move", {}, {"to": beside}),
    )
    yield "merge_unit", Call("POST", f"/v1/units/{beside}/merge", {}, {"to": place.grid})
    yield "close_unit", Call("POST", f"/v1/units/{place.grid[:-1]}3/close", {}, {"to": place.grid})
    yield "get_household", Call("GET", f"/v1/households/{place.household}")
    yield (
        "correct_household",
        Call("PATCH", f"/v1/households/{place.household}", {}, {"fields": {"note": "x"}}),
    )
    added = {"grid": place.grid, "fields": {"head_name": "新户"}}
    yield "create_household", Call("POST", "/v1/households", {}, added)
    tie_days = {"valid_from": "2026-12-01"}
    tied = {"household_id": place.household, "cadre": place.cadre, "kind": "contracted"}
    checks = f"/v1/visits/{place.visit}/checks"
    yield "list_visit_checks", Call("GET", checks)
    yield "check_visit", Call("POST", checks, {}, {"finding": "seen"})
    yield "create_tie", Call("POST", "/v1/ties", {}, tied)
    yield "change_tie", Call("PATCH", f"/v1/ties/{place.tie}", {}, tie_days)
    yield "household_duplicates", Call("GET", f"/v1/households/{place.household}/duplicates")
    yield "export_household", Call("GET", f"/v1/households/{place.household}/export")
    yield "record_history", Call("GET", f"/v1/history/household/{place.household}")
    yield "get_problem", Call("GET", f"/v1/problems/{place.problem}")
    yield (
        "take_step",
        Call(
            "POST",
            f"/v1/problems/{place.problem}/steps",
            {},
            {"action": "note", "fields": {"note": "x"}},
        ),
    )
    fields = {"title": "t", "duty": "emergency"}
    yield "raise_problem", Call("POST", "/v1/problems", {}, {"grid": place.grid, "fields": fields})
    yield "weekly_draft", Call("GET", "/v1/drafts/weekly", {"grid": place.grid} | WEEK)
    yield (
        "monthly_draft",
        Call("GET", "/v1/drafts/monthly", {"grid": place.grid, "month": "2026-10"}),
    )
    yield "cadre_summary", Call("GET", f"/v1/cadres/{place.cadre}/summary", WEEK)
    yield (
        "erase_household",
        Call("POST", f"/v1/households/{place.household}/erasure", {}, {"reason": "x"}),
    )
    yield "export_cadre", Call("GET", f"/v1/cadres/{place.cadre}/export")
    yield "get_cadre", Call("GET", f"/v1/cadres/{place.cadre}")
    yield "in_hand", Call("GET", f"/v1/cadres/{place.cadre}/in-hand")
    tie = {"role": "contact", "ids": [place.household]}
    yield "assign_households", Call("POST", f"/v1/cadres/{place.cadre}/households", {}, tie)
    yield (
        "hand_over",
        Call("POST", f"/v1/cadres/{place.cadre}/handover", {}, {"to": f"W{place.grid}-2"}),
    )
    yield "give_post", Call("POST", f"/v1/cadres/{place.cadre}/posts", {}, post)
    yield "change_post", Call("PATCH", f"/v1/posts/{place.post}", {}, {"title": "组长"})
    yield "correct_cadre", Call("PATCH", f"/v1/cadres/{place.cadre}", {}, {"name": "新名"})
    yield "end_sessions", Call("DELETE", f"/v1/cadres/{place.cadre}/sessions")
    yield (
        "set_password",
        Call("PUT", f"/v1/cadres/{place.cadre}/password", {}, {"password": "走访要留痕但不为痕迹"}),
    )
    yield "make_recovery_code", Call("POST", f"/v1/cadres/{place.cadre}/recovery-code")
    yield "reset_otp", Call("DELETE", f"/v1/cadres/{place.cadre}/otp")
    yield "revoke_device", Call("POST", f"/v1/devices/{place.device}/revocation")
    yield (
        "resolve_conflict",
        Call("POST", f"/v1/conflicts/{place.conflict}/resolution", {}, {"choice": "kept"}),
    )
    yield "held_original", Call("GET", f"/v1/held/{place.held}/original")
    yield "discard_held", Call("POST", f"/v1/held/{place.held}/discard", {}, {"reason": "x"})
    yield "release_held", Call("POST", f"/v1/held/{place.held}/release", {}, {})
    yield "erase_cadre", Call("POST", f"/v1/cadres/{place.cadre}/erasure", {}, {"reason": "x"})
    yield "get_article", Call("GET", f"/v1/articles/{place.article}")
    reads = unit | {"year": "2026"}
    yield "article_reads", Call("GET", f"/v1/articles/{place.article}/reads", reads)
    yield "update_article", Call("PATCH", f"/v1/articles/{place.article}", {}, {"title": "u"})
    yield "publish_article", Call("POST", f"/v1/articles/{place.article}/publication")
    yield "withdraw_article", Call("POST", f"/v1/articles/{place.article}/withdrawal")


# Not about a place: for everybody, for anybody signed in, or for devices; each has tests of its
# own.
PLACELESS = {
    *(
        "issue_token",
        "list_keys",
        "healthz",
        "readyz",
        "metrics",
        "who_am_i",
        "change_password",
        "sign_out",
        "sync",
    ),
    *(
        "verify_copy",
        "get_request",
        "list_requests",
        "rate_request",
        "recover_password",
        "list_own_sessions",
        "end_own_sessions",
    ),
    # of the reader's own unit: tests/articles/test_reads.py
    "count_article_reads",
    *("start_otp", "confirm_otp", "renew_otp_codes", "list_levels"),
    # of the whole city: tests/organisation/test_levels.py
    "set_levels",
    # of the whole city: tests/vocabulary, tests/indicators
    *("list_indicators", "put_indicator"),
    *("list_vocabulary", "put_term", "change_term", "get_calendar"),
    # of the whole city: tests/accounts/test_app_accounts.py
    *("list_apps", "create_app", "renew_app_secret", "end_app"),
    # of the reader alone: tests/jobs/test_results.py
    *("list_jobs", "get_job", "get_job_content"),
    # of a webhook by its id: tests/webhooks/test_telling.py
    *("change_webhook", "delete_webhook", "test_webhook", "list_webhook_deliveries"),
    *("replay_webhook", "replay_webhook_delivery"),
    # of whole units and their own tests: tests/imports/test_rest.py
    *("create_import", "list_imports", "get_import", "apply_import", "undo_import"),
}
# Writes that the kind of record decides, beside the table of routes.
KIND_WRITTEN = {
    "raise_problem": "problem",
    "take_step": "step",
    "correct_household": "household",
    "create_household": "household",
    "move_household": "household",
}


def test_every_route_is_in_the_table_and_the_table_has_no_other() -> None:
    app = create_app(Settings(open_docs=True, open_metrics=True))
    document = app.openapi()
    named = [
        route["operationId"] for methods in document["paths"].values() for route in methods.values()
    ]
    assert len(set(named)) == len(named)
    assert set(named) == set(ROUTES)
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    hidden = [
        route for route in routes if isinstance(route, APIRoute) and not route.include_in_schema
    ]
    pages = [route for route in hidden if not route.path.startswith(("/docs", "/redoc"))]
    assert len({route.operation_id for route in pages}) == len(pages)
    assert {route.operation_id for route in pages} == set(PAGES)
    assert set(PAGES.values()) <= set(ROUTES)
    assert not set(PAGES) & set(ROUTES)


def test_every_route_is_walked() -> None:
    place = Place(VILLAGE, GRID, WORKER, *["0" * 36] * 9)
    assert {name for name, _ in calls(place)} | PLACELESS == set(ROUTES)


async def populate(world: World, unit: str, grid: str, worker: str) -> Place:
    """A household, a problem, a conflict, a held mutation, a phone and an article of a village."""
    one, two = world.wire(worker), world.wire(worker)
    house, problem = one.new_id(), one.new_id()
    put = {"grid": grid, "id": house}
    fields = {"title": "t", "duty": "emergency", "raised_at": NOW.isoformat()}
    await one.send(
        one.mutation(1, "household", **put, fields={"head_name": "苏和"}),
        one.mutation(2, "problem", grid=grid, id=problem, fields=fields),
        one.mutation(3, "telegram", grid=grid),
    )
    base = (await world.fetch("SELECT rev FROM household WHERE id = $1", house))[0]["rev"]
    edit = one.mutation(4, "household", **put, base=base, fields={"members": 3})
    await one.send(edit, one.mutation(5, grid=grid))
    await two.send(two.mutation(1, "household", **put, base=base, fields={"members": 4}))
    indicator: dict[str, Any] = {
        **{"name_zh": "收入", "name_en": "income", "measure": "元", "period": "year"},
        **{"level": "village", "aggregate": "sum"},
        "reporters": [*sorted(REPORTS)],
    }
    await ask(
        world, Call("PUT", "/v1/indicators/income", {}, indicator), await world.token("admin")
    )
    [conflict] = await world.fetch("SELECT id::text FROM conflict WHERE record = $1", house)
    [held] = await world.fetch("SELECT id::text FROM held WHERE grid = $1", grid)
    made = await world.post(
        "/v1/articles", {"unit": unit, "kind": "policy", "title": "t", "body": "b"}, "S1502"
    )
    article = made.json()["id"]
    assert (
        await world.post(f"/v1/articles/{article}/publication", None, "S1502")
    ).status_code == 200
    [post] = await world.fetch(
        "SELECT id::text FROM post WHERE staff_code = $1 AND unit = $2", worker, grid
    )
    tied = {"household_id": house, "cadre": worker, "kind": "family"}
    tie = (await world.post("/v1/ties", tied, "admin")).json()["id"]
    [visit] = await world.fetch("SELECT id::text FROM visit WHERE grid = $1 LIMIT 1", grid)
    made_ids = (house, problem, conflict["id"], held["id"], one.device, article, post["id"], tie)
    return Place(unit, grid, worker, *made_ids, visit["id"])


async def appoint(world: World, role: str, unit: str, until: datetime | None = None) -> str:
    """Somebody with one post, and a token."""
    await world.fetch(
        "INSERT INTO cadre SELECT $1, '某人', '', false, password, true FROM cadre"
        " WHERE staff_code = $2",
        SOMEBODY,
        WORKER,
    )
    since = datetime(2020, 1, 1, tzinfo=UTC)
    sql = (
        "INSERT INTO post (id, staff_code, role, unit, valid_from, valid_to)"
        " VALUES ($1, $2, $3, $4, $5, $6)"
    )
    await world.fetch(sql, str(uuid.uuid4()), SOMEBODY, role, unit, since, None)
    token = await world.token(SOMEBODY)  # nobody whose posts have all ended gets a new one
    await world.fetch("UPDATE post SET valid_to = $2 WHERE staff_code = $1", SOMEBODY, until)
    return token


async def ask(world: World, call: Call, token: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return await world.client.request(
        call.method, call.path, params=call.query, json=call.body, headers=headers
    )


def may(name: str, role: str) -> bool:
    """What the table says of a role, a person, for the own unit."""
    right = ROUTES[name]
    if name in KIND_WRITTEN and KIND_WRITTEN[name] not in WRITES[role]:
        return False
    return role in right.roles and role != "app_client"


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_post_gives_what_the_table_says_in_its_unit_and_nothing_elsewhere(
    world: World, role: str
) -> None:
    own = await populate(world, VILLAGE, GRID, WORKER)
    far = await populate(world, FAR_GRID[:12], FAR_GRID, FAR_WORKER)
    token = await appoint(world, role, VILLAGE)
    if role == "contact_member":  # who sees the tied households and what is about them
        await world.fetch(
            "UPDATE household SET contact_member = $2 WHERE id = $1", own.household, SOMEBODY
        )
        await world.fetch(
            "UPDATE problem SET household_id = $2 WHERE id = $1", own.problem, own.household
        )
    for name, call in calls(own):
        status = (response := await ask(world, call, token)).status_code
        if may(name, role):
            assert status < 500, (name, response.text)
            assert status not in (401, 403, 404), (name, role, response.text)
        else:
            assert status in (403, 404), (name, role, response.text)
    for place in (Place(TOWNSHIP, GRID, WORKER), far):
        for name, call in calls(place):
            if name == "list_audit" and may(name, role):
                continue  # the trail is of no unit
            if name in ("get_article",) and may(name, role):
                assert (await ask(world, call, token)).status_code == 404
                continue
            response = await ask(world, call, token)
            assert response.status_code in (403, 404), (name, role, place.unit, response.text)


@pytest.mark.parametrize(
    "role", ["grid_worker", "village_secretary", "supervisor", "admin", "auditor"]
)
async def test_a_former_post_gives_nothing(world: World, role: str) -> None:
    own = await populate(world, VILLAGE, GRID, WORKER)
    token = await appoint(world, role, VILLAGE, until=NOW - timedelta(days=1))
    for name, call in calls(own):
        response = await ask(world, call, token)
        assert response.status_code in (403, 404), (name, response.text)


async def test_what_is_out_of_scope_looks_like_what_does_not_exist(world: World) -> None:
    far = await populate(world, FAR_GRID[:12], FAR_GRID, FAR_WORKER)
    nowhere = str(uuid.uuid4())
    for path in (
        "/v1/households/{}",
        "/v1/problems/{}",
        "/v1/history/household/{}",
        "/v1/articles/{}",
    ):
        id = (
            far.problem
            if "problems" in path
            else far.article
            if "articles" in path
            else far.household
        )
        there = (await world.get(path.format(id), SUPERVISOR)).json()
        absent = (await world.get(path.format(nowhere), SUPERVISOR)).json()
        assert there["detail"].replace(id, "") == absent["detail"].replace(nowhere, ""), path


def test_whoever_edits_articles_reads_them() -> None:
    assert ROUTES["list_articles"].roles >= EDITS
