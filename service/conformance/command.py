"""What `gridloop conformance` does: starts the client, plays all transcripts, then the simulation,
and says what went wrong.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from service.cli.console import progress_bar
from service.conformance.fake_server import FakeServer
from service.conformance.hooks import reached, started
from service.conformance.loopback import serving
from service.conformance.playing import Client, Finding, Playing
from service.conformance.simulating import simulate
from service.conformance.transcripts import CLIENT, Transcript, played_by
from service.kit.localization import Language, in_language
from sync_protocol.texts import Text

# How long a hook may take; a client is told not to wait between its tries.
TIMEOUT_S = 30.0
REFERENCE = f"{sys.executable} -m service.conformance.reference"


class Wanted(NamedTuple):
    """What is to be played: transcripts by the stems of their files (all, when there are none), and
    a simulation of so many histories.
    """

    only: Sequence[str] = ()
    first: int = 1
    seeds: int = 3
    steps: int = 80


class Outcome(NamedTuple):
    """How many transcripts and histories were played, and what went wrong."""

    transcripts: int
    histories: int
    findings: list[Finding]


def run(
    command: str | None, url: str | None, wanted: Wanted, console: Console, language: Language
) -> int:
    """Tests the client that a command starts, or that listens at a URL; returns the exit code."""
    unknown = sorted({*wanted.only} - played_by(CLIENT).keys())
    if unknown:
        said = in_language(Text("There is no transcript {names}.", names=unknown), language)
        console.print(f"[red]{said}[/red]", highlight=False)
        return 1
    client = reached(url, TIMEOUT_S) if url else started(command or REFERENCE, TIMEOUT_S)
    with progress_bar() as progress:
        tasks = {
            name: progress.add_task(in_language(name, language), total=None)
            for name in (Text("transcripts"), Text("histories"))
        }

        def show(what: str, done: int, total: int) -> None:
            progress.update(tasks[Text(what)], completed=done, total=total)

        outcome = asyncio.run(conform(client, wanted, show))
    report(outcome, console, language)
    return 1 if outcome.findings else 0


async def conform(
    client: AbstractAsyncContextManager[Client],
    wanted: Wanted,
    show: Callable[[str, int, int], None] = lambda *_: None,
) -> Outcome:
    """Plays everything that is wanted with a client."""
    some = {
        stem: transcript
        for stem, transcript in played_by(CLIENT).items()
        if stem in wanted.only or not wanted.only
    }
    findings: list[Finding] = []
    async with client as connected:
        for done, (stem, transcript) in enumerate(some.items(), 1):
            findings += await _play(stem, transcript, connected)
            show("transcripts", done, len(some))
        findings += await _histories(connected, wanted, show)
    return Outcome(len(some), wanted.seeds, findings)


async def _play(stem: str, transcript: Transcript, client: Client) -> list[Finding]:
    fake = FakeServer(transcript)
    async with serving(fake.handle) as url:
        found = await Playing(transcript, fake, client, url, f"{stem}-").play()
    return [one._replace(case=stem) for one in found]


async def _histories(
    client: Client, wanted: Wanted, show: Callable[[str, int, int], None]
) -> list[Finding]:
    findings: list[Finding] = []
    show("histories", 0, wanted.seeds)
    if not wanted.seeds:
        return findings
    # PostgreSQL's driver and the whole service are only needed here.
    from service.conformance.real_service import services

    async with services() as some:
        for done, seed in enumerate(range(wanted.first, wanted.first + wanted.seeds), 1):
            findings += await simulate(seed, wanted.steps, client, some, f"seed{seed}-")
            show("histories", done, wanted.seeds)
    return findings


def report(outcome: Outcome, console: Console, language: Language) -> None:
    """A table of what went wrong, plain lines where there is no terminal, and a line that sums
    up.
    """
    if console.is_terminal and outcome.findings:
        heads = (
            Text("case"),
            Text("step"),
            Text("PROTOCOL.md"),
            Text("what it says"),
            Text("wanted"),
            Text("came"),
        )
        table = Table(*[in_language(head, language) for head in heads], show_lines=True)
        for one in outcome.findings:
            table.add_row(
                one.case,
                str(one.step),
                one.section,
                in_language(one.rule, language),
                one.wanted,
                one.came,
            )
        console.print(table)
    elif outcome.findings:
        for one in outcome.findings:
            told = {Text("wanted"): one.wanted, Text("came"): one.came}
            lines = [f"{one.case}, {one.step}, {one.section}: {in_language(one.rule, language)}"]
            lines += [
                f"  {in_language(name, language)}: {value}" for name, value in told.items() if value
            ]
            console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
    wrong = len({one.case for one in outcome.findings})
    parts = {"transcripts": outcome.transcripts, "histories": outcome.histories, "wrong": wrong}
    if wrong:
        summary = Text(
            "{wrong} went wrong, of {transcripts} transcripts and {histories} histories.", **parts
        )
    else:
        summary = Text(
            "All {transcripts} transcripts and {histories} histories went as PROTOCOL.md says.",
            **parts,
        )
    console.print(in_language(summary, language), style="red" if wrong else "green")
