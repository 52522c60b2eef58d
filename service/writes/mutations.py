"""Reads mutations by the declaration of their kind and finds their flaws. Pure: nothing of the
database is known here.

What is wrong with a mutation is not an error: it becomes a `HoldReason`, and the mutation is held
(promise 2).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from sync_protocol import clock, ids
from sync_protocol.cleaning import UnfitFields, clean_fields, clean_many
from sync_protocol.decoding import OddMutation, flaw_of, shown
from sync_protocol.fields import InvalidValue
from sync_protocol.kinds import Kind, with_any_words
from sync_protocol.limits import MAX_MUTATION_BYTES, showable
from sync_protocol.messages import Mutation
from sync_protocol.records import KINDS
from sync_protocol.texts import Text, fitted, text_of


class HoldReason(NamedTuple):
    """Why a mutation is held: a stable reason, a sentence, and the record whose arrival would mend
    it, with its kind.
    """

    reason: str
    detail: str
    waits_for: str | None = None
    waits_for_kind: str | None = None


class ParsedMutation(msgspec.Struct):
    """A mutation read by its declaration: what can be known of it before the world is looked at.

    `fields`: in canonical form, unless it has a `flaw`; `as_sent`: whether they say just what was
    sent; `content`: as it is logged. `original`: what came, where `mutation` and `content` are a
    normalised copy of it; `sent`: the canonical JSON of that. `unless_known`: its flaw unless the
    vocabulary knows the words in it that the declaration does not.
    """

    mutation: Mutation
    content: bytes
    original: bytes | None = None
    sent: bytes | None = None
    kind: Kind | None = None
    fields: dict[str, Any] = {}
    flaw: HoldReason | None = None
    as_sent: bool = True
    unless_known: HoldReason | None = None

    @property
    def identity(self) -> bytes:
        """What tells whether a repeated seq has the same content (promise 10)."""
        return self.content if self.sent is None else self.sent


def read(mutation: Mutation) -> ParsedMutation:
    """Reads a mutation; what is wrong with it becomes its flaw."""
    [parsed] = parse_all([mutation])
    return parsed


def parse_all(mutations: Sequence[Mutation]) -> list[ParsedMutation]:
    """The same for many: those of a kind are read together where that is enough, which is
    faster.
    """
    parsed_mutations = []
    by_kind: dict[str, list[ParsedMutation]] = {}
    for mutation in mutations:
        content = mutation.canonical()
        parsed = ParsedMutation(mutation, content)
        parsed_mutations.append(parsed)
        if len(content) > MAX_MUTATION_BYTES:
            text = Text(
                "It has {size} bytes, at most {max} fit; write less, or in several records.",
                size=len(content),
                max=MAX_MUTATION_BYTES,
            )
            parsed.flaw = HoldReason("too-large", text)
        elif mutation.flaw is None:
            by_kind.setdefault(mutation.kind, []).append(parsed)
        else:
            parsed.flaw = HoldReason("unreadable", mutation.flaw)
    for name, some in by_kind.items():
        _read_fields(name, some)
    for parsed in parsed_mutations:
        if parsed.flaw is not None:
            _make_showable(parsed, parsed.flaw)
    return parsed_mutations


# A sentence for people; what it quotes may be longer than it.
_MAX_DETAIL = 1_000


def _make_showable(parsed: ParsedMutation, flaw: HoldReason) -> None:
    """Leaves in the place of what nobody could keep or show a normalised copy of it, and what came
    beside it.
    """
    mutation = shown(parsed.mutation, len(parsed.content))
    if isinstance(mutation, OddMutation):
        came_odd = parsed.mutation is mutation
        parsed.sent = mutation.as_sent if came_odd else parsed.content
        if came_odd:
            flaw = flaw._replace(reason=mutation.reason)
            if len(mutation.as_sent) > MAX_MUTATION_BYTES:
                flaw = flaw._replace(reason="too-large")
        parsed.mutation, parsed.content, parsed.original = (
            mutation,
            mutation.canonical(),
            mutation.original,
        )
    parsed.flaw = flaw._replace(detail=fitted(showable(flaw.detail), _MAX_DETAIL))


def _read_fields(kind_name: str, parsed_mutations: Sequence[ParsedMutation]) -> None:
    """Reads the fields of mutations of one kind."""
    kind = KINDS.get(kind_name)
    if kind is None:
        for parsed in parsed_mutations:
            parsed.flaw = HoldReason(
                "kind-unknown",
                Text(
                    "This server does not know records of kind ‘{kind}’ yet.", kind=kind_name[:40]
                ),
            )
        return
    cleaned = clean_many(kind, [parsed.mutation.fields for parsed in parsed_mutations])
    for place, parsed in enumerate(parsed_mutations):
        parsed.kind = kind
        if cleaned is not None:
            parsed.fields = cleaned[place]
        else:
            try:
                parsed.fields, parsed.as_sent = clean_fields(kind, parsed.mutation.fields)
            except UnfitFields as error:
                if not _read_with_any_words(kind, parsed, error):
                    parsed.flaw = HoldReason(error.reason, text_of(error))
                    continue
        if kind.key:
            _check_id(kind, parsed)


_ANY_WORDS = {kind.name: with_any_words(kind) for kind in KINDS.values() if kind.listed}


def _read_with_any_words(kind: Kind, parsed: ParsedMutation, error: UnfitFields) -> bool:
    """Reads fields whose only fault may be words that were added to a list; False if there is
    another. Whether they were is for the `Judge` to say.
    """
    wider = _ANY_WORDS.get(kind.name)
    if wider is None:
        return False
    try:
        parsed.fields, parsed.as_sent = clean_fields(wider, parsed.mutation.fields)
    except UnfitFields:
        return False
    detail = fitted(showable(text_of(error)), _MAX_DETAIL)
    parsed.unless_known = HoldReason(error.reason, detail)
    return True


def _check_id(kind: Kind, parsed: ParsedMutation) -> None:
    """A record with a natural key has the id that follows from it (promise 5)."""
    mutation = parsed.mutation
    key = [parsed.fields[name] for name in kind.key if parsed.fields.get(name) is not None]
    if mutation.op != "put" or len(key) < len(kind.key):
        return
    if mutation.id != ids.natural_id(kind.name, mutation.grid, *key):
        text = Text(
            "The id of a {kind} follows from its grid and {key}; compute it.",
            kind=kind.word,
            key=[kind.by_name[name].word for name in kind.key],
        )
        parsed.flaw = HoldReason("id-wrong", text)


def parse_again(mutation: Mutation, is_copy: bool) -> ParsedMutation:
    """Reads a held mutation for its release; what is computed from its fields is computed anew.

    `is_copy`: it is a normalised copy, of which nobody wrote what is in it, so that it is not
    applied as it stands.
    """
    mutation = corrected(mutation, mutation.fields)
    if is_copy:
        mutation.flaw = Text(
            "What is shown is a normalised copy of what was sent; release it with corrected fields."
        )
    return read(mutation)


def corrected(mutation: Mutation, fields: Mapping[str, Any]) -> Mutation:
    """A held mutation with other fields; what is computed from them is computed anew."""
    mutation = msgspec.structs.replace(mutation, fields=dict(fields), flaw=None)
    if not clock.is_stamp(mutation.stamp):
        mutation.stamp = clock.ZERO  # it is judged at the stamp under which it was held
    kind = KINDS.get(mutation.kind)
    if (
        kind is not None
        and kind.key
        and mutation.op == "put"
        and all(mutation.fields.get(name) is not None for name in kind.key)
    ):
        with suppress(InvalidValue):  # reading the fields says so
            key = [kind.cleaners[name](mutation.fields[name]) for name in kind.key]
            mutation.id = ids.natural_id(kind.name, mutation.grid, *key)
    mutation.flaw = flaw_of(mutation)
    return mutation
