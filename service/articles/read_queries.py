"""The SQL of how often articles were read."""

from collections.abc import Sequence
from datetime import date

from service.articles.queries import Readers
from service.kit.conditions import Breakdown, Subtree, bounds
from service.kit.database import Connection, Row
from sync_protocol.periods import Period


async def meant_for(connection: Connection, ids: Sequence[str], readers: Readers) -> set[str]:
    """Those of some articles that are, or were, published for these readers."""
    rows = await connection.fetch(
        "SELECT a.id::text FROM article a WHERE a.id = ANY($4::uuid[])"
        " AND a.published_at IS NOT NULL AND (a.unit = ANY($3::text[])"
        " OR EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS u(low, high)"
        " WHERE a.unit >= u.low AND a.unit < u.high))",
        *bounds(readers.below),
        list(readers.above),
        list(ids),
    )
    return {row["id"] for row in rows}


async def add_reads(
    connection: Connection, rows: Sequence[tuple[str, str, date, int]], source: str
) -> None:
    """Adds reads to the counts of articles, units and days."""
    await connection.execute(
        "INSERT INTO article_read AS r (article, unit, day, source, reads)"
        " SELECT article, unit, day, $5, sum(reads)"
        " FROM unnest($1::uuid[], $2::text[], $3::date[], $4::int[])"
        "     AS n(article, unit, day, reads) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        " ON CONFLICT (article, unit, day, source) DO UPDATE SET reads = r.reads + excluded.reads",
        *([row[place] for row in rows] for place in range(4)),
        source,
    )


async def reads(
    connection: Connection, subtree: Subtree, below: Breakdown, article: str, period: Period
) -> list[Row]:
    """How often an article was read in a period, per unit right below and source."""
    return await connection.fetch(
        f"""
        SELECT {below.unit_of("r.unit", "$2")} AS code, r.source, sum(r.reads)::bigint AS reads
        FROM article_read r WHERE r.article = $3::uuid AND {subtree.under("r.unit")}
            AND r.day BETWEEN $4 AND $5 GROUP BY 1, 2
        """,
        subtree.code,
        below.width,
        article,
        period.first,
        period.last,
    )
