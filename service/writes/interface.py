"""The interface of the write path: what mutations must offer on their way from a request to the
tables, be they handled one by one or in columns.

`Parsed` is read before the transaction, `Prepared` is what the unit of work takes in (`Accepter`),
`Accepted` is what is written of it. `ParsedMutations` and `PreparedMutations` handle mutations of
any kind one by one; `visit_columns` does the same with columns of new visits. The rest of the write
path knows the interface only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from service.kit.field_cipher import FieldCipher
from service.kit.sql import Cte
from service.tallies.deltas import TallyDeltas
from service.writes.judge import NewVisits
from service.writes.log_queries import MutationLog
from service.writes.mutations import ParsedMutation
from service.writes.prepared import Author, PreparedMutation, prepare
from service.writes.read_set import ReadSet
from service.writes.revisions import Revisions
from sync_protocol.kinds import Kind
from sync_protocol.messages import Verdict


class NewRows(NamedTuple):
    """New rows of a kind, which nobody has changed since they were made: see `records.adding`."""

    kind: Kind
    columns: Mapping[str, Sequence[Any]]


class Rows(NamedTuple):
    """What is written to the tables of records: new rows by COPY, the rest by statements."""

    new: Sequence[NewRows]
    changed: Sequence[tuple[Kind, Cte]] = ()


class Accepted(Protocol):
    """Mutations that were judged and merged: what is written of them."""

    def created(self) -> Iterable[tuple[tuple[str, str], str]]:
        """The records that they have made, by kind and id, with their grids."""

    def devices_to_echo(self) -> set[str]:
        """The devices that do not know by their verdicts alone what became of records by their
        mutations.
        """

    def count(self, changes: TallyDeltas) -> None:
        """Adds what they change in the tallies, but for cases."""

    def rows(self, cipher: FieldCipher) -> Rows:
        """What they write to the tables of records."""

    def log(self, log: MutationLog) -> None:
        """Adds their lines and bodies to the mutation log."""


class Accepter(Protocol):
    """What takes mutations in, in order: the unit of work."""

    @property
    def revisions(self) -> Revisions:
        """The revisions that they take."""

    @property
    def now(self) -> datetime:
        """When they are taken in."""

    def take(self, item: PreparedMutation) -> Verdict:
        """Judges and merges one mutation."""

    def may_have_flaw(self, visits: NewVisits) -> bool:
        """Whether something may stand against one of these new visits."""

    def add(self, accepted: Accepted) -> None:
        """Takes what is to be written of mutations that need no merge."""


class Prepared(Protocol):
    """Mutations that are ready to be taken in, in order."""

    def __len__(self) -> int: ...

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the records that they name as their own."""

    @property
    def devices(self) -> set[str]:
        """Whose they are."""

    @property
    def last_stamp(self) -> str:
        """The highest stamp, where they are of one device."""

    @property
    def singles(self) -> Sequence[PreparedMutation]:
        """Those that may change what is there already, each by itself."""

    def read_set(self) -> ReadSet:
        """What has to be read for them."""

    def in_doubt(self, accepter: Accepter) -> Sequence[PreparedMutation]:
        """Those beside the singles that will be judged one by one, as it seems now."""

    def one_by_one(self) -> "PreparedMutations":
        """The same, each by itself."""

    def take(self, accepter: Accepter) -> Iterator[list[Verdict]]:
        """Has them taken in, in parts between which others may have a turn."""


class Parsed(Protocol):
    """The mutations of a request as they were read, before anything is known of their author."""

    def read_set(self) -> ReadSet:
        """What has to be read for them."""

    def one_by_one(self) -> "ParsedMutations":
        """The same, each by itself."""

    def prepare(self, author: Author, now: datetime) -> Prepared:
        """Those of an author, in the order of seq, ready to be taken in at `now`."""


class ParsedMutations:
    """Mutations of any kind that were read one by one."""

    def __init__(self, parsed_mutations: Sequence[ParsedMutation]) -> None:
        self.singles = parsed_mutations

    def read_set(self) -> ReadSet:
        """See `Parsed`."""
        return ReadSet.of(self.singles)

    def one_by_one(self) -> "ParsedMutations":
        """See `Parsed`."""
        return self

    def prepare(self, author: Author, now: datetime) -> "PreparedMutations":
        """See `Parsed`."""
        return PreparedMutations(prepare(author, self.singles, now))


class PreparedMutations:
    """Mutations of any kind, and of any authors, one by one."""

    def __init__(self, items: Sequence[PreparedMutation]) -> None:
        self.singles = items

    def __len__(self) -> int:
        return len(self.singles)

    @property
    def ids(self) -> Sequence[str]:
        """See `Prepared`."""
        return [item.mutation.id for item in self.singles]

    @property
    def devices(self) -> set[str]:
        """See `Prepared`."""
        return {item.author.device for item in self.singles}

    @property
    def last_stamp(self) -> str:
        """See `Prepared`."""
        return self.singles[-1].stamp

    def read_set(self) -> ReadSet:
        """See `Prepared`."""
        return ReadSet.of(self.singles)

    def in_doubt(self, accepter: Accepter) -> Sequence[PreparedMutation]:
        """See `Prepared`."""
        return ()

    def one_by_one(self) -> "PreparedMutations":
        """See `Prepared`."""
        return self

    def take(self, accepter: Accepter) -> Iterator[list[Verdict]]:
        """See `Prepared`."""
        for item in self.singles:
            yield [accepter.take(item)]
