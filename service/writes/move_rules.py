"""What stands against a move between two grids of which its author covers one only. Pure."""

from datetime import date, datetime
from typing import NamedTuple

from service.identity.rights import may_settle
from service.organisation.tree import Tree
from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from service.writes.validities import Validities
from sync_protocol.kinds import Kind
from sync_protocol.periods import local_day
from sync_protocol.record_state import Record
from sync_protocol.texts import Text


class MoveRequest(NamedTuple):
    """A move that its author may ask for, and not make alone. `covered`: the grid in which the
    author may write, by which everything else about the author is judged; `ends`: those between
    which the record moves.
    """

    covered: str
    ends: tuple[str, str]


def names_a_move(item: PreparedMutation) -> bool:
    """Whether a mutation says that its record leaves a grid, by its author's will and not the
    server's.
    """
    return not item.override and item.mutation.base_grid not in (None, item.mutation.grid)


def move_request(
    validities: Validities, item: PreparedMutation, kind: Kind, record: Record | None
) -> MoveRequest | None:
    """The request to move that a mutation is, or goes on from; None if its author may write in both
    grids, or in none of those that it names.
    """
    edit = item.mutation
    if not kind.movable or edit.op != "put" or not names_a_move(item):
        return None
    seen_in = str(edit.base_grid)
    stands = seen_in if record is None or record.grid == edit.grid else record.grid

    def covers(grid: str) -> bool:
        return bool(validities.at(item.author, kind.name, grid, item.judged_at))

    ends = (stands, edit.grid)
    if all(map(covers, ends)):
        return None
    covered = next(filter(covers, (seen_in, *ends)), None)
    return None if covered is None else MoveRequest(covered, ends)


def into_closed(item: PreparedMutation, kind: Kind) -> HoldReason:
    """Why a move into a grid is held that is closed, or is to be from a day to come on."""
    detail = Text(
        "The grid {grid} is closed; move the {kind} to the one that took over.",
        grid=item.mutation.grid,
        kind=kind.word,
    )
    return HoldReason("grid-unknown", detail)


def is_accepted(item: PreparedMutation, ends: tuple[str, str], now: datetime) -> bool:
    """Whether a person who covers both grids has released it."""
    return item.decider is not None and all(may_settle(item.decider, end, now) for end in ends)


def needs_acceptance(item: PreparedMutation, kind: Kind, tree: Tree, now: datetime) -> HoldReason:
    """Why a request to move is held, and who may accept it; names the grids that its author named,
    for where the record lies by now need not be theirs to know.
    """
    grid, to = item.mutation.base_grid or item.mutation.grid, item.mutation.grid
    detail = Text(
        "{cadre} asks to move the {kind} from {grid} to {to} and works in one of the two only; it"
        " moves when {who} releases this.",
        cadre=item.author.staff_code,
        kind=kind.word,
        grid=grid,
        to=to,
        who=who_accepts(tree, grid, to, local_day(now)),
    )
    return HoldReason("needs-acceptance", detail)


def who_accepts(tree: Tree, grid: str, to: str, day: date) -> Text:
    """Who covers two grids on a day: those with which posts, and at which unit."""
    others = [to, *tree.above(to, day)]
    common = next((unit for unit in (grid, *tree.above(grid, day)) if unit in others), None)
    if common is None:
        return Text("somebody who covers both")
    if common == tree.parent(grid, day) == tree.parent(to, day):
        return Text(
            "the village secretary or a first secretary of {unit}, or a supervisor or administrator"
            " of it or of a unit above",
            unit=common,
        )
    return Text("a supervisor or administrator of {unit} or of a unit above", unit=common)


def of_what_was_deleted(item: PreparedMutation, kind: Kind) -> HoldReason:
    """Why a request to move is held whose record was deleted since: it brings nothing back."""
    detail = Text(
        "The {kind} {id} was deleted before anybody accepted the move; discard this request. Who"
        " needs the {kind} again adds it anew.",
        kind=kind.word,
        id=item.mutation.id,
    )
    return HoldReason("record-missing", detail)
