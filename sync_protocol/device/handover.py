"""What one phone has not handed in, carried to another phone of the same cadre: by cable, card or
file.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from sync_protocol import clock
from sync_protocol.messages import Mutation
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import from_ms, to_ms
from sync_protocol.records import KINDS


class Export(msgspec.Struct):
    """An outbox on its way.

    `predecessor`: the last cursor, which proves the phone and is no secret as a refresh token is.
    `offset_ms`: the server's clock less that phone's, as it was seen last.
    """

    staff_code: str
    predecessor: str
    offset_ms: int
    mutations: list[Mutation]


def on_clock(mutations: Sequence[Mutation], offset_ms: int) -> list[Mutation]:
    """Mutations as another phone would have stamped them whose clock is `offset_ms` behind the
    first one's.

    The server corrects stamps and times of events by the clock of the phone that hands them in.
    """
    shift = clock.effective_offset(offset_ms, 0)
    return [_shifted(mutation, shift) for mutation in mutations] if shift else list(mutations)


def _shifted(mutation: Mutation, shift: int) -> Mutation:
    fields = dict(mutation.fields)
    kind = KINDS.get(mutation.kind)
    for name in kind.events if kind else ():
        if isinstance(fields.get(name), str):
            fields[name] = canonical_moment(
                from_ms(to_ms(datetime.fromisoformat(fields[name])) + shift)
            )
    stamp = clock.make_stamp(
        max(0, clock.stamp_ms(mutation.stamp) + shift), int(mutation.stamp[12:], 16)
    )
    return msgspec.structs.replace(mutation, stamp=stamp, fields=fields)
