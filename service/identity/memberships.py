"""Party membership with its dates: on which days a cadre is, or was, a party member."""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from service.kit.database import Connection
from service.kit.errors import INVALID, Problem


class Membership(NamedTuple):
    """From `joined_on` (None: since before anything was recorded) until the day before `left_on`
    (None: still); days of Asia/Shanghai.
    """

    joined_on: date | None
    left_on: date | None

    def holds_on(self, day: date) -> bool:
        """Whether a day lies in it."""
        return (self.joined_on is None or self.joined_on <= day) and (
            self.left_on is None or day < self.left_on
        )


# Whether one of the spans `m` takes in a day; NULL where there are none.
HOLDS_ON = (
    "bool_or((m.joined_on IS NULL OR m.joined_on <= {day})"
    " AND (m.left_on IS NULL OR m.left_on > {day}))"
)


def is_member(cadre: str, day: str) -> str:
    """SQL that says whether a cadre, by the alias of its row, is a party member on a day: by the
    spans, or without any by what is recorded without dates.
    """
    return (
        f"coalesce((SELECT {HOLDS_ON.format(day=day)} FROM party_membership m"
        f" WHERE m.staff_code = {cadre}.staff_code), {cadre}.party_member)"
    )


def in_order(spans: Sequence[Membership]) -> list[Membership]:
    """Spans in the order of time; raises `Problem` when one ends before it begins, or two
    overlap.
    """
    ordered = sorted(spans, key=lambda span: span.joined_on or date.min)
    for span in ordered:
        if span.left_on is not None and (span.joined_on or date.min) >= span.left_on:
            raise Problem(INVALID, "A party membership ends on a day after the one it began on.")
    for before, after in pairwise(ordered):
        if before.left_on is None or after.joined_on is None or after.joined_on < before.left_on:
            raise Problem(
                INVALID,
                "Two spans of party membership overlap; give each day to one of them at most.",
            )
    return ordered


async def memberships_of(connection: Connection, staff_code: str) -> list[Membership]:
    """The spans of a cadre; none where only yes or no is recorded."""
    rows = await connection.fetch(
        "SELECT joined_on, left_on FROM party_membership WHERE staff_code = $1 ORDER BY number",
        staff_code,
    )
    return [Membership(*row) for row in rows]


async def set_member(connection: Connection, staff_code: str, party_member: bool) -> None:
    """Records yes or no for all time, in place of spans; the caller has locked the cadre."""
    await connection.execute("DELETE FROM party_membership WHERE staff_code = $1", staff_code)
    await connection.execute(
        "UPDATE cadre SET party_member = $2 WHERE staff_code = $1", staff_code, party_member
    )


async def set_memberships(
    connection: Connection, staff_code: str, spans: Sequence[Membership], today: date
) -> None:
    """Replaces the spans of a cadre, whom the caller has locked. No span at all: never a member."""
    ordered = in_order(spans)
    await connection.execute("DELETE FROM party_membership WHERE staff_code = $1", staff_code)
    await connection.executemany(
        "INSERT INTO party_membership (staff_code, number, joined_on, left_on)"
        " VALUES ($1, $2, $3, $4)",
        [(staff_code, number, *span) for number, span in enumerate(ordered, 1)],
    )
    # For processes of the release before, which read this alone.
    await connection.execute(
        "UPDATE cadre SET party_member = $2 WHERE staff_code = $1",
        staff_code,
        any(span.holds_on(today) for span in ordered),
    )
