"""What stands against what a mutation does to its record: moves, missing fields, too much that is
unknown, and personal data that was erased. Pure.
"""

from collections.abc import Mapping
from typing import Any

from service.writes.mutations import HoldReason
from service.writes.prepared import Author, PreparedMutation
from service.writes.snapshot import Erased
from service.writes.validities import Validities
from sync_protocol import clock
from sync_protocol.cleaning import too_much_unknown, unknown_bytes
from sync_protocol.kinds import Kind
from sync_protocol.limits import MAX_UNKNOWN_BYTES
from sync_protocol.periods import in_minutes, to_ms
from sync_protocol.record_state import GRID, Clock, Record
from sync_protocol.records import KINDS
from sync_protocol.texts import Text


def against_record(
    validities: Validities,
    item: PreparedMutation,
    kind: Kind,
    record: Record,
    is_requested: bool = False,
) -> HoldReason | None:
    """What stands against changing, deleting or moving a record that is here. `is_requested`: it
    moves to where its author may not write, or from there; a person decides on that.
    """
    edit = item.mutation
    if kind.append_only and edit.op == "delete":
        detail = Text("Steps are facts; they are never deleted. Add a step that puts it right.")
        return HoldReason("append-only", detail)
    if edit.grid == record.grid:
        return None
    left = record.elements.get(GRID, {}).get(edit.grid)
    # Who had not heard of the move saw nothing that came after it.
    stale = (
        left is not None
        and edit.base_grid is None
        and (edit.base <= left.rev or item.rebased)
        and _was_there(item.author, left)
    )
    if not kind.movable and not stale and not item.override:
        # With its household it moves by the server's own hand, see `organisation.changes`.
        detail = Text("The {kind} belongs to another grid and cannot move.", kind=kind.word)
        return HoldReason("grid-mismatch", detail)
    if not (stale or is_requested) and not validities.at(
        item.author, kind.name, record.grid, item.judged_at
    ):
        detail = Text(
            "{cadre} may not move the {kind} out of its grid.",
            cadre=item.author.staff_code,
            kind=kind.word,
        )
        return HoldReason("not-allowed", detail)
    return None


def _was_there(author: Author, left: Clock) -> bool:
    """Whether an author's device was in use before a record left its grid; a later one cannot have
    a copy from before.
    """
    return author.registered_at is None or to_ms(author.registered_at) <= clock.stamp_ms(left.stamp)


def incomplete(kind: Kind, item: PreparedMutation) -> HoldReason:
    """What is missing of a record that is not here."""
    id = item.mutation.id
    if item.mutation.base > 0:
        return HoldReason(
            "record-missing",
            Text("There is no {kind} {id} here yet.", kind=kind.word, id=id),
            id,
            kind.name,
        )
    missing = [kind.by_name[name].word for name in kind.required if item.fields.get(name) is None]
    return HoldReason(
        "fields-missing",
        Text("A new {kind} needs {fields}.", kind=kind.word, fields=missing),
        id,
        kind.name,
    )


def with_too_much_unknown(
    kind: Kind, record: Record, fields: Mapping[str, Any]
) -> HoldReason | None:
    """Fields that this version does not know are kept within a bound for the whole record, in
    however many mutations they come.
    """
    if fields.keys() <= kind.by_name.keys():
        return None
    size = unknown_bytes(
        kind,
        {name: value for name, value in {**record.fields, **fields}.items() if value is not None},
    )
    if size <= MAX_UNKNOWN_BYTES or size <= unknown_bytes(kind, record.fields):
        return None
    return HoldReason(
        "too-large", Text("With this the record's fields {what}.", what=too_much_unknown(size))
    )


def against_erasure(
    erased_records: Mapping[tuple[str, str], Erased],
    item: PreparedMutation,
    kind: Kind,
    record: Record | None,
) -> HoldReason | None:
    """What was written without knowing that a person's data was erased must not bring it back
    by itself, neither in the record nor in another about the same person.
    """
    if not erased_records or item.override or item.is_decided or item.fields.keys() <= kind.kept:
        return None
    erased = erased_records.get((kind.name, item.mutation.id))
    if erased is not None and record is not None and not _knew_of(erased, item, record):
        return _erased_since(kind.name, item.mutation.id, erased)
    for name, refers in kind.references:
        target = item.fields.get(name)
        erased = erased_records.get((refers, target)) if target else None
        if erased is not None and not _has_pulled(erased, item.author):
            return _erased_since(refers, str(target), erased)
    return None


def _knew_of(erased: Erased, item: PreparedMutation, record: Record) -> bool:
    """Whether an edit was made of the record as the erasure had left it."""
    edit = item.mutation
    seen_in = edit.base_grid or edit.grid
    if item.rebased:
        return False
    if seen_in == erased.grid:
        return edit.base >= erased.rev
    arrived = record.clocks.get(GRID)
    return seen_in == record.grid and arrived is not None and edit.base >= arrived[0].rev


def _has_pulled(erased: Erased, author: Author) -> bool:
    """Whether a device has pulled its grid since; what is written over REST is written by who reads
    it as it is.
    """
    return author.registered_at is None or author.seen(erased.grid) >= erased.rev


def _erased_since(kind: str, id: str, erased: Erased) -> HoldReason:
    return HoldReason(
        "erased",
        Text(
            "The personal data of the {kind} {id} was erased at {when}, which this mutation does"
            " not know; a person decides.",
            kind=KINDS[kind].word,
            id=id,
            when=in_minutes(erased.at),
        ),
    )
