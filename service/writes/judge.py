"""Whether a mutation may be applied: by the posts at its stamp, by how late it comes, by where it
writes and what it refers to. Pure: all that it needs to know was read before."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import msgspec

from service.identity.rights import PostHeld, covers, may_settle, writing_posts
from service.kit.settings import Settings
from service.writes.mutations import Author, HoldReason, PreparedMutation
from service.writes.prefetch import Erased
from service.writes.visit_columns import PreparedVisitColumns
from sync_protocol import clock, lifecycle
from sync_protocol.cleaning import too_much_unknown, unknown_bytes
from sync_protocol.kinds import Kind
from sync_protocol.limits import MAX_UNKNOWN_BYTES
from sync_protocol.moments import is_in_the_years
from sync_protocol.periods import SHANGHAI, to_ms
from sync_protocol.record_state import GRID, Clock, Record
from sync_protocol.records import HOUSEHOLD, KINDS, VISIT
from sync_protocol.texts import Text
from sync_protocol.vocabulary import CODE_LENGTH

_CONTACT_MEMBER = "contact_member"


class Assigned(msgspec.Struct):
    """A problem with the steps that it has, for those who may act because it was assigned to them.

    `own_work_from`: see `lifecycle.fold`. Who may extend a limit says nothing about an assignment.
    """

    grid: str
    created_by: str
    fields: Mapping[str, Any]
    steps: list[lifecycle.Step]
    own_work_from: str

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
            self.fields, self.grid, self.created_by, before, own_work_from=self.own_work_from
        )


class Evidence(msgspec.Struct):
    """What rare judgements need: read only when a mutation calls for it, see `references`.

    `left`: the grids that a record has left, each with the stamp of the move. `contacts`: the
    contact members of households. `units`: those named units that exist. `cadres`: all posts of
    those named cadres that exist. `assigned`: problems of grids in which an author has no post.
    `about`: of visits and problems that contact members name, who wrote them and to whom their
    household is tied.
    """

    left: dict[tuple[str, str], Mapping[str, str]] = {}
    contacts: dict[str, str | None] = {}
    units: set[str] = set()
    cadres: dict[str, list[PostHeld]] = {}
    assigned: dict[str, Assigned] = {}
    about: dict[tuple[str, str], set[str]] = {}


# The stamps between which a post allows something, and the post.
Validity = tuple[str, str, PostHeld]


def by_ties_alone(posts: Sequence[PostHeld]) -> bool:
    """Whether none of the posts allows more than what is tied to a contact member."""
    return all(post.role == _CONTACT_MEMBER for post in posts)


def written_of(id: str, fields: Mapping[str, Any], kind: Kind) -> tuple[str, str]:
    """What a mutation is about: of a step its problem, else the record itself."""
    problem = fields.get("problem_id") if kind.name == "step" else None
    return ("problem", str(problem)) if problem else (kind.name, id)


class Validities:
    """When which posts of an author allow writing a kind in a grid, as seen at `now`; found once
    for each.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._known: dict[tuple[int, str, str], list[Validity]] = {}
        self._plain: dict[tuple[int, str, str], list[tuple[str, str]]] = {}

    def of(self, author: Author, kind: str, grid: str) -> list[Validity]:
        """The stamps from which (included) and to which (excluded) each post allows it."""
        key = (id(author), kind, grid)
        found = self._known.get(key)
        if found is None:
            posts = writing_posts(author.posts, kind, grid)
            found = self._known[key] = [(*post.validity(), post) for post in posts]
        return found

    def plainly(self, author: Author, kind: str, grid: str, first: str, last: str) -> bool:
        """Whether one post that has not ended allowed it at all stamps from `first` to `last`, and
        asks for no tie: then nothing else of the posts matters.
        """
        key = (id(author), kind, grid)
        spells = self._plain.get(key)
        if spells is None:
            spells = self._plain[key] = [
                (begins, ends)
                for begins, ends, post in self.of(author, kind, grid)
                if (post.valid_to is None or post.valid_to > self._now)
                and post.role != _CONTACT_MEMBER
            ]
        for begins, ends in spells:  # noqa: SIM110 - asked several times for every mutation, and a generator costs twice as much
            if begins <= first and last < ends:
                return True
        return False

    def at(self, author: Author, kind: str, grid: str, stamp: str) -> list[PostHeld]:
        """The posts that allowed it at a stamp."""
        return [
            post for begins, ends, post in self.of(author, kind, grid) if begins <= stamp < ends
        ]


class Stored(Protocol):
    """A record with what is kept besides it."""

    @property
    def record(self) -> Record: ...


class World(NamedTuple):
    """What one call of the write path touches.

    `grids`: those that exist, of the named ones; `stored`: the records that mutations change or
    have made; `existing`: the grids of others that are here; `erased`: those of the named records
    whose personal data was erased.
    """

    grids: Mapping[str, int]
    stored: Mapping[tuple[str, str], Stored]
    existing: Mapping[tuple[str, str], str]
    erased: Mapping[tuple[str, str], Erased] = {}

    def where(self, kind: str, id: str) -> str | None:
        """The grid of a record; None if it is not here."""
        stored = self.stored.get((kind, id))
        return stored.record.grid if stored else self.existing.get((kind, id))

    def record(self, kind: str, id: str) -> Record | None:
        """A record that mutations change or have made."""
        stored = self.stored.get((kind, id))
        return stored.record if stored else None


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
        self._grace = timedelta(days=settings.late_days)
        self._oldest_days = settings.stamp_too_old_days
        self._grids, self._where, self._record, self._erased = (
            world.grids,
            world.where,
            world.record,
            world.erased,
        )
        self._validities = validities
        self._evidence = evidence

    # ------------------------------------------------------------------------- many visits at once

    def may_have_flaw(self, some: PreparedVisitColumns) -> bool:
        """Whether something may stand against one of these new visits, as `flaw` finds it; never
        wrong when it says no."""
        author = some.author
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
        if self._erased and not named.isdisjoint(self._erased):
            return True
        where = self._where
        grids = {*some.visits.grids}
        if not grids <= self._grids.keys():
            return True
        grids.update(grid for grid in {where(*name) for name in named} if grid is not None)
        if not all(
            self._validities.plainly(author, VISIT.name, grid, some.first_stamp, some.last_stamp)
            for grid in grids
        ):
            return True
        return any(where(*name) is None for name in named)

    # ------------------------------------------------------------------------------ one at a time

    def flaw(self, item: PreparedMutation) -> HoldReason | None:
        """What stands against a readable mutation in the world as it is; None if nothing does."""
        assert item.kind is not None
        kind, mutation, author, fields = item.kind, item.mutation, item.author, item.fields
        grid = mutation.grid
        if grid not in self._grids:
            return HoldReason("grid-unknown", Text("There is no grid ‘{grid}’.", grid=grid[:20]))
        stamp = item.judged_at
        is_trusted = author.revoked_at is None and stamp >= author.oldest_stamp
        plainly = is_trusted and self._validities.plainly(author, kind.name, grid, stamp, stamp)
        flaw = (
            None
            if plainly
            else self._against_author(item, kind, grid) or self._against_ties(item, kind)
        )
        if flaw is not None:
            return flaw
        record = self._record(kind.name, mutation.id)
        if record is None:
            if mutation.op == "delete":
                detail = Text("There is no {kind} {id} to delete.", kind=kind.word, id=mutation.id)
                return HoldReason("record-missing", detail, mutation.id, kind.name)
            if any(fields.get(name) is None for name in kind.required):
                return _incomplete(kind, item)
        else:
            flaw = self._against_record(item, kind, record) or _too_much_unknown(
                kind, record, fields
            )
            if flaw is not None:
                return flaw
        homes = []
        for name, refers in kind.references:
            target = fields.get(name)
            if not target:
                continue
            home = self._where(refers, target)
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
        if problem_id and (home := self._where("problem", problem_id)) != grid:
            detail = Text(
                "The step's problem lies in grid {grid}; send the step in that grid.", grid=home
            )
            return HoldReason("grid-mismatch", detail)
        flaw = self._against_references(item, kind, homes) or self._against_erasure(
            item, kind, record
        )
        if flaw is None and problem_id in self._evidence.assigned:
            # What the same push brings later is judged by it, too.
            step = lifecycle.Step(
                mutation.id, item.stamp, item.created_by or author.staff_code, fields
            )
            self._evidence.assigned[problem_id].steps.append(step)
        return flaw

    # --------------------------------------------------------------------------------- the author

    def _against_author(self, item: PreparedMutation, kind: Kind, grid: str) -> HoldReason | None:
        """By the posts that were valid when it was written, and by how late it comes (promise
        7).
        """
        author, decided = item.author, item.decider is not None
        if author.revoked_at is not None and item.moment >= author.revoked_at and not decided:
            return HoldReason(
                "device-revoked", Text("It was written after the device had been revoked.")
            )
        if item.override and may_settle(author.posts, grid, item.moment):
            return None
        posts = self._validities.at(author, kind.name, grid, item.judged_at)
        if not posts and not self._is_assigned(item, kind):
            detail = Text(
                "{cadre} had no post that may write a {kind} in {grid} at {when}.",
                cadre=author.staff_code,
                kind=kind.word,
                grid=grid,
                when=_in_minutes(item.moment),
            )
            return HoldReason("not-allowed", detail)
        if decided:
            return None
        if item.judged_at < author.oldest_stamp:
            detail = Text(
                "It is stamped more than {days} days before its device was registered"
                " ({registered}); a person decides.",
                days=self._oldest_days,
                registered=_in_minutes(author.registered_at) if author.registered_at else "",
            )
            return HoldReason("stamp-too-old", detail)
        ends = [] if author.revoked_at is None else [(author.revoked_at, author.revoked_at)]
        received = item.received_at or self._now
        if posts and all(post.valid_to is not None and post.valid_to <= received for post in posts):
            # The most lenient of them: whichever post allowed it is reason enough.
            ended = [(post.valid_to, post.end_recorded_at) for post in posts]
            ends.append(max((end, recorded or end) for end, recorded in ended if end is not None))
        if all(self._is_timely(item, end, recorded, received) for end, recorded in ends):
            return None
        detail = Text(
            "It was written before a post ended or the device was revoked, but came more than"
            " {days} days after,"
            " or from a device registered later, or out of the device's order; a person decides.",
            days=self._grace.days,
        )
        return HoldReason("late-after-post", detail)

    def _against_ties(self, item: PreparedMutation, kind: Kind) -> HoldReason | None:
        """A contact member writes only of the tied households, and what is the own."""
        name = written_of(item.mutation.id, item.fields, kind)
        if self._is_near_contact(item.author, name) or item.override or item.decider is not None:
            return None
        posts = self._validities.at(item.author, kind.name, item.mutation.grid, item.judged_at)
        if not posts or not by_ties_alone(posts) or self._is_assigned(item, kind):
            return None
        detail = Text(
            "{cadre} is a contact member, and the {kind} {id} is about no household that is tied"
            " to them.",
            cadre=item.author.staff_code,
            kind=KINDS[name[0]].word,
            id=name[1],
        )
        return HoldReason("not-allowed", detail)

    def _is_near_contact(self, author: Author, name: tuple[str, str]) -> bool:
        """Whether a visit or problem is the author's own, about a tied household, or new."""
        about = self._evidence.about.get(name)
        return about is None or author.staff_code in about

    def _is_timely(
        self, item: PreparedMutation, end: datetime, recorded: datetime, received: datetime
    ) -> bool:
        """Whether what was stamped before an end may count without a person's decision: a clock is
        no proof."""
        author = item.author
        if received > max(end, recorded) + self._grace:
            return False
        if author.registered_at is not None and author.registered_at >= end:
            return False
        ms = clock.corrected_ms(
            clock.stamp_ms(item.mutation.stamp), author.offset_ms, to_ms(received)
        )
        return clock.make_stamp(ms, int(item.mutation.stamp[12:], 16)) >= author.last_stamp

    def _is_assigned(self, item: PreparedMutation, kind: Kind) -> bool:
        """Whether a step's problem was assigned to its author, or to a unit of the author's posts,
        when the step was written."""
        problem = self._evidence.assigned.get(str(item.fields.get("problem_id")))
        if kind.name != "step" or problem is None:
            return False
        case = problem.case_before(item.judged_at, item.mutation.id)
        if not case.assigned or case.ended_at is not None:
            return False
        units = [post.unit for post in item.author.posts if post.valid_at(item.moment)]
        if not units:
            return False
        return case.handler_cadre == item.author.staff_code or any(
            covers(unit, case.handler_unit) for unit in units
        )

    # --------------------------------------------------------------------------------- the record

    def _against_record(
        self, item: PreparedMutation, kind: Kind, record: Record
    ) -> HoldReason | None:
        edit = item.mutation
        if kind.append_only and edit.op == "delete":
            detail = Text("Steps are facts; they are never deleted. Add a step that puts it right.")
            return HoldReason("append-only", detail)
        if edit.grid == record.grid:
            return None
        if not kind.movable:
            detail = Text("The {kind} belongs to another grid and cannot move.", kind=kind.word)
            return HoldReason("grid-mismatch", detail)
        left = record.elements.get(GRID, {}).get(edit.grid)
        # Who had not heard of the move saw nothing that came after it.
        stale = (
            left is not None
            and edit.base_grid is None
            and (edit.base <= left.rev or item.rebased)
            and _was_there(item.author, left)
        )
        if not stale and not self._validities.at(
            item.author, kind.name, record.grid, item.judged_at
        ):
            detail = Text(
                "{cadre} may not move the {kind} out of its grid.",
                cadre=item.author.staff_code,
                kind=kind.word,
            )
            return HoldReason("not-allowed", detail)
        return None

    # ----------------------------------------------------------------------------- the references

    def _against_references(
        self, item: PreparedMutation, kind: Kind, homes: Sequence[tuple[str, str, str, str]]
    ) -> HoldReason | None:
        """What a mutation refers to must lie where its author may write; people and units must be
        near: a reference shows what it names, and counts for it.

        `homes`: the fields that name a record, its kind, its id and its grid.
        """
        for name, refers, target, grid in homes:
            if not self._may_refer(item, kind, refers, target, grid):
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

    def _may_refer(
        self, item: PreparedMutation, kind: Kind, refers: str, target: str, grid: str
    ) -> bool:
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
                return self._evidence.contacts.get(target) == item.author.staff_code
            return self._is_near_contact(item.author, (refers, target)) or self._is_assigned(
                item, kind
            )
        # Who acts by an assignment has no post there: the step's own problem is all that it names.
        return bool(posts) or (
            grid == item.mutation.grid
            and kind.name == "step"
            and target == item.fields.get("problem_id")
        )

    # --------------------------------------------------------------------------------- the erasure

    def _against_erasure(
        self, item: PreparedMutation, kind: Kind, record: Record | None
    ) -> HoldReason | None:
        """What was written without knowing that a person's data was erased must not bring it back
        by itself, neither in the record nor in another about the same person.
        """
        if not self._erased or item.override or item.is_decided or item.fields.keys() <= kind.kept:
            return None
        erased = self._erased.get((kind.name, item.mutation.id))
        if erased is not None and record is not None and not _knew_of(erased, item, record):
            return _erased_since(kind.name, item.mutation.id, erased)
        for name, refers in kind.references:
            target = item.fields.get(name)
            erased = self._erased.get((refers, target)) if target else None
            if erased is not None and not _has_pulled(erased, item.author):
                return _erased_since(refers, str(target), erased)
        return None

    def _is_near(self, item: PreparedMutation, unit: str) -> bool:
        """Whether a unit lies above, below or beside the mutation's grid within the township, or in
        the units of the author."""
        grid = item.mutation.grid
        if covers(unit, grid) or covers(grid[: CODE_LENGTH["township"]], unit):
            return True
        return any(
            covers(post.unit, unit) for post in item.author.posts if post.valid_at(item.moment)
        )

    def _is_near_cadre(self, item: PreparedMutation, code: str) -> bool:
        return any(
            (post.valid_at(item.moment) or post.valid_at(self._now))
            and self._is_near(item, post.unit)
            for post in self._evidence.cadres.get(code, ())
        )


def _in_minutes(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).isoformat(timespec="minutes")


def _was_there(author: Author, left: Clock) -> bool:
    """Whether an author's device was in use before a record left its grid; a later one cannot have
    a copy from before.
    """
    return author.registered_at is None or to_ms(author.registered_at) <= clock.stamp_ms(left.stamp)


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
            when=_in_minutes(erased.at),
        ),
    )


def _incomplete(kind: Kind, item: PreparedMutation) -> HoldReason:
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


def _too_much_unknown(kind: Kind, record: Record, fields: Mapping[str, Any]) -> HoldReason | None:
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
