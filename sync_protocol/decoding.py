"""Reads the messages that clients send.

`decode_request` refuses only an envelope that is broken as a whole (`BrokenEnvelope`), and hands on
a mutation that cannot be read as a `Mutation` with a `flaw`, so that one bad mutation never blocks
the rest (promise 2). Whatever it hands on without a flaw of its own has an id, a stamp, an op and a
base that can be used, and no text that cannot be stored; of the fields the kinds know more, see
`records`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

import msgspec

from sync_protocol import lenient, limits
from sync_protocol.cleaning import UNREADABLE
from sync_protocol.clock import are_stamps, is_stamp
from sync_protocol.ids import UUID_FORM, are_uuids
from sync_protocol.messages import (
    MAX_PAGE_RECORDS,
    MAX_PROTOCOL,
    MAX_QUEUED,
    MAX_SEQ,
    Mutation,
    SyncRequest,
    VerifyRequest,
)
from sync_protocol.moments import read_moment
from sync_protocol.texts import Text, text_of
from sync_protocol.version import PROTOCOL

_OPS = frozenset({"put", "delete"})
E = TypeVar("E")
_fast = msgspec.json.Decoder(SyncRequest)


class BrokenEnvelope(ValueError):
    """A request that cannot be read at all; `malformed` says that it was not even JSON."""

    def __init__(self, detail: str, malformed: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.malformed = malformed


class UnknownProtocol(ValueError):
    """A request of a newer protocol than this package speaks: its messages may mean something else
    than they seem to.
    """

    def __init__(self, protocol: int) -> None:
        super().__init__(f"protocol {protocol}")
        self.protocol = protocol


class OddMutation(Mutation):
    """A mutation with something in it that nobody could keep or show: what stands in it is a
    normalised copy, and `flaw` says why.

    `as_sent` is the canonical JSON of what came, for its digest; `original` the text that came.
    """

    as_sent: bytes = b""
    original: bytes = b""
    reason: str = "unreadable"

    @classmethod
    def of(
        cls, mutation: Mutation, flaw: str, original: bytes = b"", reason: str = "unreadable"
    ) -> "OddMutation":
        """The normalised copy of a mutation as it was read."""
        as_sent = mutation.canonical()
        short = {name: limits.normalised(getattr(mutation, name), _NAME_BYTES) for name in _NAMES}
        return cls(
            mutation.seq,
            **short,
            base=mutation.base if 0 <= mutation.base <= MAX_SEQ else 0,
            fields=limits.normalised(mutation.fields),
            flaw=limits.showable(flaw),
            as_sent=as_sent,
            original=original or as_sent,
            reason=reason,
        )


# The members of a mutation that are short texts, and what each may take in a normalised copy.
_NAMES = ("kind", "id", "grid", "op", "stamp", "epoch", "base_grid")
_NAME_BYTES = 300


def decode_request(body: bytes) -> SyncRequest:
    """The request in `body`; raises `UnknownProtocol`, else `BrokenEnvelope`."""
    is_lenient = False
    try:
        request = _fast.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        request, is_lenient = _read_leniently(body), True
    _check_envelope(request)
    if request.mutations and not _are_usable(request.mutations):
        for mutation in request.mutations:
            # It never stands on the wire: what the typed decoder found of it a client made up.
            read = mutation.flaw if is_lenient else None
            mutation.flaw = read or flaw_of(mutation)
    return request


def decode_verify(body: bytes) -> VerifyRequest:
    """The verify request in `body`; raises `UnknownProtocol`, else `BrokenEnvelope`."""
    try:
        request = msgspec.json.decode(body, type=VerifyRequest)
        _check_protocol(request.protocol)
        return request
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        members, copies = _members(body, "grids")
    named = [copy.value for copy in copies or ()]
    if copies is None or not all(isinstance(copy, dict) for copy in named):
        raise BrokenEnvelope("grids must be a list of objects with grid, rev, count and digest.")
    for copy in named:
        copy.update({name: limits.whole(value) for name, value in copy.items()})
    return _converted({**members, "grids": named}, VerifyRequest)


def _members(body: bytes, list_name: str) -> tuple[dict[str, Any], list[lenient.Element] | None]:
    try:
        members, elements = lenient.read_envelope(body, list_name)
    except ValueError as error:
        if _is_other_json(body):
            raise BrokenEnvelope("The body must be a JSON object.") from None
        raise BrokenEnvelope(
            Text("The body is no JSON: {why}.", why=_why(error)), malformed=True
        ) from None
    # Before anything else: in a newer protocol the rest may look different.
    if "protocol" in members:
        members["protocol"] = limits.whole(members["protocol"])
        _check_protocol(members["protocol"])
    return members, elements


def _check_protocol(protocol: Any) -> None:
    """Refuses a number that is no version, and a version that is newer than this package. What is
    no number the types refuse.
    """
    if type(protocol) is not int:
        return
    if not 1 <= protocol <= MAX_PROTOCOL:
        raise BrokenEnvelope(Text("protocol must lie from 1 to {max}.", max=MAX_PROTOCOL))
    if protocol > PROTOCOL:
        raise UnknownProtocol(protocol)


def _why(error: ValueError) -> str:
    """What a parser says of a text that it cannot read."""
    text = text_of(error)
    return limits.showable(text if isinstance(text, Text) else text[:200])


def _is_other_json(body: bytes) -> bool:
    """Whether a body is JSON, but no object."""
    try:
        return not isinstance(lenient.parse(body), dict)
    except (ValueError, RecursionError):
        return False


def _converted(members: dict[str, Any], kind: type[E]) -> E:
    """An envelope from its members; raises `BrokenEnvelope`."""
    odd = limits.oddity(members)
    if odd is not None:
        raise BrokenEnvelope(
            Text("The envelope {what}; send whole characters and plain numbers.", what=odd)
        )
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise BrokenEnvelope(Text("The envelope is wrong: {why}.", why=error)) from None


def _read_leniently(body: bytes) -> SyncRequest:
    """Reads mutation by mutation what the typed decoder refused as a whole."""
    members, elements = _members(body, "mutations")
    if elements is None:
        raise BrokenEnvelope("mutations must be a list.")
    for name in ("limit", "queued"):
        if name in members:
            members[name] = limits.whole(members[name])
    sent_at = members.get("sent_at")
    if isinstance(sent_at, str):
        moment = read_moment(sent_at)
        if moment is None:
            raise BrokenEnvelope("sent_at is no time; write it like 2026-11-24T09:00:00.123+08:00.")
        members["sent_at"] = moment
    request = _converted(members, SyncRequest)
    request.mutations = [_mutation_from(element, index) for index, element in enumerate(elements)]
    return request


_WANTED = {str: Text("text"), int: Text("a whole number"), dict: Text("an object")}


def _mutation_from(element: lenient.Element, index: int) -> Mutation:
    """A mutation as it can be read; with what nobody could keep or show in it, its normalised
    copy.
    """
    item = element.value
    seq = limits.whole(item.get("seq")) if isinstance(item, dict) else None
    if type(seq) is not int:
        raise BrokenEnvelope(
            Text(
                "mutations[{index}] has no whole number seq, so it cannot be acknowledged.",
                index=index,
            )
        )
    problems: list[Text] = []

    def take(name: str, kind: type, default: Any) -> Any:
        value = item.get(name, default)
        value = limits.whole(value) if kind is int else value
        if type(value) is kind or (value is None and default is None):
            return value
        problems.append(Text("{field} must be {wanted}", field=name, wanted=_WANTED[kind]))
        return default

    mutation = Mutation(
        seq=seq,
        kind=take("kind", str, ""),
        id=take("id", str, ""),
        grid=take("grid", str, ""),
        op=take("op", str, "put"),
        base=take("base", int, 0),
        stamp=take("stamp", str, ""),
        fields=take("fields", dict, {}),
        epoch=take("epoch", str, None),
        base_grid=take("base_grid", str, None),
    )
    if problems:
        # Stored whole: what could not be read is kept under its own name.
        mutation.fields = {UNREADABLE: item}
        mutation.flaw = Text("{problems}", problems=problems)
    odd = _oddity_of(mutation)
    if odd is None:
        return mutation
    original = element.text.encode("utf-8", "surrogatepass")
    name, what = odd
    reason = "fields-wrong" if name.startswith("fields.") and not problems else "unreadable"
    return OddMutation.of(
        mutation, mutation.flaw or Text("{field} {what}", field=name, what=what), original, reason
    )


def _oddity_of(mutation: Mutation) -> tuple[str, Text] | None:
    """The member of a mutation, or the field, that nobody could keep or show, and what is wrong
    with it.
    """
    for name in (*_NAMES, "base"):
        if (odd := limits.oddity(getattr(mutation, name))) is not None:
            return name, odd
    for name, value in mutation.fields.items():
        if (odd := limits.oddity(name) or limits.oddity(value)) is not None:
            return f"fields.{limits.showable(name[:40])}", odd
    return None


def shown(mutation: Mutation, size: int) -> Mutation:
    """A mutation that cannot be applied, as everybody can keep and show it: itself, or its
    normalised copy. `size`: its bytes.
    """
    if isinstance(mutation, OddMutation):
        return mutation
    odd = _oddity_of(mutation)
    if odd is None and size <= limits.MAX_MUTATION_BYTES:
        return mutation
    return OddMutation.of(
        mutation,
        mutation.flaw or "" if odd is None else Text("{field} {what}", field=odd[0], what=odd[1]),
    )


def _check_envelope(request: SyncRequest) -> None:
    _check_protocol(request.protocol)
    if request.sent_at.tzinfo is None:
        raise BrokenEnvelope("sent_at has no offset; write it like 2026-11-24T09:00:00.123+08:00.")
    if not 1 <= request.limit <= MAX_PAGE_RECORDS:
        raise BrokenEnvelope(Text("limit must lie from 1 to {max}.", max=MAX_PAGE_RECORDS))
    if not 0 <= request.queued <= MAX_QUEUED:
        raise BrokenEnvelope(Text("queued must lie from 0 to {max}.", max=MAX_QUEUED))
    if request.mutations:
        _check_numbers([mutation.seq for mutation in request.mutations])


def _check_numbers(numbers: list[int]) -> None:
    first, after = numbers[0], numbers[0] + len(numbers)
    if first < 1 or after - 1 > MAX_SEQ:
        raise BrokenEnvelope(Text("seq counts from 1 to {max}.", max=MAX_SEQ))
    if numbers != [*range(first, after)]:
        before, wrong = next((one, other) for one, other in pairwise(numbers) if other != one + 1)
        raise BrokenEnvelope(
            Text(
                "seq {wrong} follows {before}; send mutations in order and without gaps.",
                wrong=wrong,
                before=before,
            )
        )


def _are_usable(mutations: Sequence[Mutation]) -> bool:
    """Whether no mutation has a flaw, as `flaw_of` finds them; seen for all of them at once."""
    bases = [0, *[mutation.base for mutation in mutations]]
    return (
        are_uuids([mutation.id for mutation in mutations])
        and are_stamps([mutation.stamp for mutation in mutations])
        and {mutation.op for mutation in mutations} <= _OPS
        and min(bases) == 0
        and max(bases) <= MAX_SEQ
        and "\0" not in "".join({mutation.grid for mutation in mutations})
        and all(
            _is_plain(*some)
            for some in {
                (mutation.flaw, mutation.epoch, mutation.base_grid) for mutation in mutations
            }
        )
    )


def _is_plain(flaw: str | None, epoch: str | None, base_grid: str | None) -> bool:
    return flaw is None and "\0" not in (epoch or "") and "\0" not in (base_grid or "")


def flaw_of(mutation: Mutation) -> str | None:
    """Why a mutation cannot be used, beyond its fields; None when it can. Brings an id or stamp in
    upper case to lower case.
    """
    if UUID_FORM.fullmatch(mutation.id) is None:
        if UUID_FORM.fullmatch(mutation.id.lower()) is None:
            return Text("id must be a UUID, like 0192f3a1-0000-7000-8000-000000000000")
        mutation.id = mutation.id.lower()
    if not is_stamp(mutation.stamp):
        if not is_stamp(mutation.stamp.lower()):
            return Text("stamp must be 16 hex digits")
        mutation.stamp = mutation.stamp.lower()
    if mutation.op not in _OPS:
        return Text("op must be put or delete")
    if not 0 <= mutation.base <= MAX_SEQ:
        return Text("base must be a rev, 0 for a new record")
    for name in ("grid", "epoch", "base_grid"):
        if "\0" in (getattr(mutation, name) or ""):
            return Text("{field} {what}", field=name, what=Text("holds the character U+0000"))
    if UNREADABLE in mutation.fields:
        return Text("what was sent cannot be read; it stands under ‘{field}’", field=UNREADABLE)
    return None
