"""The SQL of privacy: what is kept of a person, what is too old."""

from collections.abc import Sequence
from datetime import UTC, datetime

from service.kit.database import Connection, Row
from service.records.columns import fields_json, personal_array
from service.writes.erased_queries import FIRST_ID, LineKey
from service.writes.queries import SERVER_PLATFORM
from sync_protocol.records import KINDS
from sync_protocol.texts import Text

# ------------------------------------------------------------------------------------------ exports


def _whole(kind: str) -> str:
    return (
        f"{fields_json(KINDS[kind], 'r')} AS fields, {personal_array(KINDS[kind], 'r')} AS"
        " personal, extra"
    )


async def household_record(connection: Connection, id: str) -> Row | None:
    """A living household, whole."""
    return await connection.fetchrow(
        f"SELECT id::text, grid, rev, created_by, received_at, {_whole('household')}"
        " FROM household r WHERE id = $1 AND NOT deleted",
        id,
    )


async def records_about(connection: Connection, kind: str, id: str, limit: int) -> list[Row]:
    """The living visits or problems of a household, the newest first."""
    when = {"visit": "visited_at", "problem": "raised_at"}[kind]
    return await connection.fetch(
        f"SELECT id::text, grid, created_by, received_at, {_whole(kind)}"
        f" FROM {kind} r WHERE household_id = $1 AND grid = ANY($2::text[]) AND NOT deleted"
        f" ORDER BY {when} DESC LIMIT $3",
        id,
        await _grids_of(connection, id),
        limit,
    )


async def _grids_of(connection: Connection, id: str) -> list[str]:
    rows = await connection.fetch(
        "SELECT grid FROM visited_household WHERE household = $1 UNION SELECT grid FROM household"
        " WHERE id = $1"
        " UNION SELECT grid FROM departure WHERE kind = 'household' AND id = $1",
        id,
    )
    return [row["grid"] for row in rows]


async def cadre_record(connection: Connection, staff_code: str) -> Row | None:
    """What is kept of a cadre, without the secrets."""
    return await connection.fetchrow(
        "SELECT staff_code, coalesce(shown_code, staff_code) AS shown_code, name, phone,"
        " party_member, must_change FROM cadre WHERE staff_code = $1",
        staff_code,
    )


async def posts_and_devices(
    connection: Connection, staff_code: str
) -> tuple[list[Row], list[Row], list[Row]]:
    """A cadre's posts, phones and sign-ins."""
    posts = await connection.fetch(
        "SELECT role, unit, title, valid_from, valid_to FROM post WHERE staff_code = $1"
        " ORDER BY valid_from",
        staff_code,
    )
    devices = await connection.fetch(
        "SELECT id::text, name, platform, app_version, created_at, last_seen, revoked_at"
        " FROM device"
        " WHERE staff_code = $1 AND platform <> $2 ORDER BY created_at",
        staff_code,
        SERVER_PLATFORM,
    )
    sessions = await connection.fetch(
        "SELECT family::text AS session, device::text, max(expires_at) AS expires_at,"
        " bool_and(revoked_at IS NOT NULL) AS ended"
        " FROM refresh_token WHERE staff_code = $1 GROUP BY family, device ORDER BY 3 DESC"
        " LIMIT 1000",
        staff_code,
    )
    return posts, devices, sessions


async def written_by(connection: Connection, staff_code: str) -> list[Row]:
    """How many mutations of each kind a cadre wrote, and when the first and the last came in."""
    return await connection.fetch(
        "SELECT kind, count(*)::int AS mutations, min(received_at) AS first, max(received_at)"
        " AS last"
        " FROM mutation WHERE device IN (SELECT id FROM device WHERE staff_code = $1)"
        " AND staff_code = $1 GROUP BY kind ORDER BY kind",
        staff_code,
    )


# ------------------------------------------------------------------------------------------ purging


_LOCATED = "location IS NOT NULL AND NOT deleted"


async def located_visits(connection: Connection, before: datetime, limit: int) -> list[str]:
    """The ids of visits from before a moment that have a location, grid by grid."""
    rows = await connection.fetch(
        f"SELECT id::text FROM visit WHERE visited_at < $1 AND {_LOCATED} ORDER BY grid, visit.id"
        " LIMIT $2",
        before,
        limit,
    )
    return [row["id"] for row in rows]


async def still_located(connection: Connection, ids: Sequence[str]) -> list[Row]:
    """Those of the visits that have a location still."""
    return await connection.fetch(
        f"SELECT id::text, grid, rev FROM visit WHERE id = ANY($1::uuid[]) AND {_LOCATED}"
        " ORDER BY grid, visit.id",
        ids,
    )


# Where a block of the mutation log stands: device, when it came in, its first seq.
BlockKey = tuple[str, datetime, int]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
# Before every line, and before every block.
FIRST_LINE: LineKey = (FIRST_ID, 0, _LONG_AGO)
FIRST_BLOCK: BlockKey = (FIRST_ID, _LONG_AGO, 0)
REFRESH_TOKENS = Text("expired refresh tokens")
IMPORT_EFFECTS = Text("what imports did")
# what -> (table, condition on rows older than $1)
OLD = {
    REFRESH_TOKENS: ("refresh_token", "expires_at < $1"),
    Text("sessions of browsers"): ("page_session", "ends_at < $1"),
    Text("windows of attempts"): ("attempt", "to_timestamp(expires_at) < $1"),
    Text("one-time codes"): ("one_time_code", "expires_at < $1"),
    Text("retired signing keys"): ("signing_key", "retired_at < $1"),
    Text("answers kept for repeated requests"): ("idempotency", "at < $1"),
    IMPORT_EFFECTS: (
        "import_effect",
        "import IN (SELECT id FROM roster_import WHERE ended_at < $1)",
    ),
}


async def count_located(connection: Connection, before: datetime) -> int:
    """How many visits from before a moment still have a location."""
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM visit WHERE visited_at < $1 AND {_LOCATED}", before
    )
    return count


async def logged_places(
    connection: Connection, before: datetime, after: LineKey, limit: int
) -> list[Row]:
    """Mutations of visits as the previous release logged them that came in before a moment and seem
    to hold a location, in order.
    """
    return await connection.fetch(
        """
        SELECT device::text, seq, received_at, body FROM mutation
        WHERE kind = 'visit' AND received_at < $1 AND body LIKE '%"location":{%'
            AND (device, seq, received_at) > ($2::uuid, $3, $4)
        ORDER BY device, seq, received_at LIMIT $5
        """,
        before,
        *after,
        limit,
    )


async def write_logged(connection: Connection, rows: Sequence[tuple[LineKey, str]]) -> None:
    """Writes mutations back; their digests stay, so that a repeated one is still known."""
    await connection.executemany(
        "UPDATE mutation SET body = $4 WHERE device = $1::uuid AND seq = $2 AND received_at = $3",
        [(*key, body) for key, body in rows],
    )


async def lock_located_blocks(
    connection: Connection, before: datetime, after: BlockKey, limit: int
) -> list[Row]:
    """Blocks of the log that came in before a moment and may hold locations, locked, in order of
    device, moment and seq.
    """
    return await connection.fetch(
        """
        SELECT device::text, received_at, first_seq, last_seq, located, body FROM mutation_body
        WHERE located AND received_at < $1 AND (device, received_at, first_seq) > ($2::uuid, $3, $4)
        ORDER BY device, received_at, first_seq LIMIT $5 FOR NO KEY UPDATE
        """,
        before,
        *after,
        limit,
    )


async def count_old(connection: Connection, what: Text, before: datetime) -> int:
    """How many rows of `OLD` are from before a moment."""
    table, condition = OLD[what]
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM {table} WHERE {condition}", before
    )
    return count


async def delete_old(connection: Connection, what: Text, before: datetime) -> int:
    """Deletes rows of `OLD` from before a moment."""
    table, condition = OLD[what]
    return int(
        (await connection.execute(f"DELETE FROM {table} WHERE {condition}", before)).split()[-1]
    )
