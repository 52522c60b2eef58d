"""What is shown of a person to whom: phone numbers and addresses are whole for those who go there, masked for all others."""

from collections.abc import Mapping
from typing import Any

from service.identity.access import Caller
from service.identity.rights import SEES_CONTACTS
from sync_protocol.records import PERSONAL


def masked(phone: str | None) -> str | None:
    """A phone number with its middle hidden."""
    if phone is None or len(phone) < 8:
        return phone and "*" * len(phone)
    return phone[:3] + "*" * (len(phone) - 7) + phone[-4:]


def masked_address(address: str | None) -> str | None:
    """An address with only its beginning."""
    return address and address[:3] + "***"


def masked_contact(text: str | None) -> str | None:
    """Whom to call back, with only the beginning of the name."""
    return text and text[:1] + "***"


_MASKS = {"phone": masked, "address": masked_address, "contact": masked_contact}


def veiled(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record or mutation with the personal ones masked."""
    names = PERSONAL.get(kind, frozenset())
    return {name: _MASKS[name](value) if name in names and isinstance(value, str) else value for name, value in fields.items()}


def sees_contacts(caller: Caller) -> bool:
    """Whether the caller sees phone numbers and addresses whole."""
    return caller.holds(SEES_CONTACTS)
