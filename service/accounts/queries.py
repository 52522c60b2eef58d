"""The SQL of accounts: who has no password yet."""

from collections.abc import Collection, Sequence
from datetime import datetime

from service.kit.conditions import Range, Subtree, bounds
from service.kit.database import Connection, Row


async def without_password(
    connection: Connection,
    subtree: Subtree,
    now: datetime,
    after: tuple[str, str],
    limit: int,
    within: Sequence[Range] | None = None,
) -> list[Row]:
    """People with a post at present in a unit or below and without a password, each with one post,
    in order of its unit; who was erased is left out, and, where ranges are named, who has or is to
    have a post outside of them.
    """
    low, high = bounds(within or ())
    return await connection.fetch(
        f"""
        SELECT * FROM (
            SELECT DISTINCT ON (c.staff_code) c.staff_code,
                coalesce(c.shown_code, c.staff_code) AS shown_code, c.name, p.role, p.title, p.unit
            FROM cadre c JOIN post p USING (staff_code)
            WHERE c.password IS NULL AND {subtree.under("p.unit")}
                AND p.role <> 'app_client'
                AND p.valid_from <= $2 AND (p.valid_to IS NULL OR p.valid_to > $2)
                AND NOT EXISTS (SELECT FROM erasure e WHERE e.kind = 'cadre'
                    AND e.subject = c.staff_code)
                AND ($6::boolean OR NOT EXISTS (SELECT FROM post q
                    WHERE q.staff_code = c.staff_code
                        AND (q.valid_to IS NULL OR q.valid_to > $2)
                        AND NOT EXISTS (SELECT FROM unnest($7::text[], $8::text[]) AS r(low, high)
                            WHERE q.unit >= r.low AND q.unit < r.high)))
            ORDER BY c.staff_code, p.unit
        ) AS w WHERE (unit, staff_code) > ($3, $4) ORDER BY unit, staff_code LIMIT $5
        """,
        subtree.code,
        now,
        *after,
        limit,
        within is None,
        low,
        high,
    )


async def unit_names(connection: Connection, codes: Collection[str]) -> dict[str, str]:
    """The names of units, by code."""
    rows = await connection.fetch(
        "SELECT code, name FROM unit WHERE code = ANY($1::text[])", list(codes)
    )
    return {row["code"]: row["name"] for row in rows}
