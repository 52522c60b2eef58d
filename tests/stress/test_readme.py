"""The examples in the README do what it says, however often they are pasted: run by a shell against
a real service.
"""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.stress.test_kills import serving

README = Path(__file__).parents[2] / "README.md"


def examples() -> list[str]:
    """The shell commands below ‘A first sync with curl’, block by block."""
    section = (
        README.read_text(encoding="utf-8")
        .partition("## A first sync with curl\n")[2]
        .partition("\n## ")[0]
    )
    return re.findall(r"```\n(.*?)```", section, re.DOTALL)


def pasted(commands: str, url: str) -> list[Any]:
    """What the commands print in a new shell, answer by answer, with the service at another address
    than the demo's.
    """
    assert "BASE=http://127.0.0.1:8000\n" in commands
    done = subprocess.run(
        ["bash", "-e", "-c", commands.replace("http://127.0.0.1:8000", url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers, text = [], done.stdout.strip()
    while text:
        answer, end = json.JSONDecoder().raw_decode(text)
        answers.append(answer)
        text = text[end:].strip()
    return answers


async def test_the_first_sync_with_curl_can_be_pasted_any_number_of_times(
    data_folder: Path,
) -> None:
    sync, week, *_ = examples()
    async with serving(data_folder) as service:
        for commands in (sync, sync, sync + sync, sync + week):
            answers = await asyncio.to_thread(pasted, commands, service.url)
            synced = [answer for answer in answers if "unit" not in answer]
            assert len(synced) == commands.count("/v1/sync")
            for answer in synced:
                assert [verdict["outcome"] for verdict in answer.get("verdicts", [])] == [
                    "applied"
                ], answer
                assert answer["cursor"]
        assert answers[-1]["totals"].keys() >= {"visits", "problems_open"}


@pytest.mark.parametrize("number", range(len(examples())))
def test_no_example_names_an_id_that_all_who_paste_it_would_share(number: int) -> None:
    assert re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-", examples()[number]) == []
