"""`gridloop conformance`: the reference device passes, and a client that is broken on purpose does
not.
"""

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.cli.app import app
from service.cli.console import console
from service.conformance.command import REFERENCE, Outcome, Wanted, conform
from service.conformance.hooks import reached, started
from service.conformance.loopback import Reply, Request, json_reply, serving
from service.conformance.reference import Phones

FIRST = "01-a-visit-goes-up"
# Transcripts that are enough to see each of the broken clients fail.
NOTICED_BY = {
    "acknowledges_before_the_answer": "02-a-lost-answer",
    "keeps_no_outbox": "22-restart",
    "believes_every_change": "30-gone-before",
    "never_asks_again": "38-heal-over-pages",
    "keeps_what_a_restored_server_has_lost": "41-a-new-epoch",
    "stops_after_a_page": "04-pages",
    "forgets_the_refresh_token": "50-token-expired",
    "gives_up_without_an_answer": "23-a-lost-request",
}


def broken(name: str) -> str:
    """The command that starts a broken client."""
    return f"{sys.executable} -m tests.conformance.broken_adapter {name}"


async def outcome_of(command: str, wanted: Wanted) -> Outcome:
    return await conform(started(command, 30), wanted)


async def test_the_reference_device_passes() -> None:
    outcome = await outcome_of(REFERENCE, Wanted(seeds=2, steps=60))
    assert outcome.findings == []
    assert outcome.transcripts > 50
    assert outcome.histories == 2


async def test_a_client_that_shares_nothing_with_the_reference_device_passes() -> None:
    outcome = await outcome_of(
        f"{sys.executable} -m tests.conformance.rules_adapter", Wanted([FIRST], seeds=3, steps=60)
    )
    assert (outcome.findings, outcome.histories) == ([], 3)


@pytest.mark.parametrize("name", NOTICED_BY)
async def test_a_broken_client_fails(name: str) -> None:
    outcome = await outcome_of(broken(name), Wanted([NOTICED_BY[name]], seeds=0))
    assert [one.case for one in outcome.findings][:1] == [NOTICED_BY[name]]


@pytest.mark.parametrize(
    ("name", "seed"), [("keeps_no_outbox", 1), ("sends_everything_at_once", 3)]
)
async def test_a_broken_client_fails_in_a_history_that_nobody_wrote_down(
    name: str, seed: int
) -> None:
    outcome = await outcome_of(broken(name), Wanted([FIRST], first=seed, seeds=1, steps=80))
    assert {one.case for one in outcome.findings} == {f"seed {seed}"}


async def test_a_client_can_take_hooks_over_http(tmp_path: Path) -> None:
    phones = Phones(tmp_path, lambda url: httpx.AsyncClient(base_url=url, trust_env=False))

    async def hook(request: Request) -> Reply:
        return json_reply(200, await phones.do(request.json))

    async with serving(hook) as url:
        outcome = await conform(reached(url, 30), Wanted([FIRST, "44-a-fork"], seeds=0))
    assert outcome == Outcome(2, 0, [])


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which no sentence is broken."""
    monkeypatch.setattr(console, "width", 400)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["conformance", *arguments])


def test_the_command_says_that_all_is_well() -> None:
    result = invoke("--only", FIRST, "--language", "en")
    assert (
        result.exit_code,
        "All 1 transcripts and 0 histories went as PROTOCOL.md says." in result.output,
    ) == (0, True)


def test_the_command_says_what_went_wrong_in_both_languages() -> None:
    for language, words in (
        ("en", "goes on at once while `more` is set"),
        ("zh", "`more` 为真或还有未确认的变更时"),
    ):
        result = invoke(
            "--only", "04-pages", "--command", broken("stops_after_a_page"), "--language", language
        )
        assert (result.exit_code, words in result.output) == (1, True), result.output


def test_a_command_that_is_no_client_is_named() -> None:
    result = invoke("--only", FIRST, "--command", f"{sys.executable} -c 0", "--language", "en")
    assert (result.exit_code, "the client’s process ended" in result.output.replace("\n", " ")) == (
        1,
        True,
    )


@pytest.mark.parametrize(
    "arguments", [("--only", "no-such"), ("--command", "a", "--url", "b"), ("--language", "mn")]
)
def test_the_command_refuses_what_it_cannot_do(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 1
