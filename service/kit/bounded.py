"""Lists bounded in bytes: however large the rows are, a page of them is read, held in memory and
sent in a few MiB at most.
"""

from collections.abc import Sequence

from service.kit.database import Row

PAGE_BYTES = 2 * 1024 * 1024


def bounded(sql: str) -> str:
    """The statement of a list, with ORDER BY and LIMIT, whose rows stop after about `PAGE_BYTES`,
    and never before the first.

    Each row says in `page_rows` how many there were within the LIMIT. The rows are numbered as they
    come, which is their order.
    """
    return f"""
        SELECT * FROM (
            SELECT p.*, sum(octet_length(p::text))
                OVER (ORDER BY p.page_row) AS page_bytes, count(*) OVER () AS page_rows
            FROM (SELECT row_number() OVER () AS page_row, q.* FROM ({sql}) AS q) AS p
        ) AS b WHERE b.page_row = 1 OR b.page_bytes <= {PAGE_BYTES} ORDER BY b.page_row
    """


def cut(rows: Sequence[Row], limit: int) -> tuple[list[Row], bool]:
    """The rows of a page, of a bounded list that was read with a LIMIT of one more, and whether
    there are others behind them.
    """
    kept = list(rows[:limit])
    return kept, bool(kept) and kept[0]["page_rows"] > len(kept)
