"""The vectors and the JSON Schema beside PROTOCOL.md: what other clients are tested with holds for this code, too."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from service.app import create_app
from service.settings import Settings
from sync_protocol import clock, ids, lifecycle
from sync_protocol.digest import copy_digest
from sync_protocol.fields import SetChange
from sync_protocol.merge import Edit, create, merge, overlay
from sync_protocol.records import KINDS, UnfitFields, clean_fields
from sync_protocol.schema import SCHEMA_JSON, messages_schema
from tests.conftest import cloned, running
from tests.world import PASSWORD, Clock

VECTORS = Path(__file__).parents[2] / "sync_protocol" / "vectors"
GRID = "150202100200001"
SCRUBBED = {"epoch", "cursor", "server_time"}


class Wall:
    """A phone's wall clock."""

    ms = 0


def cases(name: str) -> pytest.MarkDecorator:
    """The cases of a file, each a test named after it."""
    content = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    assert content["about"]
    some = content["cases"]
    assert some
    return pytest.mark.parametrize("case", some, ids=[item.get("name", str(place)) for place, item in enumerate(some)])


@cases("ids")
def test_ids(case: Any) -> None:
    make = ids.weekly_analysis_id if case["kind"] == "weekly_analysis" else ids.monthly_summary_id
    assert make(case["grid"], case["key"]) == case["id"]


@cases("clock_tick")
def test_clock_tick(case: Any) -> None:
    wall = Wall()
    ticks = clock.HybridClock(lambda: wall.ms, case["last"])
    for wall.ms, stamp in zip(case["walls"], case["stamps"], strict=True):
        assert ticks.tick() == stamp


@cases("clock_correct")
def test_clock_correct(case: Any) -> None:
    assert clock.correct_stamps(case["stamps"], case["offset_ms"], case["now_ms"], case["last"]) == case["corrected"]


@cases("clock_offset")
def test_clock_offset(case: Any) -> None:
    assert clock.effective_offset(case["now_ms"], case["sent_at_ms"]) == case["offset_ms"]


@cases("fields")
def test_fields(case: Any) -> None:
    if "refused" in case:
        with pytest.raises(UnfitFields) as error:
            clean_fields(KINDS[case["kind"]], case["fields"])
        assert sorted(error.value.problems) == case["refused"]
    else:
        cleaned, _ = clean_fields(KINDS[case["kind"]], case["fields"])
        assert {name: value.wire() if isinstance(value, SetChange) else value for name, value in cleaned.items()} == case["canonical"]


def edit_of(kind: str, item: Any) -> Edit:
    fields, _ = clean_fields(KINDS[kind], item["fields"])
    grid, op = item.get("grid", GRID), item.get("op", "put")
    rebased, base_grid = item.get("rebased", False), item.get("base_grid")
    return Edit("id", grid, op, item["base"], item["stamp"], item["device"], "by", fields, rebased=rebased, base_grid=base_grid)


@cases("merge")
def test_merge(case: Any) -> None:
    kind = KINDS[case["kind"]]
    first, *others = (edit_of(kind.name, item) for item in case["edits"])
    record = create(kind, first, 1)
    merged, losses = [False], []
    for rev, edit in enumerate(others, 2):
        outcome = merge(kind, record, edit, rev)
        merged.append(outcome.merged)
        losses += [
            {
                "rev": rev,
                "field": loss.field,
                "kept": loss.kept,
                "lost": loss.lost,
                "rule": loss.rule.split(":")[0],
                "kept_device": loss.kept_clock.device,
                "lost_device": loss.lost_clock.device,
            }
            for loss in outcome.losses
        ]
    assert {"grid": record.grid, "deleted": record.deleted, "fields": record.fields} == case["record"]
    assert merged == case["merged"]
    assert losses == case["losses"]


@cases("overlay")
def test_overlay(case: Any) -> None:
    assert overlay(case["fields"], case["changes"], frozenset({"tags"})) == case["shown"]


@cases("digest")
def test_digest(case: Any) -> None:
    assert copy_digest(case["records"]) == case["digest"]


@cases("lifecycle")
def test_lifecycle(case: Any) -> None:
    problem = case["problem"]
    steps = [lifecycle.Step(item["id"], item["stamp"], item["by"], item["fields"]) for item in case["steps"]]
    found = lifecycle.fold(problem["fields"], problem["grid"], problem["created_by"], steps)
    history = [{"id": item.step.id, "state": item.state, "effective": item.ineffective is None} for item in found.history]
    assert history == case["history"]
    assert {name: getattr(found, name) for name in case["case"]} == case["case"]


# ------------------------------------------------------------------------------------------------ transcripts


@pytest.fixture
async def fresh(server: str, empty_households: str) -> AsyncIterator[tuple[httpx.AsyncClient, Clock]]:
    """A service over units and cadres, without any record."""
    clock = Clock()
    async with cloned(server, empty_households) as url:
        async with running(create_app(Settings(database_url=url, demo=True), clock.now)) as client:
            yield client, clock


def scrubbed(answer: Any) -> Any:
    """An answer without what differs from server to server."""
    plain = {name: value for name, value in answer.items() if name not in SCRUBBED}
    for verdict in plain.get("verdicts", ()):
        for conflict in verdict.get("conflicts", ()):
            conflict.pop("id")
    for change in plain.get("changes", ()):
        if change["kind"] == "held":
            change.pop("id")
    return plain


async def play(client: httpx.AsyncClient, clock: Clock, exchanges: list[Any]) -> list[Any]:
    """Sends the requests of a transcript and returns the answers; `cursor` is `last`: the one that the device received last."""
    tokens: dict[str, str] = {}
    cursors: dict[str, Any] = {}
    answers = []
    for item in exchanges:
        device = item["device"]
        clock._now = datetime.fromisoformat(item["server_time"])
        if device not in tokens:
            form = {"grant_type": "password", "username": item["staff_code"], "password": PASSWORD, "device_id": device}
            tokens[device] = (await client.post("/v1/auth/token", data=form)).json()["access_token"]
        request = dict(item["request"])
        if request.get("cursor") == "last":
            request["cursor"] = cursors.get(device)
        response = await client.post(item.get("path", "/v1/sync"), json=request, headers={"Authorization": f"Bearer {tokens[device]}"})
        answer = response.json()
        cursors[device] = answer.get("cursor", cursors.get(device))
        answers.append({"status": response.status_code, "answer": scrubbed(answer)})
    return answers


@cases("exchange")
async def test_exchange(case: Any, fresh: tuple[httpx.AsyncClient, Clock]) -> None:
    answers = await play(*fresh, case["exchanges"])
    assert answers == [{"status": item["status"], "answer": item["answer"]} for item in case["exchanges"]]


# ----------------------------------------------------------------------------------------------------- schema


def test_the_schema_is_that_of_the_messages() -> None:
    assert json.loads(SCHEMA_JSON.read_text(encoding="utf-8")) == messages_schema(), "run make openapi"


def test_every_message_of_the_transcripts_fits_the_schema() -> None:
    schema = messages_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def fit(name: str, value: Any) -> None:
        jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{name}"}).validate(value)

    for case in json.loads((VECTORS / "exchange.json").read_text(encoding="utf-8"))["cases"]:
        for item in case["exchanges"]:
            verify = item.get("path") == "/v1/sync/verify"
            fit("VerifyRequest" if verify else "SyncRequest", item["request"])
            if item["status"] == 200:
                whole = dict.fromkeys(() if verify else SCRUBBED, "…") | item["answer"]
                fit("VerifyAnswer" if verify else "SyncAnswer", whole | {"changes": [{"id": "…", **change} for change in whole["changes"]]}
                    if not verify else whole)  # fmt: skip
            else:
                fit("Problem", item["answer"])
