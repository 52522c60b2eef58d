"""Where webhooks may go: to public addresses, and to the networks that a setting names.

A name is looked up, every address that it has is judged, and the connection goes to one of just
these: between the look and the connection nobody can put another address in its place.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpcore

from service.kit.errors import INVALID, Problem
from sync_protocol.texts import Text

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_LENGTH = 1000
LOOK_UP_S = 5.0
# Addresses of IPv6 that carry one of IPv4, which may be a private one.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddress(Exception):
    """The host has an address to which nothing is sent."""


def networks(given: Iterable[str]) -> list[Network]:
    """The networks of the setting; raises ValueError."""
    every = ("0.0.0.0/0", "::/0")
    return [
        ipaddress.ip_network(each) for one in given for each in (every if one == "*" else (one,))
    ]


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether something may be sent to an address."""
    if any(address.version == one.version and address in one for one in allowed):
        return True
    carried = _carried(address)
    if carried is not None:
        return is_allowed(carried, allowed)
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _carried(address: Address) -> Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


async def look_up(host: str, port: int, allowed: Sequence[Network]) -> list[str]:
    """The addresses of a host; raises `ForbiddenAddress` if one of them is not allowed, and OSError
    when there is none.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LOOK_UP_S):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(item[4][0]).partition("%")[0] for item in found]
    if not all(is_allowed(ipaddress.ip_address(one), allowed) for one in addresses):
        raise ForbiddenAddress(host)
    return list(dict.fromkeys(addresses))


class JudgedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were judged, and to no other. TLS still asks for the certificate
    of the host's name.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address of the host that answers."""
        error: Exception = OSError(f"{host} has no address")
        for address in await look_up(host, port, self._allowed):
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> httpcore.AsyncNetworkStream:
        """Never: a webhook is no file."""
        raise ForbiddenAddress(path)

    async def sleep(self, seconds: float) -> None:
        """As the library asks for it."""
        await self._backend.sleep(seconds)


async def checked(address: str, allowed: Sequence[Network]) -> str:
    """The host of an address that somebody gives; raises `Problem` for one to which nothing is
    sent. A name that is not known yet is judged when something is sent.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, parts, port = None, urlsplit(""), None
    wrong = (
        not address.isascii()
        or any(sign <= " " or sign == "\x7f" for sign in address)
        or len(address) > MAX_LENGTH
    )
    if wrong or not host or parts.scheme not in ("https", "http") or parts.fragment:
        raise Problem(
            INVALID, "address is no address of a webhook; write one like https://HOST/PATH."
        )
    if parts.username is not None or parts.password is not None:
        raise Problem(INVALID, "address must hold no user and no password; leave them out.")
    is_plain = parts.scheme == "http"
    try:
        found = await look_up(host, port or (80 if is_plain else 443), allowed)
    except ForbiddenAddress:
        raise Problem(
            INVALID,
            Text(
                "{host} lies in a network to which no webhooks go; give a public address, or let"
                " the operator add its network to GRIDLOOP_WEBHOOK_NETWORKS.",
                host=host,
            ),
        ) from None
    except (OSError, TimeoutError, UnicodeError):
        found = []
    within = [one for one in found if not any(ipaddress.ip_address(one) in net for net in allowed)]
    if is_plain and (within or not found):
        raise Problem(INVALID, "address must begin with https; http is for own networks only.")
    return host
