"""Sends one delivery: signed, to an address that was judged, within a limit of time, following no
redirect.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import httpcore
from standardwebhooks import Webhook

from service.webhooks.addresses import ForbiddenAddress, JudgedBackend, Network
from service.webhooks.bodies import DINGTALK, FEISHU, STANDARD

WITHIN_S = 10.0
_ANSWER_BYTES = 16 * 1024
_GONE = 410
_WAITS = (429, 503)
_SECRET_BYTES = 32


class Sent(NamedTuple):
    """What became of it: `error` is empty when it was taken in. `wait_s`: how long the receiver
    asks to be left alone; `gone`: it wants nothing any more.
    """

    status: int | None
    error: str
    wait_s: float = 0
    gone: bool = False


class Outgoing(NamedTuple):
    """What is sent, decrypted. `id` is the same at every attempt."""

    id: str
    format: str
    address: str
    secret: str | None
    body: str


def new_secret() -> str:
    """A secret of the Standard Webhooks' form."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class Sender:
    """Keeps nothing open between two deliveries, so that every one is judged anew."""

    def __init__(self, allowed: Sequence[Network], within_s: float = WITHIN_S) -> None:
        self._backend = JudgedBackend(allowed)
        self._within_s = within_s
        self._tls = ssl.create_default_context()

    async def send(self, outgoing: Outgoing, now: datetime) -> Sent:
        """Sends it; never raises for what the receiver does."""
        address, headers, body = signed(outgoing, now)
        try:
            async with asyncio.timeout(self._within_s):
                return await self._post(outgoing.format, address, headers, body)
        except TimeoutError:
            return Sent(None, "timeout")
        except ForbiddenAddress:
            return Sent(None, "forbidden-address")
        except (httpcore.ConnectError, OSError):
            return Sent(None, "no-connection")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            return Sent(None, "broken-off")
        except (httpcore.UnsupportedProtocol, ValueError):
            return Sent(None, "invalid-address")

    async def _post(self, format: str, address: str, headers: dict[str, str], body: bytes) -> Sent:
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            retries=0,
            network_backend=self._backend,
        ) as pool:
            fields = [*headers.items()]
            async with pool.stream("POST", address, headers=fields, content=body) as response:
                answer = bytearray()
                async for piece in response.aiter_stream():
                    answer += piece
                    if len(answer) > _ANSWER_BYTES:
                        break
                return judged(format, response.status, dict(response.headers), bytes(answer))


def judged(format: str, status: int, headers: dict[bytes, bytes], answer: bytes) -> Sent:
    """What an answer says; group robots answer 200 also when they refuse."""
    if status == _GONE and format == STANDARD:
        return Sent(status, "gone", gone=True)
    if not 200 <= status < 300:
        wait = next((v for k, v in headers.items() if k.lower() == b"retry-after"), b"")
        seconds = min(int(wait), 24 * 3600) if status in _WAITS and wait.isdigit() else 0
        return Sent(status, f"status-{status}", seconds)
    if format != STANDARD:
        code = _code(answer)
        if code != 0:
            return Sent(status, f"refused-{code}"[:40])
    return Sent(status, "")


def _code(answer: bytes) -> Any:
    try:
        found = json.loads(answer)
    except ValueError:
        return "unreadable"
    if not isinstance(found, dict):
        return "unreadable"
    return next((found[name] for name in ("errcode", "code", "StatusCode") if name in found), 0)


def signed(outgoing: Outgoing, now: datetime) -> tuple[str, dict[str, str], bytes]:
    """Address, headers and body as they are sent: signed as the receiver checks it."""
    headers = {"content-type": "application/json; charset=utf-8", "user-agent": "Gridloop"}
    address, body = outgoing.address, outgoing.body
    if outgoing.format == STANDARD:
        assert outgoing.secret is not None, "every app has one"
        headers |= {
            "webhook-id": outgoing.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(outgoing.secret).sign(
                outgoing.id, now.astimezone(UTC), body
            ),
        }
    elif outgoing.secret and outgoing.format == DINGTALK:
        moment = str(int(now.timestamp() * 1000))
        sign = _hmac(outgoing.secret, f"{moment}\n{outgoing.secret}")
        joint = "&" if "?" in address else "?"
        address += f"{joint}timestamp={moment}&sign={quote(sign, safe='')}"
    elif outgoing.secret and outgoing.format == FEISHU:
        moment = str(int(now.timestamp()))
        sign = _hmac(f"{moment}\n{outgoing.secret}", "")
        body = json.dumps(
            {"timestamp": moment, "sign": sign, **json.loads(body)},
            ensure_ascii=False,
            separators=(",", ":"),
        )
    return address, headers, body.encode()


def _hmac(key: str, text: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), hashlib.sha256)).decode()
