"""The SQL of jobs beside the library's: their numbers, what failed, and kept results."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.database import Connection, Row

# Why a job has failed under which processes ended; of others the name of the error is kept.
BROKEN_OFF = "broken-off"


async def numbers(connection: Connection) -> list[Row]:
    """How many jobs of each kind wait, wait for a later moment, run and have failed; for how many
    seconds the oldest could have begun.
    """
    return await connection.fetch(
        """
        SELECT entrypoint AS kind,
               count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS waiting,
               count(*) FILTER (WHERE status = 'queued' AND execute_after > now()) AS later,
               count(*) FILTER (WHERE status = 'picked') AS running,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               coalesce(extract(epoch FROM now() - min(execute_after) FILTER
                   (WHERE status = 'queued' AND execute_after <= now())), 0)::float AS oldest_s
        FROM job GROUP BY entrypoint ORDER BY entrypoint
        """
    )


async def failed(connection: Connection, limit: int) -> list[Row]:
    """Jobs that have failed, the newest first, with why."""
    return await connection.fetch(
        """
        SELECT j.id, j.entrypoint AS kind, j.updated AS failed_at, j.attempts + 1 AS tried,
               l.traceback ->> 'exception_message' AS why
        FROM job j LEFT JOIN LATERAL (
            SELECT traceback FROM job_log
            WHERE job_id = j.id AND status = 'failed' ORDER BY created DESC LIMIT 1
        ) l ON true
        WHERE j.status = 'failed' ORDER BY j.updated DESC, j.id DESC LIMIT $1
        """,
        limit,
    )


async def failed_ids(connection: Connection, kind: str | None) -> list[int]:
    """The numbers of all jobs that have failed, or of those of a kind."""
    rows = await connection.fetch(
        "SELECT id FROM job WHERE status = 'failed' AND ($1::text IS NULL OR entrypoint = $1)"
        " ORDER BY id",
        kind,
    )
    return [row["id"] for row in rows]


async def drop_repeated(connection: Connection) -> int:
    """Deletes jobs that have failed and of whose key a later one has failed: of work that comes
    again by itself one failure is enough to look at. How many.
    """
    done = await connection.execute(
        "DELETE FROM job j WHERE j.status = 'failed' AND EXISTS (SELECT FROM job o"
        " WHERE o.dedupe_key = j.dedupe_key AND o.status = 'failed' AND o.id > j.id)"
    )
    return int(done.split()[-1])


async def drop_waiting_anyway(connection: Connection, ids: Sequence[int]) -> int:
    """Deletes those of the failed jobs of whose key another one waits or runs, or is a later one of
    them: trying them again is trying that one. How many.
    """
    done = await connection.execute(
        "DELETE FROM job j WHERE j.status = 'failed' AND j.id = ANY($1::bigint[])"
        " AND EXISTS (SELECT FROM job o WHERE o.dedupe_key = j.dedupe_key"
        " AND (o.status IN ('queued', 'picked')"
        " OR o.status = 'failed' AND o.id = ANY($1::bigint[]) AND o.id > j.id))",
        list(ids),
    )
    return int(done.split()[-1])


async def delete_failed(connection: Connection, ids: Sequence[int]) -> int:
    """Deletes jobs that have failed; how many."""
    done = await connection.execute(
        "DELETE FROM job WHERE status = 'failed' AND id = ANY($1::bigint[])", list(ids)
    )
    return int(done.split()[-1])


async def begin(connection: Connection, id: int) -> int:
    """Notes that an attempt begins, before it does anything; 0. Where the attempt before has begun
    and never ended, it is noted as broken off instead, and this one does not begin: how many were
    broken off one after the other.
    """
    row = await connection.fetchrow(
        "UPDATE job SET begun = NOT begun, broken_off = broken_off + begun::int WHERE id = $1"
        " RETURNING begun, broken_off",
        id,
    )
    return 0 if row is None or row["begun"] else int(row["broken_off"])


async def end(connection: Connection, id: int) -> None:
    """Notes that an attempt has ended while its process lives."""
    await connection.execute("UPDATE job SET begun = false, broken_off = 0 WHERE id = $1", id)


async def clear_log(connection: Connection, days: int, limit: int) -> int:
    """Deletes lines of the log of jobs that are older than so many days; how many."""
    done = await connection.execute(
        "DELETE FROM job_log WHERE id IN (SELECT id FROM job_log"
        " WHERE created < now() - make_interval(days => $1) ORDER BY created LIMIT $2)",
        days,
        limit,
    )
    return int(done.split()[-1])


# ---------------------------------------------------------------------------------------- results

_RESULT = (
    "SELECT id::text, kind, asked_at, state, done, total, name, media_type, size, ended_at,"
    " kept_until FROM job_result"
)


async def add_result(
    connection: Connection,
    id: str,
    kind: str,
    asked_by: str,
    name: str | None,
    now: datetime,
    kept_until: datetime,
) -> None:
    """Keeps that somebody asked for a job."""
    await connection.execute(
        "INSERT INTO job_result"
        " (id, kind, asked_by, asked_at, state, done, total, kept_until, name)"
        " VALUES ($1, $2, $3, $4, 'waiting', 0, 0, $5, $6)",
        id,
        kind,
        asked_by,
        now,
        kept_until,
        name,
    )


async def result(connection: Connection, id: str, asked_by: str) -> Row | None:
    """A job that this person asked for."""
    return await connection.fetchrow(f"{_RESULT} WHERE id = $1 AND asked_by = $2", id, asked_by)


async def results_of(
    connection: Connection, asked_by: str, after: tuple[datetime, str] | None, limit: int
) -> list[Row]:
    """The jobs that this person asked for, the newest first. What nobody keeps any longer is
    deleted, so that the table stays small.
    """
    return await connection.fetch(
        f"{_RESULT} WHERE asked_by = $1"
        " AND ($2::timestamptz IS NULL OR (asked_at, id) < ($2, $3::uuid))"
        " ORDER BY asked_at DESC, id DESC LIMIT $4",
        asked_by,
        *(after or (None, None)),
        limit,
    )


async def set_state(connection: Connection, id: str, state: str) -> None:
    """A job that was asked for begins, waits again, or has failed."""
    await connection.execute("UPDATE job_result SET state = $2 WHERE id = $1", id, state)


async def set_progress(connection: Connection, id: str, done: int, total: int) -> None:
    """How far a job has come."""
    await connection.execute(
        "UPDATE job_result SET done = $2, total = $3 WHERE id = $1", id, done, total
    )


async def drop_results(connection: Connection) -> int:
    """Takes away what jobs have made: what is done is to be asked for anew, what is being made is
    made from its beginning; how many.
    """
    rows = await connection.fetch(
        "UPDATE job_result SET state = CASE state WHEN 'done' THEN 'failed' ELSE 'waiting' END,"
        " done = 0, total = 0, name = NULL, media_type = NULL, size = NULL"
        " WHERE state IN ('done', 'running') RETURNING id"
    )
    await connection.execute(
        "DELETE FROM job_result_part WHERE result = ANY($1::uuid[])", [row["id"] for row in rows]
    )
    return len(rows)


async def delete_parts(connection: Connection, id: str) -> None:
    """Takes away what an attempt before has left."""
    await connection.execute("DELETE FROM job_result_part WHERE result = $1", id)


async def add_part(connection: Connection, id: str, part: int, body: bytes) -> bool:
    """Keeps a part; False where the result was dropped meanwhile."""
    done = await connection.execute(
        "INSERT INTO job_result_part (result, part, body) SELECT id, $2, $3 FROM job_result"
        " WHERE id = $1 AND state = 'running' FOR SHARE",
        id,
        part,
        body,
    )
    return bool(done == "INSERT 0 1")


async def part(connection: Connection, id: str, number: int) -> bytes | None:
    """A part; None behind the last."""
    body: bytes | None = await connection.fetchval(
        "SELECT body FROM job_result_part WHERE result = $1 AND part = $2", id, number
    )
    return body


async def finish_result(
    connection: Connection,
    id: str,
    file: tuple[str, str, int],
    now: datetime,
    kept_until: datetime,
) -> bool:
    """A job has made what was asked for: name, media type, bytes; False where the result was
    dropped meanwhile.
    """
    done = await connection.execute(
        "UPDATE job_result SET state = 'done', name = $2, media_type = $3, size = $4,"
        " ended_at = $5, kept_until = $6, done = greatest(done, total)"
        " WHERE id = $1 AND state = 'running'",
        id,
        *file,
        now,
        kept_until,
    )
    return bool(done == "UPDATE 1")


async def expired(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Results that are not to be kept any longer."""
    rows = await connection.fetch(
        "SELECT id::text FROM job_result WHERE kept_until < $1 ORDER BY kept_until LIMIT $2",
        now,
        limit,
    )
    return [row["id"] for row in rows]


async def delete_result(connection: Connection, id: str) -> None:
    """Takes a result away, with all that is kept of it."""
    await delete_parts(connection, id)
    await connection.execute("DELETE FROM job_result WHERE id = $1", id)
