"""What mutations name, and the names of feeds: what has to be read before anything is judged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from service.writes.mutations import HoldReason
from sync_protocol.kinds import Kind
from sync_protocol.messages import Mutation
from sync_protocol.records import KINDS
from sync_protocol.vocabulary import CODE_LENGTH

_LONGEST = CODE_LENGTH["grid"]


def mailbox_of(staff_code: str) -> str:
    """The feed that carries a cadre's own notices; it is counted like a grid's and no grid is
    called so.
    """
    return "@" + staff_code


def is_mailbox(feed: str) -> bool:
    """Whether a name is that of a mailbox: of a cadre's notices, or of the articles of a unit."""
    return feed.startswith("@") or (
        feed.startswith("#") and _may_be_code(feed[1:]) and len(feed) <= _LONGEST + 1
    )


class Naming(Protocol):
    """A mutation that was read: it names a grid, a record, and others in its fields."""

    @property
    def mutation(self) -> Mutation: ...

    @property
    def fields(self) -> Mapping[str, Any]: ...

    @property
    def flaw(self) -> HoldReason | None: ...


N = TypeVar("N", bound=Naming)


class ReadSet(msgspec.Struct):
    """What mutations name: grids, and ids by the kind of record."""

    grids: set[str]
    ids: dict[str, set[str]]

    @classmethod
    def of(cls, items: Iterable[N]) -> "ReadSet":
        """The names in mutations that have no flaw of their own; what cannot be a grid's code is
        left out, for nothing is called so.
        """
        by_kind: dict[str, list[N]] = {}
        for item in items:
            if item.flaw is None:
                by_kind.setdefault(item.mutation.kind, []).append(item)
        grids: set[str] = set()
        ids: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for kind_name, some in by_kind.items():
            grids.update([item.mutation.grid for item in some])
            ids[kind_name].update([item.mutation.id for item in some])
            for name, refers in KINDS[kind_name].references:
                ids[refers].update([value for item in some if (value := item.fields.get(name))])
        return cls({grid for grid in grids if _may_be_code(grid)}, ids)

    @classmethod
    def of_columns(
        cls,
        kind: Kind,
        ids: Iterable[str],
        grids: Iterable[str],
        fields: Mapping[str, Sequence[Any]],
    ) -> "ReadSet":
        """The names in mutations of one kind, whose fields are in columns; None where there is
        none.
        """
        found: dict[str, set[str]] = {name: set() for name in KINDS}
        found[kind.name].update(ids)
        for name, refers in kind.references:
            found[refers].update([value for value in fields[name] if value is not None])
        return cls({grid for grid in {*grids} if _may_be_code(grid)}, found)

    def with_grids(self, grids: set[str]) -> "ReadSet":
        """The same with more grids."""
        return ReadSet(self.grids | grids, self.ids)

    @classmethod
    def joined(cls, several: Sequence["ReadSet"]) -> "ReadSet":
        """The names of several together."""
        if len(several) == 1:
            return several[0]
        grids = set().union(*[one.grids for one in several])
        return cls(
            grids, {kind: set().union(*[one.ids[kind] for one in several]) for kind in KINDS}
        )


def _may_be_code(grid: str) -> bool:
    return grid.isascii() and grid.isdigit()
