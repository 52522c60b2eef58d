"""What a phone asks for in one exchange, read before it waits for a batch, which holds locks."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from service.kit import outcomes
from service.kit.outcomes import Outcome, RequestKind
from service.runtime.yielding import let_others_run
from service.writes.interface import Parsed, ParsedMutations
from service.writes.mutations import parse_all
from service.writes.read_set import ReadSet
from service.writes.visit_columns import parse_visit_columns_in_turns
from sync_protocol import clock
from sync_protocol.messages import SyncRequest
from sync_protocol.periods import to_ms


class PhoneCaller(NamedTuple):
    """Who syncs: a device and its cadre. `registered_ms`: when the device was registered, as its
    sign-in says; None if it does not.
    """

    device: str
    staff_code: str
    registered_ms: int | None = None


class ExchangeRequest(msgspec.Struct, frozen=True):
    """One exchange as it came; nothing of it changes, however often it is tried.

    `device`, `staff_code`, `registered_ms`: see `PhoneCaller`. `offset_ms`: by how much the phone's
    clock is off, as far as it counts. `parsed`: the mutations as they were read, and `read_set`
    what they name. `outcome`: where is noted what is known of its writes; its own, whoever's batch
    it is committed in.
    """

    device: str
    staff_code: str
    registered_ms: int | None
    message: SyncRequest
    now: datetime
    offset_ms: int
    parsed: Parsed
    read_set: ReadSet
    outcome: Outcome

    @classmethod
    def of(
        cls, caller: PhoneCaller, message: SyncRequest, now: datetime, parsed: Parsed
    ) -> "ExchangeRequest":
        """The request of a message whose mutations were read."""
        outcome = outcomes.current.get() or Outcome()
        outcome.kind = RequestKind.SYNC if message.mutations else RequestKind.READ
        offset_ms = clock.effective_offset(to_ms(now), to_ms(message.sent_at))
        return cls(*caller, message, now, offset_ms, parsed, parsed.read_set(), outcome)


async def read_request(caller: PhoneCaller, message: SyncRequest, now: datetime) -> ExchangeRequest:
    """Reads the mutations of a message, with turns of others between where there are many."""
    await let_others_run(len(message.mutations))
    parsed: Parsed | None = await parse_visit_columns_in_turns(message.mutations)
    if parsed is None:
        parsed = ParsedMutations(parse_all(message.mutations))
    request = ExchangeRequest.of(caller, message, now, parsed)
    await let_others_run(len(message.mutations))
    return request
