"""When an import may be asked for or taken back: one at a time for a unit, and only by who
administers all of its units.
"""

from collections.abc import Sequence
from datetime import date

from service.imports import queries
from service.imports.report import APPLICABLE, Report, State, load
from service.imports.units import covered, overlap
from service.kit.database import Connection, Row
from service.kit.errors import NOT_FOUND, NOT_NOW, Problem
from service.organisation.trees import current_tree
from sync_protocol.ids import is_uuid
from sync_protocol.periods import in_minutes
from sync_protocol.texts import Text

_UNDOABLE = (State.DONE, State.FAILED, State.PARTLY_UNDONE)


async def refuse_second(connection: Connection, units: Sequence[str], day: date) -> None:
    """Raises `Problem` while another import for these units, or some above or below, is under way;
    until the transaction ends nobody else asks for one.
    """
    await queries.lock_imports(connection)
    tree = await current_tree(connection)
    for row in await queries.unfinished(connection):
        if overlap(row["units"], units, tree, day):
            raise Problem(
                NOT_NOW,
                Text(
                    "Import {id} for these units is under way since {at}; wait until it has ended.",
                    id=row["id"],
                    at=in_minutes(row["at"]),
                ),
            )


async def import_within(
    connection: Connection, id: str, units: Sequence[str], day: date, locked: bool = False
) -> Row:
    """An import whose units all lie within these on a day; any other looks absent."""
    row = await queries.one_import(connection, id, locked) if is_uuid(id) else None
    tree = await current_tree(connection)
    if row is None or not all(covered(units, unit, tree, day) for unit in row["units"]):
        raise Problem(NOT_FOUND, Text("There is no import {id} in your scope.", id=id))
    return row


async def begin_apply(
    connection: Connection,
    id: str,
    units: Sequence[str],
    day: date,
    by: str,
    options: Sequence[str],
) -> None:
    """Has an import carried out that was only tried, or refused, by whichever process comes first;
    every row is checked anew.
    """
    row = await import_within(connection, id, units, day, locked=True)
    if State(row["state"]) not in APPLICABLE:
        raise Problem(
            NOT_NOW,
            Text(
                "Import {id} is in the state ‘{state}’: only one that was tried, or refused, can be"
                " applied.",
                id=id,
                state=row["state"],
            ),
        )
    if not await queries.has_files(connection, id):
        raise Problem(
            NOT_NOW, Text("The files of import {id} are not kept any more; send them anew.", id=id)
        )
    await refuse_second(connection, row["units"], day)
    await queries.begin_again(connection, id, by, options)


async def begin_undo(
    connection: Connection, id: str, units: Sequence[str], day: date, by: str
) -> None:
    """Lets an import be taken back by whichever process comes first."""
    row = await import_within(connection, id, units, day, locked=True)
    if State(row["state"]) not in _UNDOABLE:
        raise Problem(
            NOT_NOW,
            Text(
                "Import {id} is in the state ‘{state}’: only one that has written something and"
                " has ended can be taken back.",
                id=id,
                state=row["state"],
            ),
        )
    await refuse_second(connection, row["units"], day)
    report = load(row["report"]) if row["report"] else Report()
    report.undone_by = by
    await queries.begin_undo(connection, id, report.dump())
