"""The SQL that keeps the tally."""

from collections.abc import Mapping

from service.database import Connection
from service.summaries.credit import Counts, Key


async def add(connection: Connection, rows: Mapping[Key, Counts]) -> None:
    """Adds changes to the tally's rows, which are made as they are needed."""
    if not rows:
        return
    keys = list(zip(*rows, strict=True))
    counts = list(zip(*rows.values(), strict=True))
    await connection.execute(
        """
        INSERT INTO tally AS t (day, grid, cadre, duty, visits, raised, resolved)
        SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[], $7::int[])
        ON CONFLICT (day, grid, cadre, duty) DO UPDATE
        SET visits = t.visits + excluded.visits, raised = t.raised + excluded.raised, resolved = t.resolved + excluded.resolved
        """,
        *map(list, keys),
        *map(list, counts),
    )
