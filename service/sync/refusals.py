"""Why a device gets no data, though what it hands in is taken: it was revoked, or its app is too
old.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.kit.errors import DEVICE_REVOKED, UPGRADE, Problem
from sync_protocol.messages import SyncRequest, Verdict
from sync_protocol.texts import Text
from sync_protocol.version import MINIMUM


def refuse_after_push(
    message: SyncRequest, is_revoked: bool, acked: int, verdicts: Sequence[Verdict]
) -> None:
    """A revoked device and an outdated app get no data, but what they hand in was taken. Raises
    `Problem`.
    """
    if not is_revoked and message.protocol >= MINIMUM:
        return
    members: dict[str, Any] = {"acked": acked, "verdicts": msgspec.to_builtins(verdicts)}
    if is_revoked:
        raise Problem(
            DEVICE_REVOKED,
            "This device was revoked. Hand in what is left, then delete all data on the phone.",
            wipe=message.queued == 0,
            **members,
        )
    raise _upgrade_needed(message.protocol, **members)


def refuse_outdated(protocol: object) -> None:
    """Raises `Problem` for an app that speaks a protocol older than `MINIMUM`."""
    if isinstance(protocol, int) and protocol < MINIMUM:
        raise _upgrade_needed(protocol)


def _upgrade_needed(protocol: int, **members: Any) -> Problem:
    text = Text(
        "The app speaks protocol {protocol}; this server needs {minimum}. Install the newest app;"
        " nothing was lost.",
        protocol=protocol,
        minimum=MINIMUM,
    )
    return Problem(UPGRADE, text, minimum=MINIMUM, **members)
