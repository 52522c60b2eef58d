"""The vectors and the JSON Schema beside PROTOCOL.md: what other clients are tested with holds for
this code, too.
"""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from service.conformance.fake_server import FakeServer
from service.conformance.loopback import Request
from service.conformance.playing import Playing
from service.conformance.reference import Phones
from service.conformance.transcripts import CLIENT, FOLDER, SERVICE, load, played_by, written
from sync_protocol import clock, ids, lifecycle
from sync_protocol.cleaning import UnfitFields, clean_fields
from sync_protocol.digest import copy_digest
from sync_protocol.merge import create, merge, overlay
from sync_protocol.messages import Change
from sync_protocol.record_state import Edit
from sync_protocol.records import KINDS
from sync_protocol.schema import SCHEMA_JSON, messages_schema
from sync_protocol.sets import SetChange
from sync_protocol.windows import in_first_pull
from tests.conformance.transcripts import Player, Service

VECTORS = Path(__file__).parents[2] / "sync_protocol" / "vectors"
GRID = "150202100200001"


class Wall:
    """A phone's wall clock."""

    ms = 0


def cases(name: str) -> pytest.MarkDecorator:
    """The cases of a file, each a test named after it."""
    content = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    assert content["about"]
    some = content["cases"]
    assert some
    return pytest.mark.parametrize(
        "case", some, ids=[item.get("name", str(place)) for place, item in enumerate(some)]
    )


@cases("ids")
def test_ids(case: Any) -> None:
    assert ids.natural_id(case["kind"], case["grid"], case["key"]) == case["id"]


@cases("clock_tick")
def test_clock_tick(case: Any) -> None:
    wall = Wall()
    ticks = clock.HybridClock(lambda: wall.ms, case["last"])
    for wall.ms, stamp in zip(case["walls"], case["stamps"], strict=True):
        assert ticks.tick() == stamp


@cases("clock_correct")
def test_clock_correct(case: Any) -> None:
    assert (
        clock.correct_stamps(case["stamps"], case["offset_ms"], case["now_ms"], case["last"])
        == case["corrected"]
    )


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
        assert {
            name: value.wire() if isinstance(value, SetChange) else value
            for name, value in cleaned.items()
        } == case["canonical"]


def edit_of(kind: str, item: Any) -> Edit:
    fields, _ = clean_fields(KINDS[kind], item["fields"])
    grid, op = item.get("grid", GRID), item.get("op", "put")
    more = {
        "rebased": item.get("rebased", False),
        "base_grid": item.get("base_grid"),
        "seen": item.get("seen"),
    }
    return Edit("id", grid, op, item["base"], item["stamp"], item["device"], "by", fields, **more)


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
    assert {"grid": record.grid, "deleted": record.deleted, "fields": record.fields} == case[
        "record"
    ]
    assert merged == case["merged"]
    assert losses == case["losses"]


@cases("overlay")
def test_overlay(case: Any) -> None:
    assert overlay(case["fields"], case["changes"], frozenset({"tags"})) == case["shown"]


@cases("digest")
def test_digest(case: Any) -> None:
    assert copy_digest(case["records"]) == case["digest"]


@cases("windows")
def test_windows(case: Any) -> None:
    changes = [msgspec.convert(record, Change) for record in case["records"]]
    shown = in_first_pull(
        changes, date.fromisoformat(case["today"]), case.get("own_work_from", clock.ZERO)
    )
    assert sorted(id for _, id in shown) == case["shown"]


@cases("lifecycle")
def test_lifecycle(case: Any) -> None:
    problem = case["problem"]
    steps = [
        lifecycle.Step(item["id"], item["stamp"], item["by"], item["fields"])
        for item in case["steps"]
    ]
    own_work_from = case.get("own_work_from", clock.ZERO)
    found = lifecycle.fold(
        problem["fields"],
        problem["grid"],
        problem["created_by"],
        steps,
        own_work_from=own_work_from,
    )
    history = [
        {"id": item.step.id, "state": item.state, "effective": item.ineffective is None}
        for item in found.history
    ]
    assert history == case["history"]
    assert {name: getattr(found, name) for name in case["case"]} == case["case"]


# -------------------------------------------------------------------------------------- transcripts


@pytest.mark.parametrize("stem", played_by(SERVICE))
async def test_the_service_answers_as_a_transcript_says(
    stem: str, server: str, empty_households: str
) -> None:
    transcript = played_by(SERVICE)[stem]
    async with Service(server, empty_households, f"played_{os.getpid()}") as service:
        assert await Player(service, transcript).play() == transcript.steps


@pytest.mark.parametrize("stem", played_by(CLIENT))
async def test_the_reference_device_does_as_a_transcript_says(stem: str, tmp_path: Path) -> None:
    transcript = played_by(CLIENT)[stem]
    fake = FakeServer(transcript)
    phones = Phones(
        tmp_path,
        lambda url: httpx.AsyncClient(transport=httpx.MockTransport(over(fake)), base_url=url),
    )
    assert await Playing(transcript, fake, phones, "http://gridloop.test").play() == []


def over(fake: FakeServer) -> Any:
    """What passes the requests of an HTTP client to a server of a transcript."""

    async def pass_on(request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = await fake.handle(
            Request(request.method, request.url.path, headers, request.content)
        )
        if reply is None:
            raise httpx.ReadError("lost")
        return httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))

    return pass_on


def test_a_transcript_is_written_as_it_is_recorded() -> None:
    for stem, transcript in load().items():
        assert (FOLDER / f"{stem}.json").read_text(encoding="utf-8") == written(transcript), stem


# ------------------------------------------------------------------------------------------- schema


def test_the_schema_is_that_of_the_messages() -> None:
    assert json.loads(SCHEMA_JSON.read_text(encoding="utf-8")) == messages_schema(), (
        "run make openapi"
    )


def test_every_message_of_the_transcripts_fits_the_schema() -> None:
    schema = messages_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def fit(name: str, value: Any) -> None:
        jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{name}"}).validate(value)

    for stem, transcript in load().items():
        for step in transcript.steps:
            if step.get("request") and "answer" in step:
                fit(*message_of(step, "request"))
                fit(*message_of(step, "answer"))
                assert stem


def message_of(step: Any, side: str) -> tuple[str, Any]:
    """The name of a step's message in the schema, and the message with what a transcript leaves out
    of it.
    """
    kind = "Verify" if step["do"] == "verify" or step.get("path") == "/v1/sync/verify" else "Sync"
    if side == "request":
        return f"{kind}Request", step["request"]
    if step["status"] != 200:
        return "Problem", step["answer"]
    if kind == "Verify":
        return "VerifyAnswer", step["answer"]
    left_out = {"epoch": "…", "cursor": "…", "server_time": "…"}
    changes = [{"id": "…", **change} for change in step["answer"]["changes"]]
    return "SyncAnswer", left_out | step["answer"] | {"changes": changes}
