"""Whom or what conflicts and held mutations are about, as far as it is shown to who asks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.households.queries import tied_among
from service.identity.access import Caller
from service.identity.views import WHOLE_GRID, View
from service.inbox import queries
from service.inbox.answers import AboutOut
from service.kit.database import Connection, Row
from sync_protocol.ids import is_uuid

_MOST = 100
_NOTHING: Mapping[str, Any] = {}


class Named(NamedTuple):
    """A record by its kind and id, and the fields of it that somebody sent."""

    kind: str
    record: str
    fields: Mapping[str, Any] = _NOTHING

    def text(self, name: str) -> str | None:
        """A field that was sent, if it is a text."""
        value = self.fields.get(name)
        return value[:_MOST] if isinstance(value, str) else None

    def id(self, name: str) -> str | None:
        """A field that was sent, if it is the id of a record."""
        value = self.fields.get(name)
        return value if isinstance(value, str) and is_uuid(value) else None


async def about(connection: Connection, caller: Caller, named: Sequence[Named]) -> list[AboutOut]:
    """What each of them is about: of a record that is here what it says now, of others what was
    sent.
    """
    rows = await queries.subjects(
        connection,
        [
            (
                one.kind,
                one.record if is_uuid(one.record) else None,
                one.id("household_id"),
                one.id("problem_id"),
                one.id("visit_id"),
            )
            for one in named
        ],
    )
    houses = {row["household"] for row in rows if row["household"]}
    tied = await tied_among(connection, houses, caller.staff_code, caller.today)
    return [_about(one, row, caller, tied) for one, row in zip(named, rows, strict=True)]


def _about(one: Named, row: Row, caller: Caller, tied: set[str]) -> AboutOut:
    view = row["household_grid"] and caller.view_of(row["household_grid"])
    sees_house = view in WHOLE_GRID or (view is View.TIED and row["household"] in tied)
    grid = row["problem_grid"]
    sees_problem = grid is not None and caller.view_of(grid) in WHOLE_GRID
    return AboutOut(
        household_id=row["household"] if sees_house else None,
        head_name=(row["head_name"] if sees_house else None) or one.text("head_name"),
        problem_id=row["problem"] if sees_problem else None,
        title=(row["title"] if sees_problem else None) or one.text("title"),
        visited_at=row["visited_at"] or _moment(one.text("visited_at")),
        period=row["period"] or one.text("week") or one.text("month") or one.text("period"),
    )


def _moment(text: str | None) -> datetime | None:
    """A moment that was sent, if it is one."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None and 1900 <= found.year <= 9000 else None
