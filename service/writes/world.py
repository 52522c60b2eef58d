"""What mutations are judged by: the part of the world that one call of the write path touches, and
what was read for rare cases.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from service.identity.rights import PostHeld
from service.organisation.tree import BY_CODES, Tree
from service.vocabulary.terms import BUILT_IN, Vocabulary
from service.writes.snapshot import Erased
from sync_protocol import lifecycle
from sync_protocol.periods import local_day
from sync_protocol.record_state import Record


class Assigned(msgspec.Struct):
    """A problem with the steps that it has, for those who may act because it was assigned to them.

    `own_work_from`, `above`: see `lifecycle.fold`. Who may extend a limit says nothing about an
    assignment.
    """

    grid: str
    created_by: str
    fields: Mapping[str, Any]
    steps: list[lifecycle.Step]
    own_work_from: str
    above: lifecycle.Above = lifecycle.unit_above

    def case_before(self, stamp: str, id: str) -> lifecycle.Case:
        """How the problem stood when a step with this id was stamped; the same step sent again is
        none of those before it.
        """
        before = [
            step
            for step in self.steps
            if step.stamp < stamp or (step.stamp == stamp and step.id != id)
        ]
        return lifecycle.fold(
            self.fields,
            self.grid,
            self.created_by,
            before,
            own_work_from=self.own_work_from,
            above=self.above,
        )


class Near(NamedTuple):
    """To whom a household, or what is about it, is near as to a contact member: who wrote it or is
    named by its field, and the ties, each with its days.
    """

    people: frozenset[str] = frozenset()
    ties: tuple[tuple[str, str, str | None], ...] = ()

    def includes(self, staff_code: str, moment: datetime) -> bool:
        """Whether a contact member was near it at a moment."""
        day = local_day(moment).isoformat()
        return staff_code in self.people or any(
            cadre == staff_code and first <= day and (last is None or day < last)
            for cadre, first, last in self.ties
        )


class Evidence(msgspec.Struct):
    """What rare judgements need: read only when a mutation calls for it, see `evidence`.

    `left`: the grids that a record has left, each with the stamp of the move. `contacts`: the
    contact members of households. `units`: those named units that exist. `cadres`: all posts of
    those named cadres that exist. `assigned`: problems of grids in which an author has no post.
    `about`: of visits and problems that contact members name, who wrote them and to whom their
    household is tied. `followed`: the grids that problems and households have left, each with
    its revision of then, of those that new records elsewhere are about. `visitors`: who made the
    visits that are checked.
    """

    left: dict[tuple[str, str], Mapping[str, str]] = {}
    contacts: dict[str, Near] = {}
    units: set[str] = set()
    cadres: dict[str, list[PostHeld]] = {}
    assigned: dict[str, Assigned] = {}
    about: dict[tuple[str, str], Near] = {}
    followed: dict[tuple[str, str], dict[str, int]] = {}
    visitors: dict[str, str] = {}


class Stored(Protocol):
    """A record with what is kept besides it."""

    @property
    def record(self) -> Record: ...


class World(NamedTuple):
    """What one call of the write path touches.

    `grids`: those that exist, of the named ones; `stored`: the records that mutations change or
    have made; `existing`: the grids of others that are here; `erased`: those of the named records
    whose personal data was erased; `tree`: of units; `vocabulary`: the words of lists.
    """

    grids: Mapping[str, int]
    stored: Mapping[tuple[str, str], Stored]
    existing: dict[tuple[str, str], str]
    erased: Mapping[tuple[str, str], Erased] = {}
    tree: Tree = BY_CODES
    vocabulary: Vocabulary = BUILT_IN

    def where(self, kind: str, id: str) -> str | None:
        """The grid of a record; None if it is not here."""
        stored = self.stored.get((kind, id))
        return stored.record.grid if stored else self.existing.get((kind, id))

    def record(self, kind: str, id: str) -> Record | None:
        """A record that mutations change or have made."""
        stored = self.stored.get((kind, id))
        return stored.record if stored else None
