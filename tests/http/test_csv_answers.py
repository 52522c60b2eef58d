"""Lists and summaries as CSV: whole, with the columns of the JSON answer, for spreadsheets."""

import csv
import io
from typing import Any

import httpx
import pytest

from simulator.places import SUPERVISOR, TOWNSHIP
from tests.world import GRID, World


async def as_csv(world: World, path: str, /, **query: Any) -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {await world.token(SUPERVISOR)}",
        "Accept": "application/json" if path.endswith(".csv") else "text/csv",
    }
    return await world.client.get(path, params=query, headers=headers)


def rows_of(response: httpx.Response) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


async def test_a_list_is_given_whole_however_many_pages_it_has(world: World) -> None:
    phone = world.phone()
    for number in range(230):
        fields = {
            "visited_at": "2026-11-19T09:00:00+08:00",
            "content": f'=1+{number}, "引号"',
            "duties": {"add": ["emergency", "public_order"]},
        }
        phone.put("visit", fields, grid=GRID)
    await phone.sync()
    rows = rows_of(await as_csv(world, "/v1/visits.csv", unit=GRID))
    assert len({row["id"] for row in rows}) == len(rows) == 230
    first = (await world.get("/v1/visits", unit=GRID, limit=1)).json()["items"][0]
    assert set(rows[0]) == set(first)
    assert rows[0]["content"] == "'" + first["content"]  # no formula
    assert rows[0]["duties"].split() == first["duties"]
    assert rows == rows_of(await as_csv(world, "/v1/visits", unit=GRID))
    assert len(rows_of(await as_csv(world, "/v1/visits.csv", unit=GRID, limit=7))) == 7
    headers = {"Authorization": f"Bearer {await world.token(SUPERVISOR)}"}
    head = await world.client.head("/v1/visits.csv", params={"unit": GRID}, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    trail = await world.fetch("SELECT count FROM audit WHERE action = 'visits' ORDER BY at")
    assert sum(row["count"] for row in trail) >= 460


async def test_summaries_trends_and_cadres_have_a_line_a_unit_or_cadre(world: World) -> None:
    phone = world.phone()
    phone.put("visit", {"visited_at": "2026-11-19T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    query = {"unit": TOWNSHIP, "week": "2026-W47"}
    answer = (await world.get("/v1/summaries/weekly", **query)).json()
    rows = rows_of(await as_csv(world, "/v1/summaries/weekly.csv", **query))
    assert [row["unit.code"] for row in rows] == [
        TOWNSHIP,
        *(row["unit"]["code"] for row in answer["units"]),
    ]
    assert [int(row["totals.visits"]) for row in rows] == [
        1,
        *(row["totals"]["visits"] for row in answer["units"]),
    ]
    rows = rows_of(
        await as_csv(world, "/v1/summaries/trend.csv", unit=TOWNSHIP, count=3, below=True)
    )
    assert len(rows) == 3 * (1 + len(answer["units"]))
    rows = rows_of(await as_csv(world, "/v1/summaries/cadres.csv", **query))
    assert [(row["staff_code"], row["visits"]) for row in rows] == [(f"W{GRID}-1", "1")]


async def test_an_empty_list_has_its_columns(world: World) -> None:
    response = await as_csv(world, "/v1/problems.csv", unit=GRID)
    assert rows_of(response) == []
    assert "handler_unit" in response.content.decode("utf-8-sig").splitlines()[0].split(",")


async def test_what_is_refused_or_lists_nothing_is_no_csv(world: World) -> None:
    refused = await as_csv(world, "/v1/visits.csv", unit="15")
    assert refused.status_code == 404
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await as_csv(world, "/v1/visits.csv", nonsense="1")).status_code == 422
    assert (await as_csv(world, "/v1/me.csv")).status_code == 404
    assert (await world.client.get("/v1/visits.csv")).status_code == 401
    plain = await as_csv(world, f"/v1/units/{TOWNSHIP}")
    assert plain.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("TEXT/CSV", True),
        ("application/json;q=0.5, text/csv", True),
        ("text/csv;q=0", False),
        ("text/csv;q=0.1, application/json;q=0.9", False),
        ("*/*", False),
    ],
)
async def test_what_a_client_prefers_decides(world: World, accept: str, is_csv: bool) -> None:
    headers = {"Authorization": f"Bearer {await world.token(SUPERVISOR)}", "Accept": accept}
    answer = await world.client.get("/v1/visits", params={"unit": GRID}, headers=headers)
    assert answer.headers["content-type"].startswith("text/csv") == is_csv


async def test_a_query_counts_as_in_json(world: World) -> None:
    headers = {"Authorization": f"Bearer {await world.token(SUPERVISOR)}"}
    for path in ("/v1/households", "/v1/households.csv"):
        twice = f"?unit={TOWNSHIP}&state=any&state=present"
        answer = await world.client.get(path + twice, headers=headers)
        assert answer.status_code == 422, path


async def test_json_that_is_there_as_csv_says_that_it_varies_by_what_is_accepted(
    world: World,
) -> None:
    """Else a cache would give the one to who asks for the other."""
    for path, varies in (("/v1/visits", True), ("/v1/levels", False)):
        for accept in ("application/json", "text/csv"):
            token = await world.token(SUPERVISOR)
            headers = {"Authorization": f"Bearer {token}", "Accept": accept}
            answer = await world.client.get(path, headers=headers)
            said = {part.strip() for part in answer.headers.get("vary", "").split(",")}
            assert ("Accept" in said) == varies, (path, accept, said)
