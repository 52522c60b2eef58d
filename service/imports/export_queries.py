"""The SQL of exports: a unit's roster, row by row."""

from collections.abc import AsyncIterator
from datetime import datetime

from service.imports.known_queries import SPANS
from service.kit.conditions import Subtree
from service.kit.database import Connection, Row


async def units_in(connection: Connection, subtree: Subtree) -> AsyncIterator[Row]:
    """The units of a unit, in order of code."""
    async for row in connection.cursor(
        "SELECT code, level, parent, name, name_mn, kind, party_group, go_live FROM unit"
        f" WHERE {subtree.under('code')} ORDER BY code",
        subtree.code,
    ):
        yield row


async def people_in(connection: Connection, subtree: Subtree, now: datetime) -> AsyncIterator[Row]:
    """People with a post in a unit now or later, in order of staff code, with where."""
    async for row in connection.cursor(
        "SELECT c.staff_code, c.name, c.phone, c.party_member, array_agg(DISTINCT p.unit) AS units,"
        f" {SPANS}"
        " FROM cadre c JOIN post p USING (staff_code)"
        f" WHERE {subtree.under('p.unit')} AND (p.valid_to IS NULL OR p.valid_to > $2)"
        " GROUP BY c.staff_code ORDER BY c.staff_code",
        subtree.code,
        now,
    ):
        yield row


async def posts_in(connection: Connection, subtree: Subtree, now: datetime) -> AsyncIterator[Row]:
    """The posts in a unit, in order of unit, role and person, of those people who are exported or
    were there before.
    """
    async for row in connection.cursor(
        "SELECT p.staff_code, p.role, p.unit, p.valid_from, p.valid_to, p.title FROM post p"
        f" WHERE {subtree.under('p.unit')} AND EXISTS (SELECT FROM post q WHERE q.staff_code ="
        f" p.staff_code AND (q.valid_to IS NULL OR q.valid_to > $2) AND {subtree.under('q.unit')})"
        " ORDER BY p.unit, p.role, p.staff_code, p.valid_from",
        subtree.code,
        now,
    ):
        yield row


async def households_in(connection: Connection, subtree: Subtree) -> AsyncIterator[Row]:
    """The living households of a unit, in order of grid."""
    async for row in connection.cursor(
        "SELECT id::text, grid, head_name, phone, address, members, coalesce(tags, '{}') AS tags,"
        " contact_member, lead_member, note, coalesce(state, 'present') AS state,"
        " state_since::text FROM household"
        f" WHERE {subtree.under('grid')} AND NOT deleted ORDER BY grid, id",
        subtree.code,
    ):
        yield row
