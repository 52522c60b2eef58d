"""REST passes over nothing in silence: unknown keys, parameters and fields are refused, with what
there is; pages end in bytes.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.app import ROUTERS, create_app
from service.kit.bounded import PAGE_BYTES
from service.kit.settings import Settings
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.identity.test_rights import ask, calls, populate
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

# RFC 6749 asks the token endpoint to pass over parameters that it does not know.
LENIENT_BODIES = {"issue_token"}
AT = "2026-11-20T09:00:00+08:00"


def routes() -> list[tuple[str, str, dict[str, Any]]]:
    document = create_app(Settings()).openapi()
    return [
        (path, method, route)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    ]


def bodies() -> Iterator[tuple[str, type[BaseModel]]]:
    """The body of every route that has one, by operation id."""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for field in route.dependant.body_params:
                yield str(route.operation_id), field.field_info.annotation  # type: ignore[misc]


def test_every_body_refuses_unknown_keys() -> None:
    found = dict(bodies())
    with_bodies = {route["operationId"] for _, _, route in routes() if "requestBody" in route}
    # Those read their bodies themselves: two have tests of their own, one is a list in CSV.
    assert set(found) | {"sync", "verify_copy", "put_calendar_year"} == with_bodies
    for name, model in found.items():
        if name == "put_calendar_year":
            continue
        assert name in LENIENT_BODIES or model.model_config.get("extra") == "forbid", name


async def test_every_route_refuses_an_unknown_query_parameter_and_names_those_it_has(
    world: World,
) -> None:
    own = await populate(world, VILLAGE, GRID, WORKER)
    walked = set()
    for name, call in calls(own):
        response = await ask(
            world,
            call._replace(query={**call.query, "colour": "red"}),
            await world.token(SUPERVISOR),
        )
        assert response.status_code == 422, (name, response.text)
        assert response.json()["unknown"] == ["colour"]
        walked.add(name)
    declared = {route["operationId"]: route for _, _, route in routes()}
    known = (await world.get("/v1/problems", SUPERVISOR, colour="red")).json()["known"]
    assert known == [
        item["name"] for item in declared["list_problems"]["parameters"] if item["in"] == "query"
    ]
    token = await world.token(WORKER, world.wire().device)
    for method, path in (
        ("POST", "/v1/sync"),
        ("GET", "/v1/auth/me"),
        ("GET", "/.well-known/jwks.json"),
        ("POST", "/v1/auth/token"),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        response = await world.client.request(
            method, path, params={"colour": "red"}, headers=headers
        )
        assert (response.status_code, response.json().get("unknown")) == (422, ["colour"]), (
            path,
            response.text,
        )
    assert (await world.client.get("/healthz", params={"colour": "red"})).status_code == 200


async def test_a_parameter_that_is_given_twice_is_refused(world: World) -> None:
    token = await world.token(SUPERVISOR)
    response = await world.client.get(
        "/v1/problems?limit=1&limit=2", headers={"Authorization": f"Bearer {token}"}
    )
    assert response.status_code == 422
    assert "‘limit’" in response.json()["detail"]


async def test_days_of_problems_are_not_passed_over(world: World) -> None:
    """It gave November for January."""
    phone = world.phone()
    at = "2026-11-19T09:00:00+08:00"
    fields = {"title": "t", "duty": "emergency", "raised_at": at}
    phone.put("problem", fields, grid=GRID)
    await phone.sync()
    for month, count in (("01", 0), ("11", 1)):
        days = {"from": f"2026-{month}-01", "to": f"2026-{month}-30"}
        response = await world.get("/v1/problems", SUPERVISOR, **days)
        assert len(response.json()["items"]) == count
    response = await world.get("/v1/problems", SUPERVISOR, since="2026-01-01")
    assert response.status_code == 422
    assert "‘since’" in response.json()["detail"]
    assert "‘cadre’" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("steps", {"action": "assign", "to_cadre": WORKER, "fields": {}}),
        ("steps", {"action": "verify", "satisfied": "yes"}),
        ("steps", {"action": "assign", "fields": {"to_cader": WORKER}}),
        ("steps", {"action": "note", "fields": {"action": "resolve"}}),
        ("problems", {"grid": GRID, "fields": {"title": "t", "duty": "emergency"}, "photos": []}),
        ("problems", {"grid": GRID, "fields": {"titel": "t", "duty": "emergency"}}),
        (
            "articles",
            {"unit": VILLAGE, "kind": "policy", "title": "t", "body": "b", "role": "admin"},
        ),
    ],
)
async def test_what_a_body_says_beside_what_is_known_is_refused_and_nothing_happens(
    world: World, path: str, body: Any
) -> None:
    phone = world.wire()
    problem = phone.mutation(
        1, "problem", fields={"title": "水管", "duty": "emergency", "raised_at": AT}
    )
    await phone.send(problem)
    url = {
        "steps": f"/v1/problems/{problem['id']}/steps",
        "problems": "/v1/problems",
        "articles": "/v1/articles",
    }[path]
    response = await world.post(url, body, SECRETARY)
    assert response.status_code == 422, response.text
    assert await world.fetch("SELECT FROM step") == []
    assert len(await world.fetch("SELECT FROM problem")) == 1


async def test_a_refusal_names_every_unknown_key_and_what_there_is(world: World) -> None:
    body = {"action": "assign", "to_cadre": WORKER, "satisfied": "yes"}
    response = await world.post(
        "/v1/problems/0192f3a1-0000-7000-8000-000000000000/steps", body, SECRETARY
    )
    assert (
        response.json()["detail"]
        == "The body has the unknown keys ‘to_cadre’, ‘satisfied’; it takes ‘id’, ‘action’,"
        " ‘fields’."
    )
    mistyped = {"action": "assign", "fields": {"to_cader": WORKER}}
    response = await world.post(
        "/v1/problems/0192f3a1-0000-7000-8000-000000000000/steps", mistyped, SECRETARY
    )
    assert "‘to_cader’" in response.json()["detail"]
    assert "‘to_cadre’" in response.json()["detail"]


async def test_a_household_cannot_be_moved_or_mistyped_by_a_patch(world: World) -> None:
    [row] = await world.fetch("SELECT id::text FROM household WHERE grid = $1 LIMIT 1", GRID)
    token = await world.token(SECRETARY)
    bodies: list[Any] = [
        {"fields": {"note": "x"}, "grid": FAR_GRID},
        {"fields": {"grid": FAR_GRID}},
        {"fields": {"fone": "1"}},
    ]
    for body in bodies:
        path = f"/v1/households/{row['id']}"
        response = await world.client.patch(
            path, json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert response.status_code == 422, response.text


async def test_a_release_takes_the_fields_of_a_newer_app_but_no_mistyped_ones(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, fields={"visited_at": "昨天", "mood": "good"}))
    [item] = (await world.get("/v1/held")).json()["items"]
    path = f"/v1/held/{item['id']}/release"
    assert (
        await world.post(path, {"fields": {"visited_at": AT, "contnet": "x"}}, SECRETARY)
    ).status_code == 422
    assert (
        await world.post(path, {"fields": {"visited_at": AT, "mood": "good"}}, SECRETARY)
    ).json()["outcome"] == "applied"


# -------------------------------------------------------------------------------------------- pages


async def all_pages(world: World, path: str, **query: Any) -> list[list[Any]]:
    pages = []
    after: dict[str, str] = {}
    while True:
        response = await world.get(path, SECRETARY, **query, **after)
        assert response.status_code == 200, response.text
        assert len(response.content) < PAGE_BYTES * 1.3
        pages.append(response.json()["items"])
        if response.json()["next"] is None:
            return pages
        after = {"after": response.json()["next"]}


async def test_pages_end_in_bytes_and_leave_nothing_out(world: World) -> None:
    phone = world.wire()
    long = "长" * 4000
    visit = phone.mutation(1, fields={"visited_at": AT, "content": "a"})
    seq = iter(range(2, 10_000))
    await phone.send(visit)
    for _ in range(6):
        held = [
            phone.mutation(next(seq), kind="song", fields={"x": "a" * 60_000}) for _ in range(8)
        ]
        visits = [
            phone.mutation(next(seq), fields={"visited_at": AT, "content": long}) for _ in range(40)
        ]
        edits = [
            phone.mutation(next(seq), id=visit["id"], base=1, fields={"content": long[:-n]})
            for n in range(1, 41)
        ]
        for some in (held, visits, edits):
            assert (await phone.send(*some)).status_code == 200
    for path, count in (
        ("/v1/held", 48),
        ("/v1/visits", 241),
        (f"/v1/history/visit/{visit['id']}", 241),
    ):
        pages = await all_pages(world, path, limit=1000)
        assert len(pages) > 1
        assert all(pages)
        found = [
            item.get("id") or f"{item['device']} {item['seq']}" for page in pages for item in page
        ]
        assert len(found) == len({*found}) == count, path
    assert [len(page) for page in await all_pages(world, "/v1/held", limit=20)] == [20, 20, 8]


async def test_a_row_larger_than_a_page_is_a_page(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, kind="song"), phone.mutation(2, kind="song"))
    await world.fetch(
        "UPDATE held SET body = json_build_object('fields', json_build_object('x', repeat('a',"
        " 3000000))) WHERE seq = 2"
    )
    first = (await world.get("/v1/held", SECRETARY)).json()
    assert len(first["items"]) == 1
    assert first["next"]
    second = (await world.get("/v1/held", SECRETARY, after=first["next"])).json()
    assert (len(second["items"]), second["next"]) == (1, None)


async def test_an_unknown_key_is_told_the_keys_that_stand_at_its_place(world: World) -> None:
    """By the names of JSON: the key of a move is `from`, whatever its field is called."""
    cases: list[tuple[str, str, Any, list[str]]] = [
        ("POST", f"/v1/units/{VILLAGE}/move", {"to": TOWNSHIP, "valid_from": "x"}, ["to", "from"]),
        (
            "POST",
            "/v1/cadres",
            {"staff_code": "N1", "name": "x", "posts": [{"rolle": "admin"}]},
            ["role", "unit", "valid_from", "valid_to", "title"],
        ),
    ]
    for method, path, body, known in cases:
        token = await world.token("admin")
        headers = {"Authorization": f"Bearer {token}"}
        answer = await world.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 422, answer.text
        assert answer.json()["known"] == known


async def test_a_parameter_that_is_missing_is_named_with_what_it_may_be(world: World) -> None:
    answer = await world.get("/v1/summaries/members", SUPERVISOR, unit=TOWNSHIP, week="2026-W47")
    assert answer.status_code == 422
    assert "‘role’" in answer.json()["detail"]
    assert "contact" in answer.json()["detail"]
    answer = await world.get("/v1/summaries/members", SUPERVISOR, unit=TOWNSHIP, role="contact")
    assert "week=2026-W47" in answer.json()["detail"]


@pytest.mark.parametrize("name", [" ", "\u3000", "a\x07b", "两\n行"])
async def test_units_and_cadres_need_a_name_that_can_be_read(world: World, name: str) -> None:
    headers = {"Authorization": f"Bearer {await world.token('admin')}"}
    post = {"role": "grid_worker", "unit": GRID}
    for method, path, body in (
        ("POST", "/v1/units", {"parent": VILLAGE, "name": name}),
        ("PATCH", f"/v1/units/{VILLAGE}", {"name_mn": name}),
        ("POST", "/v1/cadres", {"staff_code": "N1", "name": name, "posts": [post]}),
        ("PATCH", f"/v1/cadres/{WORKER}", {"name": name}),
    ):
        answer = await world.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 422, (path, answer.text)
        assert "name" in answer.json()["detail"]
    # Traditional Mongolian has characters inside its words that are not seen.
    body = {"name_mn": "ᠲᠣᠰᠬᠣ\u202fᠶᠢᠨ\u180e"}
    answer = await world.client.patch(f"/v1/units/{VILLAGE}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
