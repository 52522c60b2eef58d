"""How a client under test is reached: a command that reads and writes JSON lines, or a URL that
takes each hook as a POST.
"""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from service.conformance.playing import Client, ClientFailed

_MAX_LINE = 64 * 1024 * 1024
_LEAVING_S = 5


class CommandClient:
    """A client that was started as a process."""

    def __init__(self, process: asyncio.subprocess.Process, timeout_s: float) -> None:
        self._process = process
        self._timeout_s = timeout_s

    async def do(self, hook: dict[str, Any]) -> dict[str, Any]:
        """Sends a hook as a line and reads the answer's."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(hook, ensure_ascii=False).encode() + b"\n")
            await self._process.stdin.drain()
            line = await asyncio.wait_for(self._process.stdout.readline(), self._timeout_s)
        except TimeoutError:
            raise ClientFailed(
                f"no answer to ‘{hook['do']}’ within {self._timeout_s:g} s"
            ) from None
        except (ConnectionError, ValueError) as error:
            raise ClientFailed(f"{type(error).__name__}: {error}") from error
        if not line:
            raise ClientFailed(
                f"the client’s process ended, with code {await self._process.wait()}"
            )
        return _answer(line)


class UrlClient:
    """A client that takes hooks over HTTP."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def do(self, hook: dict[str, Any]) -> dict[str, Any]:
        """Posts a hook and reads the answer."""
        try:
            response = await self._client.post(self._url, json=hook)
        except httpx.HTTPError as error:
            raise ClientFailed(f"{type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise ClientFailed(f"the client answered {response.status_code}: {response.text[:200]}")
        return _answer(response.content)


def _answer(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        raise ClientFailed(f"no JSON: {content[:200].decode('utf-8', 'replace')}") from None
    if not isinstance(answer, dict):
        raise ClientFailed(f"no JSON object: {content[:200].decode('utf-8', 'replace')}")
    if "error" in answer:
        raise ClientFailed(str(answer["error"]))
    return answer


@asynccontextmanager
async def started(command: str, timeout_s: float) -> AsyncIterator[Client]:
    """The client that a command line starts; it ends when its standard input does."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command), stdin=pipe, stdout=pipe, limit=_MAX_LINE
    )
    try:
        yield CommandClient(process, timeout_s)
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _LEAVING_S)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def reached(url: str, timeout_s: float) -> AsyncIterator[Client]:
    """The client that takes hooks at a URL of this machine."""
    async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
        yield UrlClient(client, url)
