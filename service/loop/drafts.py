"""Drafts for thin clients: the numbers that a phone computes from its own copy, computed here from
the same records.
"""

import msgspec

from service.kit.database import Connection
from service.loop import queries
from service.writes import queries as sync_queries
from sync_protocol.drafts import Draft, draft
from sync_protocol.messages import Change
from sync_protocol.periods import Period


async def draft_of(connection: Connection, grid: str, period: Period) -> Draft:
    """The numbers of a grid's week or month."""
    own_work_from = await sync_queries.own_work_from(connection)
    items = [
        Change(
            row["kind"],
            row["id"],
            row["grid"],
            row["rev"],
            fields=msgspec.json.decode(row["fields"]),
            stamp=f"{row['stamp']:016x}",
            by=row["by"],
            created_by=row["created_by"],
        )
        for row in await queries.records_of(connection, grid, period)
    ]
    return draft(items, grid, period, own_work_from)
