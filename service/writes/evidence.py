"""Reads what a `Judge` needs for rare cases: references to other grids, people and units, and steps
by assignment. Most pushes call for nothing of it and cost no statement."""

from collections.abc import Callable, Sequence

from service.cases import filing
from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.kit.field_cipher import FieldCipher
from service.organisation.tree import Tree
from service.records import queries as records
from service.writes import queries
from service.writes.author_rules import written_of
from service.writes.prepared import PreparedMutation
from service.writes.validities import Validities, by_ties_alone
from service.writes.world import Assigned, Evidence
from sync_protocol.kinds import Kind
from sync_protocol.record_state import GRID
from sync_protocol.records import HOUSEHOLD, KINDS, VISIT_CHECK


class _Wanted:
    """What has to be read for some mutations."""

    def __init__(self) -> None:
        self.moved: set[str] = set()
        self.followed: set[tuple[str, str]] = set()  # grid and id
        self.contacts: set[str] = set()
        self.units: set[str] = set()
        self.cadres: set[str] = set()
        self.problems: set[str] = set()
        self.about: set[tuple[str, str]] = set()
        self.checked: set[str] = set()  # visits

    def note(
        self,
        item: PreparedMutation,
        where: Callable[[str, str], str | None],
        validities: Validities,
    ) -> None:
        """Notes what one mutation calls for."""
        kind, fields, author = item.kind, item.fields, item.author
        assert kind is not None
        if kind.cadre_fields or kind.unit_fields:
            self.cadres.update(fields[name] for name in kind.cadre_fields if fields.get(name))
            self.units.update(fields[name] for name in kind.unit_fields if fields.get(name))
        if kind is VISIT_CHECK and fields.get("visit_id"):
            self.checked.add(fields["visit_id"])
        home, stamp = item.mutation.grid, item.judged_at
        about = item.about
        if about is not None and where(*about) not in (None, home):
            self.followed.add((home, about[1]))
        if not validities.plainly(author, kind.name, home, stamp, stamp):
            self._note_ties(item, kind, validities.at(author, kind.name, home, stamp))
        for name, refers in kind.references:
            target = fields.get(name) if refers == HOUSEHOLD.name else None
            grid = where(refers, target) if target else None
            if (
                target is None
                or grid is None
                or validities.plainly(author, kind.name, grid, stamp, stamp)
            ):
                continue
            posts = validities.at(author, kind.name, grid, stamp)
            if not posts:
                self.moved.add(target)
            if by_ties_alone(posts):
                self.contacts.add(target)

    def _note_ties(self, item: PreparedMutation, kind: Kind, posts: Sequence[PostHeld]) -> None:
        """Notes what the rights of somebody without a post here, or with ties alone, rest on."""
        if not by_ties_alone(posts):
            return
        problem = item.fields.get("problem_id") if kind.name == "step" else None
        if problem:
            self.problems.add(problem)
        if posts:
            self.about.add(written_of(item.mutation.id, item.fields, kind))
            self.about.update(
                (refers, item.fields[name])
                for name, refers in kind.references
                if item.fields.get(name)
            )


async def gather_evidence(
    connection: Connection,
    items: Sequence[PreparedMutation],
    where: Callable[[str, str], str | None],
    validities: Validities,
    cipher: FieldCipher,
    tree: Tree,
) -> Evidence:
    """The evidence for these mutations."""
    wanted = _Wanted()
    for item in items:
        if item.flaw is None and item.kind is not None:
            wanted.note(item, where, validities)
    evidence = Evidence()
    if wanted.moved or wanted.contacts:
        stored = await records.load(connection, HOUSEHOLD, wanted.moved | wanted.contacts, cipher)
        for id, household in stored.items():
            left = household.record.elements.get(GRID, {})
            evidence.left[HOUSEHOLD.name, id] = {grid: clock.stamp for grid, clock in left.items()}
    if wanted.contacts:
        evidence.contacts = await queries.contacts_of(connection, wanted.contacts)
    if wanted.followed:
        evidence.followed = await queries.departures(
            connection, *zip(*wanted.followed, strict=True)
        )
    if wanted.units:
        evidence.units = await queries.units_of(connection, wanted.units)
    if wanted.cadres:
        evidence.cadres = await queries.posts_of_cadres(connection, wanted.cadres)
    if wanted.checked:
        evidence.visitors = await queries.visitors(connection, wanted.checked)
    if wanted.about:
        evidence.about = await queries.written_by_or_tied(connection, wanted.about)
    if wanted.problems:
        evidence.assigned = await _assigned(connection, wanted.problems, cipher, tree)
    return evidence


async def _assigned(
    connection: Connection, problems: set[str], cipher: FieldCipher, tree: Tree
) -> dict[str, Assigned]:
    stored = await records.load(connection, KINDS["problem"], problems, cipher)
    steps = filing.steps_from(await records.steps_of(connection, list(stored)))
    own_work_from = await queries.own_work_from(connection)
    found = {}
    for id, problem in stored.items():
        record = problem.record
        found[id] = Assigned(
            record.grid,
            record.created_by,
            record.fields,
            [*steps.get(id, {}).values()],
            own_work_from,
            tree.parent,
        )
    return found
