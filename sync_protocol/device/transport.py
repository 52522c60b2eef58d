"""How a device reaches the server: sign-in, tokens, gzip, and what each refusal means."""

import gzip
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from sync_protocol.messages import SyncAnswer, VerifyAnswer

_GZIP_ABOVE = 1_000


@dataclass(frozen=True, slots=True)
class Account:
    """A staff code and its password."""

    staff_code: str
    password: str


class Unreachable(Exception):
    """No usable answer came; the same request may be sent again. `retry_after` is the server's wish
    in seconds, if it had one.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(Exception):
    """The server refused the request as a whole: `status`, `slug` of the problem type, and the
    problem's members.
    """

    def __init__(self, status: int, slug: str, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {slug}: {problem.get('detail') or problem.get('title')}")
        self.status = status
        self.slug = slug
        self.problem = problem


class DeviceRevoked(Exception):
    """The device was revoked and its work handed in; its copy is wiped."""


class Transport:
    """Requests over an `httpx.AsyncClient` whose base URL is the server's."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def sign_in(
        self, account: Account, device: str, name: str, predecessor: str = ""
    ) -> dict[str, Any]:
        """Tokens for an account on a device.

        `predecessor`: the last cursor or refresh token of the device in whose place it comes, or of
        itself.
        """
        form = {
            "grant_type": "password",
            "username": account.staff_code,
            "password": account.password,
            "device_id": device,
            "device_name": name,
            "platform": "reference",
            "app_version": "1.0",
        }
        if predecessor:
            form["predecessor"] = predecessor
        return await self._token(form)

    async def refresh(self, refresh_token: str, device: str) -> dict[str, Any]:
        """New tokens for a refresh token. When the answer is lost, ask again with the same one: the
        answer is the same.
        """
        return await self._token(
            {"grant_type": "refresh_token", "refresh_token": refresh_token, "device_id": device}
        )

    async def _token(self, form: dict[str, str]) -> dict[str, Any]:
        response = await self._send("POST", "/v1/auth/token", data=form)
        answer: dict[str, Any] = response.json()
        return answer

    async def sync(self, body: bytes, token: str) -> SyncAnswer:
        """One exchange."""
        return msgspec.json.decode(await self._post("/v1/sync", body, token), type=SyncAnswer)

    async def verify(self, body: bytes, token: str) -> VerifyAnswer:
        """The grids whose copies differ."""
        return msgspec.json.decode(
            await self._post("/v1/sync/verify", body, token), type=VerifyAnswer
        )

    async def _post(self, path: str, body: bytes, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if len(body) > _GZIP_ABOVE:
            body = gzip.compress(body, 6)
            headers["Content-Encoding"] = "gzip"
        response = await self._send("POST", path, content=body, headers=headers)
        return response.content

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = await self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if response.status_code < 300:
            return response
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        if response.status_code >= 500 or response.status_code in (408, 429):
            after = response.headers.get("Retry-After", "")
            raise Unreachable(
                f"the server answered {response.status_code}",
                float(after) if after.isdigit() else None,
            )
        raise Refused(
            response.status_code, str(problem.get("type", "")).rpartition("/")[2], problem
        )
