"""What stands against what a mutation refers to: records, people and units out of reach. Pure."""

from collections.abc import Sequence
from datetime import datetime

from service.identity.rights import may_settle
from service.organisation.tree import Tree
from service.writes.author_rules import AuthorRules
from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from service.writes.validities import Validities, by_ties_alone
from service.writes.world import Evidence, Near
from sync_protocol.kinds import Kind
from sync_protocol.periods import local_day
from sync_protocol.records import HOUSEHOLD, KINDS
from sync_protocol.texts import Text


class ReferenceRules:
    """Judges by what a mutation refers to."""

    def __init__(
        self,
        now: datetime,
        validities: Validities,
        evidence: Evidence,
        authors: AuthorRules,
        tree: Tree,
    ) -> None:
        self._now = now
        self._validities = validities
        self._evidence = evidence
        self._authors = authors
        self._tree = tree

    def against_references(
        self, item: PreparedMutation, kind: Kind, homes: Sequence[tuple[str, str, str, str]]
    ) -> HoldReason | None:
        """What a mutation refers to must lie where its author may write; people and units must be
        near: a reference shows what it names, and counts for it.

        `homes`: the fields that name a record, its kind, its id and its grid.
        """
        for name, refers, target, grid in homes:
            if not self.may_refer(item, kind, refers, target, grid):
                detail = Text(
                    "{field} names a {kind} that lies outside of what {cadre} may write.",
                    field=kind.by_name[name].word,
                    kind=KINDS[refers].word,
                    cadre=item.author.staff_code,
                )
                return HoldReason("reference-outside", detail)
        for name in kind.cadre_fields:
            code = item.fields.get(name)
            if code and not self._is_near_cadre(item, code):
                detail = Text(
                    "{field} names ‘{cadre}’, who has no post in, above or beside the grid within"
                    " the township.",
                    field=kind.by_name[name].word,
                    cadre=code,
                )
                return HoldReason("reference-outside", detail)
        for name in kind.unit_fields:
            unit = item.fields.get(name)
            if unit and not (unit in self._evidence.units and self._is_near(item, unit)):
                detail = Text(
                    "{field} names ‘{unit}’, which is no unit above, below or beside within the"
                    " township.",
                    field=kind.by_name[name].word,
                    unit=unit,
                )
                return HoldReason("reference-outside", detail)
        return None

    def may_refer(
        self, item: PreparedMutation, kind: Kind, refers: str, target: str, grid: str
    ) -> bool:
        """Whether a mutation may name a record that lies in a grid."""
        if self._may_refer_in(item, kind, refers, target, grid):
            return True
        left = self._evidence.left.get((refers, target), {})
        # A household that has moved since, or was split away, is no fault.
        if any(
            moved > item.judged_at and self._may_refer_in(item, kind, refers, target, former)
            for former, moved in left.items()
        ):
            return True
        decider = item.author.posts if item.override else item.decider
        return decider is not None and may_settle(decider, grid, self._now)

    def _may_refer_in(
        self, item: PreparedMutation, kind: Kind, refers: str, target: str, grid: str
    ) -> bool:
        if self._validities.plainly(item.author, kind.name, grid, item.judged_at, item.judged_at):
            return True
        posts = self._validities.at(item.author, kind.name, grid, item.judged_at)
        if posts and by_ties_alone(posts):
            if refers == HOUSEHOLD.name:
                near = self._evidence.contacts.get(target, Near())
                return near.includes(item.author.staff_code, item.moment)
            return self._authors.is_near_contact(
                item, (refers, target)
            ) or self._authors.is_assigned(item, kind)
        # Who acts by an assignment has no post there: the step's own problem is all that it names.
        return bool(posts) or (
            grid == item.mutation.grid
            and kind.name == "step"
            and target == item.fields.get("problem_id")
        )

    def _is_near(self, item: PreparedMutation, unit: str) -> bool:
        """Whether a unit lies above, below or beside the mutation's grid within the township, or in
        the units of the author."""
        grid, moment = item.mutation.grid, item.moment
        day = local_day(moment)
        if self._tree.covers(unit, grid, day):
            return True
        above = self._tree.above(grid, day)
        if len(above) > 1 and self._tree.covers(above[1], unit, day):
            return True
        return any(post.covers(unit, moment) for post in item.author.posts if post.valid_at(moment))

    def _is_near_cadre(self, item: PreparedMutation, code: str) -> bool:
        moment = item.moment
        return any(
            (post.valid_at(moment) or post.valid_at(self._now)) and self._is_near(item, post.unit)
            for post in self._evidence.cadres.get(code, ())
        )
