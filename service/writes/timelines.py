"""Whether commits were lost when another PostgreSQL server took over (promise 9).

PostgreSQL begins a new timeline when a replica is promoted, or a backup is recovered; a server that
was made anew has another system identifier. Both together name the timeline under which a cursor
was signed. Before the first write under a new one, the heads of all grids and the acknowledged seqs
of all devices are kept: that is what has come over. A genuine cursor of an older timeline that is
above it has seen what is lost. Only then a new epoch is taken; where nothing was lost, no phone
notices anything.
"""

from service.kit.database import Connection
from sync_protocol.cursor import Cursor

# The number in hex in the file name of the log is there from the first moment on, that of the
# control file after the next checkpoint.
NUMBER = (
    "CASE WHEN pg_is_in_recovery() THEN NULL ELSE"
    " left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END"
)
_NAME = f"(SELECT system_identifier FROM pg_control_system()) || '/' || {NUMBER}"


class TimelineChanged(Exception):
    """The database is written under another timeline than it was; `note_timeline` must come
    first.
    """


async def note_timeline(connection: Connection) -> None:
    """Notes the timeline, and how far everything had come, if the connection's server has begun a
    timeline that the database does not know.

    To be called with every new connection and whenever the timeline is seen to have changed, before
    anything is written. A replica that is read from, and a database whose tables are not of this
    release, are left alone.
    """
    name = await connection.fetchval(
        f"SELECT CASE WHEN to_regclass('timeline_acked') IS NOT NULL THEN {_NAME} END"
    )
    if (
        name is None
        or await connection.fetchval("SELECT timeline = $1 FROM server", name) is not False
    ):
        return
    async with connection.transaction():
        # Whoever comes second waits here until the first is through.
        former = await connection.fetchval("SELECT timeline FROM server FOR UPDATE")
        if former == name:
            return
        number = await connection.fetchval("SELECT coalesce(max(number), 0) + 1 FROM timeline")
        await connection.execute("DELETE FROM timeline WHERE name = $1", name)
        await connection.execute(
            "INSERT INTO timeline (name, number, begun_at) VALUES ($1, $2, now())", name, number
        )
        if former:
            await connection.execute(
                "INSERT INTO timeline_head (number, grid, rev) SELECT $1, grid, rev FROM counter",
                number,
            )
            await connection.execute(
                "INSERT INTO timeline_acked (number, device, acked_seq) SELECT $1, id, acked_seq"
                " FROM device",
                number,
            )
        await connection.execute("UPDATE server SET timeline = $1", name)


async def has_lost(connection: Connection, cursor: Cursor) -> bool:
    """Whether a genuine cursor of an older timeline has seen what did not come over into the one
    that followed.

    A timeline that the database does not know was itself lost: in the latest change, or, if there
    was none, without a trace. A cursor that names none is of the first.
    """
    found: bool = await connection.fetchval(
        """
        WITH own AS (
            SELECT coalesce((SELECT number FROM timeline WHERE name = $1),
                            CASE WHEN $1 = '' THEN 1
                                ELSE (SELECT max(number) - 1 FROM timeline WHERE number > 1) END)
                                AS number
        ),
        following AS (SELECT min(t.number) AS number FROM timeline t, own
            WHERE t.number > own.number AND t.number > 1)
        SELECT CASE WHEN f.number IS NULL THEN own.number IS NULL ELSE
            $4 > coalesce((SELECT acked_seq FROM timeline_acked a WHERE a.number = f.number
            AND a.device = $5), 0)
            OR EXISTS (
                SELECT FROM unnest($2::text[], $3::bigint[]) AS k(grid, rev)
                LEFT JOIN timeline_head h ON h.number = f.number AND h.grid = k.grid
                    WHERE k.rev > coalesce(h.rev, 0)
            )
        END
        FROM following f, own
        """,
        cursor.timeline,
        list(cursor.grids),
        [position.rev for position in cursor.grids.values()],
        cursor.acked,
        cursor.device,
    )
    return found


async def forget(connection: Connection) -> None:
    """Drops what was kept: in a new epoch no cursor from before is good."""
    await connection.execute("DELETE FROM timeline_head")
    await connection.execute("DELETE FROM timeline_acked")
