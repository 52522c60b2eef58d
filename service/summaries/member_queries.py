"""The SQL of those to whom households are tied: contact and contracted households by member."""

from datetime import date

from service.identity.memberships import is_member
from service.kit.conditions import Subtree
from service.kit.database import Connection, Row
from service.records.models import IS_PRESENT
from sync_protocol.periods import Period

_TIES = {"contact": "contact_member", "lead": "lead_member"}


async def members(
    connection: Connection, subtree: Subtree, period: Period, role: str, limit: int, day: date
) -> list[Row]:
    """Each member tied to households of a unit (`role`: contact or lead): how many, and how many
    were visited in a week or month; whether a party member, as of a day. Codes that no cadre has
    are not among them, nor, as contact members, those outside the party.
    """
    name = _TIES[role]
    return await connection.fetch(
        f"""
        WITH tied AS (
            SELECT h.{name} AS staff_code, count(*)::int AS households,
                   count(*) FILTER (WHERE EXISTS
                   (SELECT FROM visited_household v WHERE v.household = h.id AND v.span = $2))::int
                       AS visited
            FROM household h WHERE {subtree.under("h.grid")} AND h.{name} IS NOT NULL
                AND NOT h.deleted AND {IS_PRESENT} GROUP BY 1
        ), known AS (
            SELECT t.*, coalesce(c.shown_code, t.staff_code) AS shown_code, c.name,
                   {is_member("c", "$4")} AS party_member
            FROM tied t JOIN cadre c ON c.staff_code = t.staff_code
        )
        SELECT * FROM known WHERE party_member OR $5
        ORDER BY visited::float8 / households, households DESC, staff_code LIMIT $3
        """,
        subtree.code,
        period.name,
        limit,
        day,
        role != "contact",
    )


async def count_ties(connection: Connection, subtree: Subtree, role: str, day: date) -> Row:
    """Of the households of a unit, by whom they are tied to (`role`: contact or lead): to nobody
    (`without_one`), to a code that no cadre has (`unknown`), to a cadre who is no party member on
    a day (`outside_party`), and how many there are (`households`).
    """
    name = _TIES[role]
    row = await connection.fetchrow(
        f"""
        WITH tied AS (
            SELECT h.{name} AS staff_code, count(*) AS households
            FROM household h WHERE {subtree.under("h.grid")} AND NOT h.deleted AND {IS_PRESENT}
            GROUP BY 1
        )
        SELECT coalesce(sum(households), 0)::int AS households,
               coalesce(sum(households) FILTER (WHERE t.staff_code IS NULL), 0)::int AS without_one,
               coalesce(sum(households) FILTER (WHERE t.staff_code IS NOT NULL
                   AND c.staff_code IS NULL), 0)::int AS unknown,
               coalesce(sum(households) FILTER (WHERE c.staff_code IS NOT NULL
                   AND NOT {is_member("c", "$2")}), 0)::int AS outside_party
        FROM tied t LEFT JOIN cadre c ON c.staff_code = t.staff_code
        """,
        subtree.code,
        day,
    )
    assert row is not None
    return row
