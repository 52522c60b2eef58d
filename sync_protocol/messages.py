"""The messages of the sync exchange, as they stand on the wire.

`sync_protocol.decoding` reads them.
"""

import json
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sync_protocol import limits

MAX_MUTATIONS = 1_000
MAX_REQUEST_BYTES = 2 * 1024 * 1024
MAX_PAGE_RECORDS = 5_000
DEFAULT_PAGE_RECORDS = 500
PAGE_BYTES = 256 * 1024
MAX_SEQ = 2**53
MAX_QUEUED = 2**31 - 1
MAX_PROTOCOL = 2**31 - 1


# Without `gc`: they hold nothing but JSON, in which no circles are, so that it need not be searched
# for them.
class Mutation(msgspec.Struct, omit_defaults=True, gc=False):
    """What one device did to one record: only the fields that it changed; set fields as add and
    remove.

    `epoch` (optional) is the server's epoch to which `base` belongs; `base_grid` (optional) is the
    grid in which `base` was seen, sent when the mutation moves the record to another. `flaw` never
    stands on the wire.
    """

    seq: int
    kind: str = ""
    id: str = ""
    grid: str = ""
    op: str = "put"
    base: int = 0
    stamp: str = ""
    fields: dict[str, Any] = {}
    epoch: str | None = None
    base_grid: str | None = None
    flaw: str | None = None

    def canonical(self) -> bytes:
        """The content as canonical JSON, without seq and flaw: what a digest and the log keep."""
        base_grid = UNSET if self.base_grid is None else self.base_grid
        epoch = UNSET if self.epoch is None else self.epoch
        content = _Content(
            self.base,
            base_grid,
            epoch,
            self.fields,
            self.grid,
            self.id,
            self.kind,
            self.op,
            self.stamp,
        )
        try:
            return encode(content)
        except (UnicodeError, msgspec.EncodeError, OverflowError):
            return canonical_bytes(
                {
                    name: value
                    for name, value in msgspec.structs.asdict(content).items()
                    if value is not UNSET
                }
            )
        except RecursionError:
            return limits.with_a_fresh_stack(lambda: encode(content))


class _Content(msgspec.Struct, gc=False):
    """What canonical JSON holds of a mutation, in the order of the names, so that only what lies
    within needs sorting.
    """

    base: int
    base_grid: str | UnsetType
    epoch: str | UnsetType
    fields: dict[str, Any]
    grid: str
    id: str
    kind: str
    op: str
    stamp: str


class SyncRequest(msgspec.Struct):
    """What a device sends. `again` (optional) names grids to be sent from the start, to heal a
    copy.
    """

    protocol: int
    sent_at: datetime
    cursor: str | None = None
    limit: int = DEFAULT_PAGE_RECORDS
    queued: int = 0
    mutations: list[Mutation] = []
    again: list[str] = []


class Conflict(msgspec.Struct, omit_defaults=True):
    """One field on which two devices disagreed: what was kept, what lost and by which rule."""

    field: str
    kept: Any
    lost: Any
    rule: str
    id: str | None = None


class Verdict(msgspec.Struct, omit_defaults=True, gc=False):
    """What became of a mutation. `first` stands with `duplicate` and names the outcome of the first
    time.
    """

    seq: int
    outcome: str
    rev: int | None = None
    first: str | None = None
    conflicts: list[Conflict] | None = None
    reason: str | None = None
    detail: str | None = None


class Change(msgspec.Struct, omit_defaults=True):
    """The newest state of one record. `gone`: it left this grid. `stamp` and `by`: its latest
    mutation's time and author.
    """

    kind: str
    id: str
    grid: str
    rev: int
    deleted: bool = False
    fields: dict[str, Any] = {}
    gone: bool = False
    stamp: str = ""
    by: str = ""
    created_by: str = ""


class Rules(msgspec.Struct):
    """What a phone must know of the server to fold problems as it does.

    `own_work_from`: the stamp from which nobody verifies the own resolution.
    """

    own_work_from: str


class SyncAnswer(msgspec.Struct):
    """What the server answers. `rules` (optional) stands there when a rule has not always held."""

    epoch: str
    server_time: str
    acked: int
    verdicts: list[Verdict]
    changes: list[Change]
    dropped_grids: list[str]
    cursor: str
    more: bool
    pending: int
    rules: Rules | None = None


class GridCopy(msgspec.Struct):
    """A device's account of its copy of one grid."""

    grid: str
    rev: int
    count: int
    digest: str


class VerifyRequest(msgspec.Struct):
    """The grids whose copies a device wants to prove. `protocol` (optional) is that of the
    exchange.
    """

    grids: list[GridCopy]
    protocol: int | UnsetType = UNSET


class VerifyAnswer(msgspec.Struct):
    """The grids whose copies differ and must be pulled again."""

    mismatched: list[str]


encode = msgspec.json.Encoder(order="deterministic").encode
_sorted = msgspec.json.Encoder(order="sorted")


def canonical_bytes(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; half characters stay as escapes, so that anything which
    came can be stored.
    """
    try:
        return _sorted.encode(value)
    except (UnicodeError, msgspec.EncodeError, OverflowError, RecursionError):
        return limits.with_a_fresh_stack(
            lambda: json.dumps(value, sort_keys=True, separators=(",", ":"))
        ).encode()


def canonical_json(value: Any) -> str:
    """The same as text."""
    return canonical_bytes(value).decode()


def showable_json(text: str) -> str:
    """Stored JSON as every client can read it: half characters, which are no Unicode, become
    U+FFFD.
    """
    if "\\ud" not in text:
        return text
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace").decode()


def shown_json(text: str) -> Any:
    """The value of stored JSON as every client can read it, however old and odd it is."""
    try:
        value = json.loads(text)
    except RecursionError:
        return limits.CUT
    return limits.normalised(value, len(text) + limits.MAX_MUTATION_BYTES)
