"""The messages of the sync exchange, as they stand on the wire.

Decode with `decode_request`: it refuses only an envelope that is broken as a whole (`BrokenEnvelope`), and hands on a mutation that
cannot be read as a `Mutation` with a `flaw`, so that one bad mutation never blocks the rest (promise 2).
"""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sync_protocol.clock import are_stamps, is_stamp
from sync_protocol.fields import Moment, Unfit
from sync_protocol.ids import UUID_FORM, are_uuids
from sync_protocol.periods import FIRST_YEAR, LAST_YEAR
from sync_protocol.texts import Text, text_of

MAX_MUTATIONS = 1_000
MAX_REQUEST_BYTES = 2 * 1024 * 1024
MAX_PAGE_RECORDS = 5_000
DEFAULT_PAGE_RECORDS = 500
PAGE_BYTES = 256 * 1024
MAX_SEQ = 2**53
_OPS = frozenset({"put", "delete"})


# Without `gc`: they hold nothing but JSON, in which no circles are, so that it need not be searched for them.
class Mutation(msgspec.Struct, omit_defaults=True, gc=False):
    """What one device did to one record: only the fields that it changed; set fields as add and remove.

    `epoch` (optional) is the server's epoch to which `base` belongs; `base_grid` (optional) is the grid in which `base` was seen, sent
    when the mutation moves the record to another. `flaw` never stands on the wire.
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
        content = _Content(self.base, base_grid, epoch, self.fields, self.grid, self.id, self.kind, self.op, self.stamp)
        try:
            return encode(content)
        except (UnicodeError, msgspec.EncodeError, OverflowError):
            return canonical_bytes({name: value for name, value in msgspec.structs.asdict(content).items() if value is not UNSET})


class _Content(msgspec.Struct, gc=False):
    """What canonical JSON holds of a mutation, in the order of the names, so that only what lies within needs sorting."""

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
    """What a device sends. `again` (optional) names grids to be sent from the start, to heal a copy."""

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
    """What became of a mutation. `first` stands with `duplicate` and names the outcome of the first time."""

    seq: int
    outcome: str
    rev: int | None = None
    first: str | None = None
    conflicts: list[Conflict] | None = None
    reason: str | None = None
    detail: str | None = None


class Change(msgspec.Struct, omit_defaults=True):
    """The newest state of one record. `gone`: it left this grid. `stamp` and `by`: its latest mutation's time and author."""

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


class SyncAnswer(msgspec.Struct):
    """What the server answers."""

    epoch: str
    server_time: str
    acked: int
    verdicts: list[Verdict]
    changes: list[Change]
    dropped_grids: list[str]
    cursor: str
    more: bool
    pending: int


class GridCopy(msgspec.Struct):
    """A device's account of its copy of one grid."""

    grid: str
    rev: int
    count: int
    digest: str


class VerifyRequest(msgspec.Struct):
    """The grids whose copies a device wants to prove."""

    grids: list[GridCopy]


class VerifyAnswer(msgspec.Struct):
    """The grids whose copies differ and must be pulled again."""

    mismatched: list[str]


class BrokenEnvelope(ValueError):
    """A request that cannot be read at all; `malformed` says that it was not even JSON."""

    def __init__(self, detail: str, malformed: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.malformed = malformed


_fast = msgspec.json.Decoder(SyncRequest)
encode = msgspec.json.Encoder(order="deterministic").encode
_sorted = msgspec.json.Encoder(order="sorted")


def decode_request(body: bytes) -> SyncRequest:
    """The request in `body`; raises `BrokenEnvelope`."""
    try:
        request = _fast.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        request = _read_leniently(body)
    _check_envelope(request)
    if not _are_usable(request.mutations):
        for mutation in request.mutations:
            mutation.flaw = mutation.flaw or flaw_of(mutation)
    return request


def decode_verify(body: bytes) -> VerifyRequest:
    """The verify request in `body`; raises `BrokenEnvelope`."""
    try:
        return msgspec.json.decode(body, type=VerifyRequest)
    except msgspec.ValidationError as error:
        raise BrokenEnvelope(Text("The envelope is wrong: {why}.", why=error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BrokenEnvelope(Text("The body is no JSON: {why}.", why=error), malformed=True) from None


def parse_json(body: bytes) -> Any:
    """Any JSON, with half characters let through so that they can be held and shown; raises `BrokenEnvelope`."""

    def refuse(token: str) -> Any:
        raise ValueError(f"{token} is no JSON")

    try:
        return json.loads(body.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BrokenEnvelope(Text("The body is no JSON: {why}.", why=str(error)[:200]), malformed=True) from None


def _read_leniently(body: bytes) -> SyncRequest:
    """Reads mutation by mutation what the typed decoder refused as a whole."""
    raw = parse_json(body)
    if not isinstance(raw, dict):
        raise BrokenEnvelope("The body must be a JSON object.")
    mutations = raw.pop("mutations", [])
    if not isinstance(mutations, list):
        raise BrokenEnvelope("mutations must be a list.")
    try:
        request = msgspec.convert(raw, SyncRequest)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise BrokenEnvelope(Text("The envelope is wrong: {why}.", why=error)) from None
    request.mutations = [_mutation_from(item, index) for index, item in enumerate(mutations)]
    return request


_WANTED = {str: Text("text"), int: Text("a whole number"), dict: Text("an object")}


def _mutation_from(item: Any, index: int) -> Mutation:
    if not isinstance(item, dict) or type(item.get("seq")) is not int:
        raise BrokenEnvelope(Text("mutations[{index}] has no whole number seq, so it cannot be acknowledged.", index=index))
    problems: list[Text] = []

    def take(name: str, kind: type, default: Any) -> Any:
        value = item.get(name, default)
        if type(value) is kind:
            return value
        problems.append(Text("{field} must be {wanted}", field=name, wanted=_WANTED[kind]))
        return default

    mutation = Mutation(
        seq=item["seq"],
        kind=take("kind", str, ""),
        id=take("id", str, ""),
        grid=take("grid", str, ""),
        op=take("op", str, "put"),
        base=take("base", int, 0),
        stamp=take("stamp", str, ""),
        fields=take("fields", dict, {}),
    )
    for name in ("epoch", "base_grid"):
        if isinstance(item.get(name), str):
            setattr(mutation, name, item[name])
    if problems:
        # Stored whole: what could not be read is kept under its own name.
        mutation.fields = {"unreadable": item}
        mutation.flaw = Text("{problems}", problems=problems)
    return mutation


def _check_envelope(request: SyncRequest) -> None:
    if request.sent_at.tzinfo is None:
        raise BrokenEnvelope("sent_at has no offset; write it like 2026-11-24T09:00:00.123+08:00.")
    if not FIRST_YEAR < request.sent_at.year < LAST_YEAR:  # else its offset does not matter
        try:
            Moment().clean(request.sent_at.isoformat())
        except Unfit as error:
            raise BrokenEnvelope(Text("sent_at {what}.", what=text_of(error))) from None
    if not 1 <= request.limit <= MAX_PAGE_RECORDS:
        raise BrokenEnvelope(Text("limit must lie from 1 to {max}.", max=MAX_PAGE_RECORDS))
    if request.queued < 0:
        raise BrokenEnvelope("queued cannot be negative.")
    if request.mutations:
        _check_numbers([mutation.seq for mutation in request.mutations])


def _check_numbers(numbers: list[int]) -> None:
    first, after = numbers[0], numbers[0] + len(numbers)
    if first < 1 or after - 1 > MAX_SEQ:
        raise BrokenEnvelope(Text("seq counts from 1 to {max}.", max=MAX_SEQ))
    if numbers != [*range(first, after)]:
        before, wrong = next((one, other) for one, other in pairwise(numbers) if other != one + 1)
        raise BrokenEnvelope(Text("seq {wrong} follows {before}; send mutations in order and without gaps.", wrong=wrong, before=before))


def _are_usable(mutations: Sequence[Mutation]) -> bool:
    """Whether no mutation has a flaw, as `flaw_of` finds them; seen for all of them at once."""
    bases = [0, *[mutation.base for mutation in mutations]]
    return (
        are_uuids([mutation.id for mutation in mutations])
        and are_stamps([mutation.stamp for mutation in mutations])
        and {mutation.op for mutation in mutations} <= _OPS
        and min(bases) == 0
        and max(bases) <= MAX_SEQ
        and {mutation.flaw for mutation in mutations} <= {None}
    )


def flaw_of(mutation: Mutation) -> str | None:
    """Why a mutation cannot be used, beyond its fields; None when it can."""
    if UUID_FORM.fullmatch(mutation.id) is None:
        return Text("id must be a UUID in lower case")
    if not is_stamp(mutation.stamp):
        return Text("stamp must be 16 hex digits")
    if mutation.op not in _OPS:
        return Text("op must be put or delete")
    if not 0 <= mutation.base <= MAX_SEQ:
        return Text("base must be a rev, 0 for a new record")
    return None


def canonical_bytes(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; half characters stay as escapes, so that anything which came can be stored."""
    try:
        return _sorted.encode(value)
    except (UnicodeError, msgspec.EncodeError, OverflowError):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def canonical_json(value: Any) -> str:
    """The same as text."""
    return canonical_bytes(value).decode()


def showable_json(text: str) -> str:
    """Stored JSON as every client can read it: half characters, which are no Unicode, become U+FFFD."""
    if "\\ud" not in text:
        return text
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace").decode()
