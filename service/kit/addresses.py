"""Addresses that settings and commands name."""

import ipaddress

from sync_protocol.texts import Text


def checked(address: str) -> str:
    """An address or network that may be named as a proxy; ValueError, with a `Text`, for anything
    else.
    """
    try:
        if address != "*":
            ipaddress.ip_network(address)
    except ValueError:
        text = Text(
            "‘{address}’ is no address; write one like 10.0.0.5, or a network like 10.0.0.0/24",
            address=address,
        )
        raise ValueError(text) from None
    return address
