"""What is known of a request's writes when it ends in an error: no answer claims more than that.

A connection that is lost while COMMIT is under way leaves it open whether the transaction was kept.
Only the sender can find out, by sending the same again under the same id, number or
Idempotency-Key.
"""

from contextvars import ContextVar
from enum import Enum

from sync_protocol.texts import Text


class Kept(Enum):
    """What is known: nothing was kept, all was, or some may have been."""

    NOTHING = "nothing"
    UNKNOWN = "unknown"
    ALL = "all"


class RequestKind(Enum):
    """How a request came, which says how it is sent again."""

    READ = "a read"
    REST = "REST"
    SYNC = "sync"


_REST = {
    Kept.NOTHING: Text("Nothing was changed; try again after a moment."),
    # A request may have several transactions, of which the last failed: then it is not known how
    # far the sender's wish was done.
    Kept.UNKNOWN: Text(
        "It is not known whether this was kept: send the same again with the same Idempotency-Key"
        " or id, and it happens only once."
    ),
}
_CLAIMS = {
    RequestKind.REST: {**_REST, Kept.ALL: _REST[Kept.UNKNOWN]},
    RequestKind.SYNC: {
        Kept.NOTHING: Text("Nothing was taken in; sync again after a moment."),
        Kept.UNKNOWN: Text(
            "It is not known whether what was sent was taken in: send the same again with the same"
            " numbers, and it happens only once."
        ),
        Kept.ALL: Text("What was sent was taken in; sync again after a moment."),
    },
}
_AGAIN = Text("Try again after a moment.")


class Outcome:
    """What is known of one request; its transactions note here what became of them."""

    def __init__(self, kind: RequestKind = RequestKind.REST) -> None:
        self.kind = kind
        self.kept = Kept.NOTHING

    def note_kept(self) -> None:
        """A transaction was committed."""
        self.kept = Kept.ALL

    def note_doubt(self) -> None:
        """A COMMIT was sent, and nobody knows what became of it."""
        self.kept = Kept.UNKNOWN

    @property
    def claim(self) -> Text:
        """What an answer may say of it."""
        return _AGAIN if self.kind is RequestKind.READ else _CLAIMS[self.kind][self.kept]


current: ContextVar[Outcome | None] = ContextVar("outcome", default=None)


def claim() -> Text:
    """What an answer may say of the request at hand; outside of one, nothing but to try again."""
    outcome = current.get()
    return _AGAIN if outcome is None else outcome.claim
