"""Record ids: computed where a record has a natural key, UUIDv7 elsewhere (promise 5)."""

import random
import re
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sync_protocol.text_forms import all_match

UUID_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "gridloop")


def weekly_analysis_id(grid: str, week: str) -> str:
    """The one id of a grid's analysis of an ISO week (`2026-W47`), the same on every phone."""
    return str(uuid.uuid5(NAMESPACE, f"weekly_analysis:{grid}:{week}"))


def monthly_summary_id(grid: str, month: str) -> str:
    """The one id of a grid's summary of a month (`2026-11`), the same on every phone."""
    return str(uuid.uuid5(NAMESPACE, f"monthly_summary:{grid}:{month}"))


def indicator_value_id(unit: str, indicator: str, period: str) -> str:
    """The one id of a unit's value of an indicator for a period, the same on every phone."""
    return natural_id("indicator_value", unit, indicator, period)


def natural_id(kind: str, unit: str, *key: str) -> str:
    """The id of a record of a kind with a natural key, by the values of the fields of that."""
    return str(uuid.uuid5(NAMESPACE, ":".join((kind, unit, *key))))


def household_id(grid: str, number: int) -> str:
    """The id of household `number` (from 1) of the made-up roster of a grid."""
    return str(uuid.uuid5(NAMESPACE, f"household:{grid}:{number}"))


def server_device_id(staff_code: str) -> str:
    """The server-side device that carries a cadre's REST writes as mutations."""
    return str(uuid.uuid5(NAMESPACE, f"server_device:{staff_code}"))


_SYSTEM = random.SystemRandom()


def uuid7(ms: int, randomness: random.Random) -> str:
    """A UUIDv7 (RFC 9562): `ms` Unix milliseconds, then 74 random bits from `randomness`."""
    value = (ms & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | randomness.getrandbits(12) << 64
    value |= 0b10 << 62 | randomness.getrandbits(62)
    return str(uuid.UUID(int=value))


def new_uuid7(moment: datetime) -> str:
    """A new UUIDv7 of a timezone-aware moment."""
    return uuid7(int(moment.timestamp() * 1000), _SYSTEM)


def is_uuid(text: object) -> bool:
    """Whether `text` is a UUID in the canonical form: 36 characters, lower case, hyphens."""
    return type(text) is str and UUID_FORM.fullmatch(text) is not None


def is_computed(id: str) -> bool:
    """Whether a UUID is of version 5: computed from a name, as `server_device_id` does, so that
    anybody who knows the name has it.
    """
    return id[14:15] == "5"


def are_uuids(values: Sequence[Any]) -> bool:
    """Whether all values are."""
    return all_match(values, b"00000000-0000-0000-0000-000000000000", is_hex=True)
