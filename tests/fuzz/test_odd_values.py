"""Odd values in every field, header and parameter: no 5xx, and everything that others read reads
on.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.inbox.retry_held import release_overdue
from simulator.places import SUPERVISOR, VILLAGE
from sync_protocol.records import KINDS
from tests.fuzz.odd_values import as_json, odd_texts, odd_values
from tests.identity.test_rights import Call, Place, calls, populate
from tests.world import GRID, SECRETARY, WORKER, WirePhone, World

# `make fuzz` gives more.
EXAMPLES = int(os.environ.get("FUZZ_ODD_EXAMPLES", "20"))
AT = "2026-11-20T09:00:00+08:00"
LONGEST_URL = 60_000
GOOD: dict[str, dict[str, Any]] = {
    "household": {"head_name": "苏和", "phone": "10012345678", "tags": {"add": ["veteran"]}},
    "visit": {"visited_at": AT, "content": "走访", "people_met": {"add": ["某人"]}},
    "problem": {"title": "水管", "duty": "emergency", "raised_at": AT, "severity": "urgent"},
    "step": {"problem_id": "", "action": "note", "at": AT},
    "weekly_analysis": {"week": "2026-W47", "situation": "稳定"},
    "monthly_summary": {"month": "2026-10", "results": "好"},
    "tie": {"household_id": "", "cadre": SECRETARY, "kind": "family", "valid_from": "2026-11-01"},
    "visit_check": {"visit_id": "", "checked_at": AT, "finding": "seen"},
    "indicator_value": {"indicator": "income", "period": "2026", "value": 1},
    "song": {"verse": "x"},
}
MEMBERS = (
    "seq",
    "kind",
    "id",
    "grid",
    "op",
    "base",
    "stamp",
    "fields",
    "epoch",
    "base_grid",
    "flaw",
    "unknown",
)
ENVELOPE = ("protocol", "sent_at", "cursor", "limit", "queued", "mutations", "again", "unknown")
LISTS = (
    *(
        "/v1/held?limit=1000",
        "/v1/held?state=released",
        "/v1/conflicts",
        "/v1/visits",
        "/v1/households",
        "/v1/problems",
        "/v1/devices",
    ),
    *(
        "/v1/analyses?week=2026-W47",
        "/v1/monthly-summaries?month=2026-10",
        "/v1/articles",
        "/v1/units",
        "/v1/cadres",
    ),
    *(f"/v1/summaries/weekly?unit={GRID}&week=2026-W47", f"/v1/loop?unit={GRID}&week=2026-W47"),
)


@st.composite
def pushes(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A kind, and what to put in place of fields, of members of the mutation, and of the
    envelope.
    """
    kind = draw(st.sampled_from(list(GOOD)))
    names = [
        *(KINDS[kind].names if kind in KINDS else ()),
        "mood",
        "unreadable",
        "bad name",
        "\ud83d",
        "\0",
    ]
    fields = draw(st.dictionaries(st.sampled_from(names), odd_values, max_size=3))
    members = draw(st.dictionaries(st.sampled_from(MEMBERS), odd_values, max_size=2))
    envelope = (
        draw(st.dictionaries(st.sampled_from(ENVELOPE), odd_values, max_size=1))
        if draw(st.integers(0, 3)) == 0
        else {}
    )
    return kind, fields, members, envelope


async def drawn(
    example: Callable[..., Awaitable[None]], *strategies: st.SearchStrategy[Any]
) -> None:
    """Runs an example for what Hypothesis draws, in this loop, while Hypothesis runs in a
    thread.
    """
    loop = asyncio.get_running_loop()
    # A failure is not made smaller: the world has lived through it.
    bounds = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )

    @settings(bounds, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*strategies))
    def run(values: tuple[Any, ...]) -> None:
        asyncio.run_coroutine_threadsafe(example(*values), loop).result()  # type: ignore[arg-type]

    await asyncio.to_thread(run)


def reads(response: Any) -> Any:
    """What came, if every client can read it."""
    assert response.status_code < 500, (response.request.url, response.text[:2000])
    if "json" in response.headers.get("content-type", ""):
        return msgspec.json.decode(response.content)
    return (
        response.content.decode()
        if response.headers.get("content-type", "").startswith("text/")
        else None
    )


async def everything_reads_on(world: World, place: Place) -> None:
    for staff_code in (SUPERVISOR, WORKER):
        for path in LISTS:
            response = await world.get(path, staff_code)
            reads(response)
            assert response.status_code == 200, (path, staff_code, response.text)
    items = reads(await world.get("/v1/held?limit=5", SECRETARY))["items"]
    for item in items:
        reads(await world.get(f"/v1/held/{item['id']}/original", SECRETARY))
    for kind, id in (("household", place.household), ("problem", place.problem)):
        assert (await world.get(f"/v1/history/{kind}/{id}", SECRETARY)).status_code == 200
    assert (await world.get(f"/v1/problems/{place.problem}", SECRETARY)).status_code == 200
    second = world.wire(SECRETARY)
    more = True
    while more:
        response = await second.send(limit=5000)
        assert response.status_code == 200, response.text
        more = reads(response)["more"]
    await release_overdue(world.state.database, world.state.settings, world.clock.now())


def poisoned(
    phone: WirePhone,
    seq: int,
    place: Place,
    kind: str,
    fields: dict[str, Any],
    members: dict[str, Any],
) -> dict[str, Any]:
    ids = {"household": place.household, "problem": place.problem}
    good = dict(GOOD[kind], problem_id=place.problem) if kind == "step" else GOOD[kind]
    more = {"id": ids[kind]} if kind in ids else {}
    return phone.mutation(seq, kind, base=1, fields={**good, **fields}, **more) | members


async def test_odd_values_in_a_push_stop_neither_it_nor_anybody(world: World) -> None:
    place = await populate(world, VILLAGE, GRID, WORKER)
    world.state.settings.attempts_here = "1000000/hour"

    async def example(push: tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]) -> None:
        kind, fields, members, envelope = push
        phone = world.wire()
        world.clock.forward(milliseconds=1)
        bad, good = poisoned(phone, 1, place, kind, fields, members), phone.mutation(2)
        body = {
            "protocol": 1,
            "sent_at": world.clock.now().isoformat(),
            "cursor": None,
            "mutations": [bad, good],
        } | envelope
        first = await phone.post(as_json(body))
        answer = reads(first)
        if first.status_code == 200 and len(answer["verdicts"]) == 2:
            assert answer["verdicts"][1]["outcome"] == "applied"
            again = reads(await phone.post(as_json(body)))
            assert [verdict["outcome"] for verdict in again["verdicts"]] == [
                "duplicate",
                "duplicate",
            ]
        else:
            assert envelope or "seq" in members or not isinstance(bad, dict), (
                first.status_code,
                answer,
            )
        verify = {
            "grids": [{"grid": GRID, "rev": 1, "count": 1, "digest": "0" * 16} | members | fields]
        }
        reads(await phone.post(as_json(verify), "/v1/sync/verify"))
        for item in reads(await world.get("/v1/held?limit=1", SECRETARY))["items"]:
            path = f"/v1/held/{item['id']}/release"
            reads(await world.post(path, {}, SECRETARY))
        await everything_reads_on(world, place)

    await drawn(example, pushes())


async def test_odd_values_over_rest_stop_nobody(world: World) -> None:
    place = await populate(world, VILLAGE, GRID, WORKER)
    ending = {"end_sessions", "set_password", "revoke_device", "correct_cadre"}
    walked = [call for name, call in calls(place) if name not in ending]

    async def example(call: Call, odd: Any, text: str, where: int, header: str) -> None:
        world.clock.forward(milliseconds=1)
        path, query, body, headers = call.path, dict(call.query), call.body, {}
        names = [*query, *(body or ()), "path", "header"]
        name = names[where % len(names)]
        if name in query:
            query[name] = text
        elif body and name in body:
            body = body | {
                name: {**body["fields"], next(iter(body["fields"])): odd}
                if name == "fields" and where % 2
                else odd
            }
        elif name == "path":
            path = (
                call.path.rpartition("/")[0]
                + "/"
                + quote(text[:200].encode("utf-8", "surrogatepass"), safe="")
            )
        else:
            headers[header] = (
                text.encode("utf-8", "replace")
                .decode("latin-1")
                .replace("\r", "")
                .replace("\n", "")[:500]
            )
        safe = {
            key: value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value)
            for key, value in query.items()
        }
        headers = {
            "Authorization": f"Bearer {await world.token(SECRETARY)}",
            "Content-Type": "application/json",
        } | headers
        raw = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
        content = None if body is None else as_json(body)
        url = path + (
            "?" + "&".join(f"{key}={quote(value)}" for key, value in safe.items()) if safe else ""
        )
        if len(url) > LONGEST_URL:
            # The client itself sends no longer one; heads that are too large are tried elsewhere.
            return
        reads(await world.client.request(call.method, url, content=content, headers=raw))
        for listed in ("/v1/problems", "/v1/households", "/v1/articles", "/v1/conflicts"):
            assert (await world.get(listed, SECRETARY)).status_code == 200
        assert (await world.get(f"/v1/problems/{place.problem}", SECRETARY)).status_code == 200

    headers = (
        "Authorization",
        "Content-Encoding",
        "Content-Type",
        "If-None-Match",
        "Idempotency-Key",
        "X-Request-ID",
        "Accept-Language",
    )
    some = (
        st.sampled_from(walked),
        odd_values,
        odd_texts,
        st.integers(0, 11),
        st.sampled_from(headers),
    )
    await drawn(example, *some)
    await everything_reads_on(world, place)
