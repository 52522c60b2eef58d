"""The hybrid logical clock: stamps on the phone, their correction on the server (promise 6).

A stamp is 16 hex digits, 12 of Unix milliseconds and 4 of a counter, so it sorts as text. A phone
ticks it for every edit. The server moves it by the phone's offset (server time minus `sent_at`),
never past its own now, and never out of the order of the phone's `seq`.
"""

from collections.abc import Callable, Sequence

from sync_protocol.text_forms import all_match

ZERO = "0" * 16

# Below this the offset is what a slow network adds to `sent_at`, and correcting by it would only
# add noise.
TOLERANCE_MS = 2_000

# Above this the offset is kept with the record and shown to people.
NOTEWORTHY_MS = 5 * 60 * 1000

# A clock that was put back by more than this is followed back instead of counting up from the wrong
# time.
MAX_DRIFT_MS = 60_000

_COUNTERS = 0x1_0000


def make_stamp(ms: int, counter: int = 0) -> str:
    """The stamp of `ms` Unix milliseconds and `counter` (0 to 65535)."""
    return f"{ms:012x}{counter:04x}"


def is_stamp(text: object) -> bool:
    """Whether `text` is a stamp: 16 lower-case hex digits."""
    return type(text) is str and len(text) == 16 and not text.strip("0123456789abcdef")


def are_stamps(texts: Sequence[str]) -> bool:
    """Whether all texts are stamps."""
    return all_match(texts, b"0" * 16, is_hex=True)


def stamp_ms(stamp: str) -> int:
    """The Unix milliseconds in a stamp."""
    return int(stamp[:12], 16)


def successor(stamp: str) -> str:
    """The next stamp: the counter plus one, carried into the milliseconds."""
    return f"{int(stamp, 16) + 1:016x}"


class HybridClock:
    """Gives a phone's stamps: `HybridClock(now).tick()`.

    `now` returns the phone's wall clock in Unix milliseconds; `last` is the stamp to continue from.
    """

    def __init__(self, now: Callable[[], int], last: str = ZERO) -> None:
        self._now = now
        self.last = last

    def tick(self) -> str:
        """A stamp for an edit made now, above the last one unless the wall clock was put back by
        more than a minute.
        """
        wall = make_stamp(self._now())
        if wall <= self.last and stamp_ms(self.last) - self._now() <= MAX_DRIFT_MS:
            wall = successor(self.last)
        self.last = wall
        return wall


def effective_offset(server_now_ms: int, sent_at_ms: int, tolerance_ms: int = TOLERANCE_MS) -> int:
    """Milliseconds to add to a phone's times; 0 when the difference is within what a network
    adds.
    """
    offset = server_now_ms - sent_at_ms
    return 0 if abs(offset) <= tolerance_ms else offset


def corrected_ms(ms: int, offset_ms: int, server_now_ms: int) -> int:
    """A phone's time by the server's clock: moved by the offset, within 0 and the server's now."""
    return max(0, min(ms + offset_ms, server_now_ms))


def _is_in_order(stamps: Sequence[str], last: str, latest: str) -> bool:
    """Whether each stamp lies above the one before, the first above `last`, and none above
    `latest`: then there is nothing to correct.
    """
    for stamp in stamps:
        if not last < stamp <= latest:
            return False
        last = stamp
    return True


def correct_stamps(
    stamps: Sequence[str], offset_ms: int, server_now_ms: int, last: str, oldest: str = ZERO
) -> list[str]:
    """The stamps of one phone's mutations, in the order of `seq`, by the server's clock.

    No result lies after the server's now (but for a count-up within one millisecond), and each lies
    above the one before and above `last`, the phone's highest corrected stamp so far. Where the
    phone's clock was put back between two edits, the earlier one is drawn to the later one, which
    was made with the better clock; but a stamp below `oldest`, from long before there was such a
    device, comes from no better clock and draws none back.
    """
    latest = server_now_ms * _COUNTERS + _COUNTERS - 1
    if offset_ms == 0 and _is_in_order(stamps, last, f"{latest:016x}"):
        return list(stamps)
    values = []
    for stamp in stamps:
        value = int(stamp, 16)
        ms = corrected_ms(value // _COUNTERS, offset_ms, server_now_ms)
        values.append(ms * _COUNTERS + value % _COUNTERS)
    ceiling, plausible = latest, int(oldest, 16)
    for index in range(len(values) - 1, -1, -1):
        values[index] = min(values[index], ceiling)
        if values[index] >= plausible:
            ceiling = values[index]
    floor = int(last, 16)
    for index, value in enumerate(values):
        floor = values[index] = max(value, floor + 1)
    return [f"{value:016x}" for value in values]
