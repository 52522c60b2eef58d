"""Which ledger is asked for: its kind, unit and period, judged."""

from typing import Literal, NamedTuple

from service.identity.access import Caller
from service.kit.database import Connection
from service.kit.errors import INVALID, Problem
from service.ledgers.what import TITLES, What
from service.organisation.units import absent, find_unit, in_scope, unit_on
from sync_protocol.periods import Period, kind_of
from sync_protocol.texts import Text

Which = Literal[
    "weekly",
    "monthly",
    "quarterly",
    "half-yearly",
    "yearly",
    "problems",
    "disputes",
    "visits",
    "cadres",
    "indicators",
    "loop",
    "special",
    "contracted",
]
# The ledgers that are of one kind of period.
_TAKES = {
    "weekly": ("week", Text("The weekly ledger takes a week.")),
    "monthly": ("month", Text("The monthly ledger takes a month.")),
    "quarterly": ("quarter", Text("The quarterly ledger takes a quarter.")),
    "half-yearly": ("half", Text("The half-yearly ledger takes a half-year.")),
    "yearly": ("year", Text("The yearly ledger takes a year.")),
}


class AskedLedger(NamedTuple):
    """A ledger that somebody asks for; `as_of`: see `AsOf`."""

    which: str
    unit: str
    period: Period
    as_of: str = "period"
    not_visited_days: int | None = None


def refuse(caller: Caller, asked: AskedLedger) -> None:
    """Raises `Problem` for a ledger that there is not, or not for the caller."""
    if asked.not_visited_days is not None and asked.which not in ("special", "contracted"):
        raise Problem(
            INVALID,
            Text(
                "not_visited_days is for ledgers of households; ask for the ledger special or"
                " contracted, or leave it out."
            ),
        )
    wanted = _TAKES.get(asked.which)
    if wanted is not None and kind_of(asked.period.name) != wanted[0]:
        raise Problem(INVALID, wanted[1])
    in_scope(caller, asked.unit)


async def ledger_of(connection: Connection, caller: Caller, asked: AskedLedger) -> What:
    """The ledger that a caller asks for; raises `Problem`."""
    refuse(caller, asked)
    found = await find_unit(connection, asked.unit)
    if found is None:
        raise absent(caller, asked.unit)
    return What(
        asked.which,
        found["name"],
        unit_on(caller, asked.unit, asked.as_of, asked.period),
        asked.period,
        caller.now,
        caller.view_of(asked.unit),
        asked.not_visited_days,
    )


def file_name(what: What) -> str:
    """What the file of a ledger is called."""
    return f"{what.unit_name}{TITLES[what.which]}{what.period.name.replace('/', '至')}.xlsx"
