"""Running the command `gridloop` in a test."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
from typer.testing import CliRunner, Result

from service.cli import app

Command = Callable[..., Awaitable[Result]]


async def run_command(
    monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], variables: Mapping[str, str | None]
) -> Result:
    """Runs a command; `variables` set GRIDLOOP_…, None unsets."""
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(f"GRIDLOOP_{name}", raising=False)
        else:
            monkeypatch.setenv(f"GRIDLOOP_{name}", value)
    return await asyncio.to_thread(lambda: CliRunner().invoke(app.app, list(arguments)))
