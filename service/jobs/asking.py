"""How a route asks for a job whose result somebody waits for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.jobs import queries
from service.jobs.kinds import JobKind
from service.jobs.queue import add
from service.jobs.results import AT_LONGEST
from service.kit.database import Connection

RESULT = "result"


async def ask(
    connection: Connection,
    kind: JobKind,
    id: str,
    asked_by: str,
    payload: Mapping[str, Any],
    now: datetime,
    name: str | None = None,
) -> None:
    """Asks for a job by an id, by which its progress and its result are asked for
    (`GET /v1/jobs/{id}`), by this person alone. `name`: what its file will be called, where that is
    known before it is made.
    """
    await queries.add_result(connection, id, kind.name, asked_by, name, now, now + AT_LONGEST)
    await add(connection, kind, {**payload, RESULT: id})
