"""Folds the steps of problems into cases and keeps them in `case_file`."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from service.kit.database import Connection
from service.kit.sql import Cte, array, text_array
from service.organisation.tree import Tree
from sync_protocol.lifecycle import Case, Step
from sync_protocol.moments import canonical_moment

_COLUMNS: tuple[tuple[str, str], ...] = (
    ("problem", "uuid"),
    ("grid", "text"),
    ("state", "text"),
    ("duty", "text"),
    ("severity", "text"),
    ("handler_unit", "text"),
    ("handler_cadre", "text"),
    ("raised_at", "timestamptz"),
    ("raised_by", "text"),
    ("resolved_at", "timestamptz"),
    ("resolved_by", "text"),
    ("ended_at", "timestamptz"),
    ("due", "timestamptz"),
    ("satisfied", "text"),
    ("escalated", "int"),
    ("assigned", "bool"),
    ("received_at", "timestamptz"),
    ("category", "text"),
)
_NAMES = ", ".join(name for name, _ in _COLUMNS)
_ARRAYS = ", ".join(f"${index}::text::{kind}[]" for index, (_, kind) in enumerate(_COLUMNS, 1))
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name, _ in _COLUMNS[1:])


class Filed(msgspec.Struct):
    """A case with what the tables need beside it."""

    problem: str
    grid: str
    duty: str
    severity: str
    case: Case
    received_at: datetime
    category: str | None = None


# A word of the list of categories; any other text in the field counts nowhere.
_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")


def category_of(fields: Mapping[str, Any]) -> str | None:
    """A problem's category, if it is a word as the list of categories has them."""
    category = fields.get("category")
    return category if isinstance(category, str) and _WORD.fullmatch(category) else None


def severity_of(fields: Mapping[str, Any]) -> str:
    """A problem's severity; one that nobody named is ordinary."""
    return fields.get("severity") or "ordinary"


def extending(steps: Iterable[Mapping[str, Step]]) -> set[str]:
    """The authors of steps that extend a limit."""
    return {step.by for some in steps for step in some.values() if step.action == "extend"}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else canonical_moment(moment)


_WRITE = (
    f"INSERT INTO case_file ({_NAMES}) SELECT * FROM unnest({_ARRAYS})"
    f" ON CONFLICT (problem) DO UPDATE SET {_UPDATES}"
)


def writing(filed: Collection[Filed]) -> Cte:
    """Keeps cases as they stand now."""
    rows = [
        (
            item.problem,
            item.grid,
            item.case.state,
            item.duty,
            item.severity,
            item.case.handler_unit,
            item.case.handler_cadre,
            item.case.raised_at,
            item.case.raised_by,
            item.case.resolved_at,
            item.case.resolved_by,
            item.case.ended_at,
            item.case.due,
            item.case.satisfied,
            str(item.case.escalated),
            str(item.case.assigned),
            item.received_at.isoformat(),
            item.category,
        )
        for item in filed
    ]
    return Cte(
        "file_cases", _WRITE, tuple(text_array(column) for column in zip(*rows, strict=True))
    )


def removing(problems: Collection[str]) -> Cte:
    """Drops the cases of deleted problems."""
    return Cte(
        "remove_cases",
        "DELETE FROM case_file WHERE problem = ANY($1::text::uuid[])",
        (array(problems),),
    )


async def load(connection: Connection, problems: Collection[str]) -> dict[str, Filed]:
    """The cases of these problems as they were last filed, without their history."""
    rows = await connection.fetch(
        f"SELECT {_NAMES} FROM case_file WHERE problem = ANY($1::uuid[])", list(problems)
    )
    return {str(row["problem"]): _filed(row) for row in rows}


def _filed(row: Any) -> Filed:
    case = Case(
        state=row["state"],
        handler_unit=row["handler_unit"],
        handler_cadre=row["handler_cadre"],
        raised_at=_text(row["raised_at"]),
        raised_by=row["raised_by"],
        resolved_at=_text(row["resolved_at"]),
        resolved_by=row["resolved_by"],
        ended_at=_text(row["ended_at"]),
        satisfied=row["satisfied"],
        due=_text(row["due"]),
        escalated=row["escalated"],
        assigned=row["assigned"],
    )
    return Filed(
        str(row["problem"]),
        row["grid"],
        row["duty"],
        row["severity"],
        case,
        row["received_at"],
        row["category"],
    )


async def ranks_above(
    connection: Connection, staff_codes: Iterable[str], tree: Tree
) -> Callable[[str, str, date], bool]:
    """The rule `may_extend(staff_code, handler_unit, day)`: whether a cadre has, or had, a post at
    a unit that was above the handler on a day.
    """
    rows = await connection.fetch(
        "SELECT staff_code, unit FROM post WHERE staff_code = ANY($1::text[])",
        sorted(set(staff_codes)),
    )
    units: dict[str, list[str]] = {}
    for row in rows:
        units.setdefault(row["staff_code"], []).append(row["unit"])

    def above(staff_code: str, handler_unit: str, day: date) -> bool:
        return any(
            unit != handler_unit and tree.covers(unit, handler_unit, day)
            for unit in units.get(staff_code, ())
        )

    return above


def steps_from(rows: Iterable[Any]) -> dict[str, dict[str, Step]]:
    """`problem -> {step id: step}` from the rows of `records.queries.steps_of`."""
    found: dict[str, dict[str, Step]] = {}
    for row in rows:
        step = Step(
            row["id"], f"{row['stamp']:016x}", row["created_by"], msgspec.json.decode(row["fields"])
        )
        found.setdefault(row["problem"], {})[step.id] = step
    return found
