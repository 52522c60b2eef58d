"""The SQL of the trail."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.bounded import bounded
from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row


async def may_change_trail(connection: Connection) -> str | None:
    """The name of the connection's role if that may change lines of the trail, or what guards
    them.
    """
    name: str | None = await connection.fetchval(
        """
        SELECT rolname FROM pg_roles, pg_class
        WHERE rolname = current_user AND pg_class.oid = 'audit'::regclass
          AND (rolsuper OR has_table_privilege('audit', 'UPDATE, DELETE, TRUNCATE, TRIGGER')
              OR pg_has_role(relowner, 'MEMBER'))
        """
    )
    return name


async def count_older(connection: Connection, before: datetime) -> int:
    """How many lines are from before a moment and past the floor under which none may go."""
    count: int = await connection.fetchval(f"SELECT count(*) FROM audit WHERE {_OLD}", before)
    return count


async def delete_older(connection: Connection, before: datetime) -> int:
    """Deletes those lines; only the owner of the table may, and its guard looks at the age of
    each.
    """
    return int((await connection.execute(f"DELETE FROM audit WHERE {_OLD}", before)).split()[-1])


# By the database's clock, as its guard counts; see migration 0012.
_OLD = "at < LEAST($1, now() - interval '180 days')"


async def entries(
    connection: Connection,
    units: Sequence[str],
    ranges: Sequence[Range],
    staff_code: str | None,
    action: str | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Lines of the trail about what was done for these units and all below, in their `ranges`, the
    newest first; for the topmost also those of no unit.
    """
    return await connection.fetch(
        bounded("""
        SELECT id::text, at, staff_code, action, subjects, count, address, request_id, units
            FROM audit
        WHERE ($1::text IS NULL OR staff_code = $1) AND ($2::text IS NULL OR action = $2)
          AND ($3::timestamptz IS NULL OR at >= $3) AND ($4::timestamptz IS NULL OR at < $4)
          AND ($5::timestamptz IS NULL OR (at, id) < ($5, $6::uuid))
          AND ($11::text IS NULL OR $11 = ANY(subjects))
          AND (EXISTS (SELECT FROM unnest(units) AS u(code),
                  unnest($9::text[], $10::text[]) AS mine(low, high)
              WHERE u.code COLLATE "C" >= mine.low AND u.code COLLATE "C" < mine.high)
               OR cardinality(units) = 0 AND EXISTS
                   (SELECT FROM unit t WHERE t.parent IS NULL AND t.code = ANY($8::text[])))
        ORDER BY at DESC, id DESC LIMIT $7
        """),
        staff_code,
        action,
        since,
        until,
        after[0] if after else None,
        after[1] if after else None,
        limit,
        list(units),
        *bounds(ranges),
        subject,
    )
