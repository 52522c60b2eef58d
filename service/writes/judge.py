"""Whether a mutation may be applied: by the posts at its stamp, by how late it comes, by where it
writes and what it refers to. Pure: all that it needs to know was read before."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from service.kit.settings import Settings
from service.writes.author_rules import AuthorRules
from service.writes.check_rules import against_check
from service.writes.indicator_rules import against_value
from service.writes.move_rules import (
    into_closed,
    is_accepted,
    move_request,
    names_a_move,
    needs_acceptance,
    of_what_was_deleted,
)
from service.writes.mutations import HoldReason
from service.writes.prepared import Author, PreparedMutation
from service.writes.record_rules import (
    against_erasure,
    against_record,
    incomplete,
    with_too_much_unknown,
)
from service.writes.reference_rules import ReferenceRules
from service.writes.tie_rules import against_tying
from service.writes.validities import Validities
from service.writes.word_rules import against_words, words_hold
from service.writes.world import Evidence, World
from sync_protocol import lifecycle
from sync_protocol.kinds import Kind
from sync_protocol.moments import is_in_the_years
from sync_protocol.record_state import GRID
from sync_protocol.records import INDICATOR_VALUE, KINDS, VISIT, VISIT_CHECK
from sync_protocol.texts import Text


class NewVisits(Protocol):
    """New visits of one author, in columns."""

    @property
    def author(self) -> Author: ...

    @property
    def grids(self) -> Sequence[str]: ...

    @property
    def fields(self) -> Mapping[str, Sequence[Any]]: ...

    @property
    def first_stamp(self) -> str: ...

    @property
    def last_stamp(self) -> str: ...


class Judge:
    """Judges mutations against the world of one call of the write path."""

    def __init__(
        self,
        now: datetime,
        settings: Settings,
        world: World,
        validities: Validities,
        evidence: Evidence,
    ) -> None:
        self._now = now
        self._settings = settings
        self._world = world
        self.validities = validities
        self._evidence = evidence
        self._authors = AuthorRules(now, settings, validities, evidence)
        self._references = ReferenceRules(now, validities, evidence, self._authors, world.tree)

    def with_evidence(self, evidence: Evidence) -> "Judge":
        """One that knows more."""
        return Judge(self._now, self._settings, self._world, self.validities, evidence)

    def _may_hold(self, grid: str, kind: Kind) -> bool:
        """Whether records of a kind may lie in a unit: most lie in grids alone."""
        return kind.of_units or self._world.tree.height(grid) == 0

    # ------------------------------------------------------------------------- many visits at once

    def may_have_flaw(self, some: NewVisits) -> bool:
        """Whether something may stand against one of these new visits, as `flaw` finds it; never
        wrong when it says no."""
        author = some.author
        if not words_hold(
            self._world.vocabulary, VISIT, some.fields, some.first_stamp, some.last_stamp
        ):
            return True
        if author.revoked_at is not None or some.first_stamp < author.oldest_stamp:
            return True
        if not is_in_the_years(min(some.fields["visited_at"])):
            return True
        named = {
            (refers, target)
            for name, refers in VISIT.references
            for target in {*some.fields[name]}
            if target is not None
        }
        if self._world.erased and not named.isdisjoint(self._world.erased):
            return True
        where = self._world.where
        grids = {*some.grids}
        if not grids <= self._world.grids.keys() or not all(
            self._may_hold(grid, VISIT) for grid in grids
        ):
            return True
        grids.update(grid for grid in {where(*name) for name in named} if grid is not None)
        if not all(
            self.validities.plainly(author, VISIT.name, grid, some.first_stamp, some.last_stamp)
            for grid in grids
        ):
            return True
        return any(where(*name) is None for name in named)

    # ------------------------------------------------------------------------------ one at a time

    def _followed(self, item: PreparedMutation, about: tuple[str, str]) -> str | None:
        """Where a new record belongs whose author did not know that what it is about has left the
        grid; None if that is here, never was here, or the author has pulled that it left.
        """
        home, grid = self._world.where(*about), item.mutation.grid
        if home is None or home == grid or home not in self._world.grids:
            return None
        moves = self._evidence.followed.get(about)
        if moves is None:
            # By the author's own mutations just before, or never.
            stored = self._world.record(*about)
            return home if stored is not None and grid in stored.elements.get(GRID, {}) else None
        return home if item.author.seen(grid) < moves.get(grid, 0) else None

    def flaw(self, item: PreparedMutation) -> HoldReason | None:
        """What stands against a readable mutation in the world as it is; None if nothing does."""
        assert item.kind is not None
        kind, mutation, author, fields = item.kind, item.mutation, item.author, item.fields
        grid = mutation.grid
        words = against_words(self._world.vocabulary, item, kind)
        if words is not None:
            return words
        if grid not in self._world.grids or not self._may_hold(grid, kind):
            return HoldReason("grid-unknown", Text("There is no grid ‘{grid}’.", grid=grid[:20]))
        record = self._world.record(kind.name, mutation.id)
        requested = move_request(self.validities, item, kind, record)
        stamp, where = item.judged_at, grid if requested is None else requested.covered
        is_trusted = author.revoked_at is None and stamp >= author.oldest_stamp
        plainly = is_trusted and self.validities.plainly(author, kind.name, where, stamp, stamp)
        flaw = (
            None
            if plainly
            else self._authors.against_author(item, kind, where)
            or self._authors.against_ties(item, kind)
        )
        if flaw is None:
            flaw = against_tying(item, kind, record)
        if flaw is not None:
            return flaw
        if record is None:
            if mutation.op == "delete":
                detail = Text("There is no {kind} {id} to delete.", kind=kind.word, id=mutation.id)
                return HoldReason("record-missing", detail, mutation.id, kind.name)
            if any(fields.get(name) is None for name in kind.required):
                return incomplete(kind, item)
        else:
            flaw = against_record(
                self.validities, item, kind, record, requested is not None
            ) or with_too_much_unknown(kind, record, fields)
            if flaw is not None:
                return flaw
            moves = names_a_move(item) and record.grid != grid
            if moves and self._world.tree.closed_from(grid) is not None:
                return into_closed(item, kind)
        if kind is INDICATOR_VALUE:
            flaw = against_value(
                self._world.vocabulary, self._world.tree, self.validities, item, record
            )
            if flaw is not None:
                return flaw
        homes = []
        for name, refers in kind.references:
            target = fields.get(name)
            if not target:
                continue
            home = self._world.where(refers, target)
            if home is None:
                detail = Text(
                    "{field} names the {kind} {id}, which is not here yet.",
                    field=kind.by_name[name].word,
                    kind=KINDS[refers].word,
                    id=target,
                )
                return HoldReason("reference-missing", detail, target, refers)
            homes.append((name, refers, target, home))
        problem_id = fields.get("problem_id") if kind.name == "step" else None
        about = item.about if record is None else None
        item.moved_to = None if about is None else self._followed(item, about)
        # A visit that may be written where it was made stays there, as those before it did.
        if (
            kind is VISIT
            and item.moved_to is not None
            and about is not None
            and self._references.may_refer(item, kind, *about, item.moved_to)
        ):
            item.moved_to = None
        if item.moved_to is not None:
            # It refers to what lay here, as far as its author knew: what it goes with, and what
            # has gone with that.
            homes = [
                (name, refers, target, grid if home == item.moved_to else home)
                for name, refers, target, home in homes
            ]
        if problem_id and (home := self._world.where("problem", problem_id)) not in (
            grid,
            item.moved_to,
        ):
            detail = Text(
                "The step's problem lies in grid {grid}; send the step in that grid.", grid=home
            )
            return HoldReason("grid-mismatch", detail)
        if kind is VISIT_CHECK and record is None:
            flaw = against_check(item, self._world.where, self._evidence.visitors)
            if flaw is not None:
                return flaw
        flaw = self._references.against_references(item, kind, homes) or against_erasure(
            self._world.erased, item, kind, record
        )
        if flaw is None and requested is not None:
            if record is not None and record.deleted:
                return of_what_was_deleted(item, kind)
            if not is_accepted(item, requested.ends, self._now):
                return needs_acceptance(item, kind, self._world.tree, self._now)
            item.is_accepted = True
        if flaw is None and problem_id in self._evidence.assigned:
            # What the same push brings later is judged by it, too.
            step = lifecycle.Step(
                mutation.id, item.stamp, item.created_by or author.staff_code, fields
            )
            self._evidence.assigned[problem_id].steps.append(step)
        return flaw
