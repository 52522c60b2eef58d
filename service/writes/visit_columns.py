"""A push of nothing but new visits, which is nearly all that comes: side by side in columns, from
the request to the tables.

It offers the interface of all others (`interface`), only that what is done to one mutation after
the other elsewhere is done to a column here. As soon as one of them may have a flaw, is known
already or comes twice, all are taken apart, and each goes by itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, repeat
from typing import Any

import msgspec

from service.kit.field_cipher import FieldCipher
from service.runtime.yielding import EVERY, let_others_run
from service.tallies.deltas import TallyDeltas
from service.writes.interface import Accepter, NewRows, ParsedMutations, PreparedMutations, Rows
from service.writes.log_queries import MutationLog
from service.writes.mutations import parse_all
from service.writes.prepared import (
    Author,
    PreparedMutation,
    corrected_event,
    latest_event,
    noteworthy_offset,
)
from service.writes.read_set import ReadSet
from sync_protocol import clock
from sync_protocol.cleaning import clean_columns
from sync_protocol.kinds import with_any_words
from sync_protocol.limits import MAX_MUTATION_BYTES
from sync_protocol.merge import first_value
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.periods import to_ms
from sync_protocol.records import VISIT


class VisitColumns(msgspec.Struct):
    """Visits as they were read (`Parsed`). `fields`: the canonical values by field, None where
    there is none; contents: see `ParsedMutation`.
    """

    mutations: Sequence[Mutation]
    ids: Sequence[str]
    grids: Sequence[str]
    contents: Sequence[bytes]
    fields: dict[str, Sequence[Any]]

    @classmethod
    def joined(cls, several: Sequence["VisitColumns"]) -> "VisitColumns | None":
        """Several one behind the other; None if a visit comes twice."""
        if len(several) == 1:
            return several[0]
        ids = [*chain.from_iterable(some.ids for some in several)]
        if len({*ids}) < len(ids):
            return None
        return cls(
            [*chain.from_iterable(some.mutations for some in several)],
            ids,
            [*chain.from_iterable(some.grids for some in several)],
            [*chain.from_iterable(some.contents for some in several)],
            {
                name: [*chain.from_iterable(some.fields[name] for some in several)]
                for name in several[0].fields
            },
        )

    def read_set(self) -> ReadSet:
        """See `Parsed`."""
        return ReadSet.of_columns(VISIT, self.ids, self.grids, self.fields)

    def one_by_one(self) -> ParsedMutations:
        """See `Parsed`."""
        return ParsedMutations(parse_all(self.mutations))

    def prepare(self, author: Author, now: datetime) -> "PreparedVisitColumns":
        """See `Parsed`."""
        return prepare_visit_columns(author, self, now)


class PreparedVisitColumns(msgspec.Struct):
    """The same, ready to be taken in (`Prepared`): whose they are, their corrected stamps, as texts
    and as numbers, and corrected fields.

    `must_echo`: whether what is stored says something else than what was sent, so that its phone
    must be sent it.
    """

    author: Author
    visits: VisitColumns
    stamps: Sequence[str]
    numbers: Sequence[int]
    fields: dict[str, Sequence[Any]]
    must_echo: Sequence[bool]
    now: datetime

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def ids(self) -> Sequence[str]:
        """See `Prepared`."""
        return self.visits.ids

    @property
    def grids(self) -> Sequence[str]:
        """See `NewVisits`."""
        return self.visits.grids

    @property
    def devices(self) -> set[str]:
        """See `Prepared`."""
        return {self.author.device}

    @property
    def first_stamp(self) -> str:
        """The lowest stamp; those of a phone only rise."""
        return self.stamps[0]

    @property
    def last_stamp(self) -> str:
        """See `Prepared`."""
        return self.stamps[-1]

    @property
    def singles(self) -> Sequence[PreparedMutation]:
        """None: new visits change nothing that is there."""
        return ()

    def read_set(self) -> ReadSet:
        """See `Prepared`."""
        return self.visits.read_set()

    def in_doubt(self, accepter: Accepter) -> Sequence[PreparedMutation]:
        """All of them, as soon as one of them may have a flaw."""
        return self.one_by_one().singles if accepter.may_have_flaw(self) else ()

    def one_by_one(self) -> PreparedMutations:
        """See `Prepared`."""
        return self.visits.one_by_one().prepare(self.author, self.now)

    def take(self, accepter: Accepter) -> Iterator[list[Verdict]]:
        """Takes them in without what only a merge needs; one by one when one of them may have a
        flaw.
        """
        if accepter.may_have_flaw(self):
            yield from self.one_by_one().take(accepter)
            return
        revs = accepter.revisions.next_of_each(self.grids, self.author.device)
        accepter.add(AcceptedVisits(self, revs, accepter.now))
        yield [
            Verdict(mutation.seq, "applied", rev)
            for mutation, rev in zip(self.visits.mutations, revs, strict=True)
        ]


class AcceptedVisits(msgspec.Struct):
    """New visits with the revisions that they took: what is written of them (`Accepted`)."""

    new: PreparedVisitColumns
    revs: Sequence[int]
    now: datetime

    def created(self) -> Iterable[tuple[tuple[str, str], str]]:
        """See `Accepted`."""
        names = zip(repeat(VISIT.name), self.new.ids, strict=False)
        return zip(names, self.new.grids, strict=True)

    def devices_to_echo(self) -> set[str]:
        """See `Accepted`."""
        return self.new.devices if True in self.new.must_echo else set()

    def count(self, changes: TallyDeltas) -> None:
        """See `Accepted`."""
        fields = self.new.fields
        columns = (
            self.new.grids,
            self.new.numbers,
            fields["visited_at"],
            fields["duties"],
            fields["household_id"],
        )
        changes.new_visits(self.new.author.staff_code, zip(*columns, strict=True), self.now)

    def rows(self, cipher: FieldCipher) -> Rows:
        """See `Accepted`."""
        new, author, count = self.new, self.new.author, len(self.revs)
        columns: dict[str, Sequence[Any]] = {
            "id": new.ids,
            "grid": new.grids,
            "rev": self.revs,
            "seq": [mutation.seq for mutation in new.visits.mutations],
            "stamp": new.numbers,
            "echo": new.must_echo,
            "device": [author.device] * count,
            "by": [author.staff_code] * count,
            "offset_ms": [noteworthy_offset(author.offset_ms)] * count,
            **new.fields,
        }
        return Rows([NewRows(VISIT, columns)])

    def log(self, log: MutationLog) -> None:
        """See `Accepted`."""
        new = self.new
        log.add_applied(
            new.author,
            new.visits.mutations,
            new.visits.contents,
            new.numbers,
            self.revs,
            any(new.fields["location"]),
        )


def parse_visit_columns(mutations: Sequence[Mutation]) -> VisitColumns | None:
    """Reads mutations that are new visits, every one of them without a flaw of its own; None if
    they are not.
    """
    if (
        not mutations
        or {(mutation.kind, mutation.op, mutation.base, mutation.flaw) for mutation in mutations}
        != _NEW
    ):
        return None
    ids = [mutation.id for mutation in mutations]
    raw = [mutation.fields for mutation in mutations]
    # Whether words that were added to a list are in it is for the judge to say.
    fields = clean_columns(VISIT, raw) or clean_columns(_ANY_WORDS, raw)
    if (
        fields is None
        or len({*ids}) < len(ids)
        or any(None in fields[name] for name in VISIT.required)
    ):
        return None
    for name in VISIT.sets:
        fields[name] = [*map(first_value, fields[name])]
    contents = [mutation.canonical() for mutation in mutations]
    if max(map(len, contents)) > MAX_MUTATION_BYTES:
        return None
    return VisitColumns(mutations, ids, [mutation.grid for mutation in mutations], contents, fields)


async def parse_visit_columns_in_turns(mutations: Sequence[Mutation]) -> VisitColumns | None:
    """The same, with turns of others between where there are many."""
    some = []
    for begin in range(0, len(mutations), EVERY):
        read = parse_visit_columns(mutations[begin : begin + EVERY])
        if read is None:
            return None
        some.append(read)
        await let_others_run(len(mutations))
    return VisitColumns.joined(some) if some else None


_ANY_WORDS = with_any_words(VISIT)
_NEW = {(VISIT.name, "put", 0, None)}


def prepare_visit_columns(
    author: Author, visits: VisitColumns, now: datetime
) -> PreparedVisitColumns:
    """An author's new visits, ready to be applied at `now`."""
    now_ms = to_ms(now)
    raw = [mutation.stamp for mutation in visits.mutations]
    stamps = clock.correct_stamps(
        raw, author.offset_ms, now_ms, author.last_stamp, author.oldest_stamp
    )
    fields = {**visits.fields}
    must_echo = (
        [False] * len(stamps)
        if stamps == raw
        else [one != other for one, other in zip(raw, stamps, strict=True)]
    )
    for name in VISIT.events:
        sent = fields[name]
        if author.offset_ms == 0 and max(sent) <= latest_event(now_ms):
            continue
        fields[name] = corrected = [
            corrected_event(value, author.offset_ms, now_ms) for value in sent
        ]
        if corrected != sent:
            must_echo = [
                echo or one != other
                for echo, one, other in zip(must_echo, sent, corrected, strict=True)
            ]
    return PreparedVisitColumns(
        author, visits, stamps, [int(stamp, 16) for stamp in stamps], fields, must_echo, now
    )
