"""Adds jobs to the queue.

Never in the transaction of a push or of another write of records: enqueueing tells the workers by
NOTIFY, and transactions that notify commit one after the other. A test keeps `service/writes` and
`service/sync` from importing this.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from service.jobs import library
from service.jobs.kinds import JobKind
from service.kit.database import Connection


async def add(
    connection: Connection,
    kind: JobKind,
    payload: Mapping[str, Any] | None = None,
    key: str | None = None,
    after: timedelta = timedelta(0),
) -> int | None:
    """Adds a job, which is there once the connection's transaction commits; its number.

    `key`: of the jobs with one key at most one waits or runs; another one is not added (None).
    `after`: how long it waits at least.
    """
    [number] = await library.queries(connection).enqueue(
        [kind.name],
        [json.dumps(payload or {}).encode()],
        [0],
        [after],
        [None if key is None else f"{kind.name} {key}"],
        on_conflict="skip",
    )
    return number
