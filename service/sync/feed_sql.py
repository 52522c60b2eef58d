"""The SQL of feeds: a page of what is new, how much is still to come, and count and digest of
copies. Windows and views are the same conditions in all of them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache

from service.identity.views import (
    WHOLE_GRID,
    View,
    absent_on_devices,
    shows_unknown,
)
from service.kit.conditions import own_or_tied, tied_to
from service.kit.sql import UNION, renumbered
from service.records.columns import MOMENT_JSON, NO_FIELDS, fields_json, personal_array
from sync_protocol.kinds import Kind
from sync_protocol.messages import PAGE_BYTES
from sync_protocol.records import KINDS, VISIT
from sync_protocol.windows import Windows

# Conditions of the windows on a living record `r`, with the parameters that `_windows` gives.
_WINDOWS: Mapping[str, str] = {
    "visit": "r.visited_at >= $6",
    "problem": "NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.id AND c.ended_at < $7)",
    "step": "NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.problem_id"
    " AND c.ended_at < $7)",
    "visit_check": "r.checked_at >= $6",
    "weekly_analysis": "r.week >= $8",
    "monthly_summary": "r.month >= $9",
}

# The same of what lies in mailboxes: held mutations `h` and articles `a`, with the parameter that
# `_windows` gives as the fifth.
_OPEN_HELD = "h.state = 'open'"
_SHOWN_ARTICLE = "a.state = 'published' AND a.published_at >= $13"


# A term of a list as phones get it.
_TERM = (
    "json_strip_nulls(json_build_object('list', v.list, 'code', v.code, 'name_zh', v.name_zh,"
    " 'name_en', v.name_en, 'name_mn', v.name_mn, 'position', v.position,"
    " 'valid_from', nullif(v.valid_from, '0001-01-01'), 'valid_to', v.valid_to,"
    " 'attributes', v.attributes))"
)


def within_window(kind: Kind) -> str:
    """SQL that says whether a living record `r` belongs to a first pull."""
    return _WINDOWS.get(kind.name, "true")


Views = frozenset[View]
# Parts of a grid are shown by these conditions on a record `r`; $15 is the cadre, $16 are the
# problems assigned to the cadre or a unit, $17 is today.
_TIED: Mapping[str, str] = {
    "household": tied_to("r", "$15", "$17"),
    "visit": own_or_tied("r", "$15", "$17"),
    "problem": own_or_tied("r", "$15", "$17"),
    "step": "(r.created_by = $15 OR EXISTS (SELECT FROM problem o WHERE o.id = r.problem_id"
    f" AND {own_or_tied('o', '$15', '$17')}))",
    "tie": "r.cadre = $15",
}
_ASSIGNED: Mapping[str, str] = {
    "problem": "r.id = ANY($16::uuid[])",
    "step": "r.problem_id = ANY($16::uuid[])",
}


def _letters(views: Iterable[View]) -> str:
    return ", ".join(f"'{view.value}'" for view in sorted(views))


def shown_in(kind: Kind, views: Views) -> str:
    """SQL that says whether a view `p.view`, one of `views`, shows a record `r`: the same for feed,
    count and digest.
    """
    if views <= WHOLE_GRID:
        return "true"
    tied = f"p.view = 't' AND {_TIED.get(kind.name, 'r.created_by = $15')}"
    ways = [f"p.view IN ({_letters(WHOLE_GRID)})", tied, _ASSIGNED.get(kind.name, "false")]
    return f"coalesce({' OR '.join(f'({way})' for way in ways)}, false)"


def _fields_sql(kind: Kind, views: Views) -> str:
    """The fields of a record `r` that a device with the view `p.view` gets."""
    by_absent: dict[frozenset[str], list[View]] = {}
    for view in sorted(views):
        by_absent.setdefault(absent_on_devices(kind, view), []).append(view)
    shown = {absent: fields_json(kind, "r", absent) for absent in by_absent}
    if len(shown) == 1:
        return next(iter(shown.values()))
    return (
        "CASE "
        + " ".join(
            f"WHEN p.view IN ({_letters(by_absent[absent])}) THEN {sql}"
            for absent, sql in shown.items()
        )
        + " END"
    )


def _extra_sql(views: Views) -> str:
    """The fields of newer apps, where the view shows them."""
    showing = [view for view in views if shows_unknown(view)]
    if len(showing) == len(views):
        return "r.extra"
    return (
        f"CASE WHEN p.view IN ({_letters(showing)}) THEN r.extra END" if showing else "NULL::json"
    )


def _personal_sql(kind: Kind, views: Views) -> str:
    """The personal fields, encrypted as they are, where the view shows them."""
    by_array: dict[str, list[View]] = {}
    for view in sorted(views):
        array = personal_array(kind, "r", absent_on_devices(kind, view))
        by_array.setdefault(array, []).append(view)
    if len(by_array) == 1:
        return next(iter(by_array))
    ways = (
        f"WHEN p.view IN ({_letters(some)}) THEN {array}"
        for array, some in by_array.items()
        if array != NO_FIELDS
    )
    return f"CASE {' '.join(ways)} END"


def _kind_sql(kind: Kind, views: Views) -> str:
    within = f"NOT r.deleted AND {within_window(kind)}"
    if kind is not VISIT:
        return _part_sql(kind, views, f"r.rev > p.rev AND (r.rev > p.snapshot OR ({within}))")
    # Two ranges, of which each is one of the index: of all that a grid ever saw, most lies before
    # the window.
    return (
        _part_sql(kind, views, f"r.rev > p.rev AND r.rev <= p.snapshot AND {within}")
        + " UNION ALL "
        + _part_sql(kind, views, "r.rev > greatest(p.rev, p.snapshot)")
    )


def _part_sql(kind: Kind, views: Views, condition: str) -> str:
    return f"""
        (SELECT '{kind.name}' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{{}}'::json
                   ELSE {_fields_sql(kind, views)} END AS fields, {_extra_sql(views)} AS extra,
               {_personal_sql(kind, views)} AS personal
        FROM {kind.name} r
        WHERE r.grid = p.grid AND {condition} AND {shown_in(kind, views)}
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    """


def _left_sql(kind: Kind, views: Views) -> str:
    """Records that were changed and that a view of a part of the grid does not show: perhaps it did
    before.
    """
    return f"""
        (SELECT '{kind.name}', r.id, r.rev, false, true, 0, '', '', '{{}}'::json, NULL::json,
            NULL::text[]
         FROM {kind.name} r WHERE r.grid = p.grid AND r.rev > p.rev AND r.rev > p.snapshot
             AND r.clocks IS NOT NULL
           AND NOT {shown_in(kind, views)} ORDER BY r.rev LIMIT $11)
    """


@cache
def feed_sql(views: Views) -> str:
    parts = [_kind_sql(kind, views) for kind in KINDS.values()]
    if not views <= WHOLE_GRID:
        parts += [_left_sql(kind, views) for kind in KINDS.values()]
    every = UNION.join(parts)
    return f"""
        WITH page AS MATERIALIZED (
        SELECT p.grid, p.place, f.* FROM unnest($1::text[], $2::bigint[], $3::bigint[],
               $4::bigint[], $14::text[])
             WITH ORDINALITY AS p(grid, rev, snapshot, own_since, view, place)
        CROSS JOIN LATERAL (
            SELECT * FROM (
                {every}
                UNION ALL
                (SELECT d.kind, d.id, d.rev, false, true, 0, '', '', '{{}}'::json, NULL, NULL
                 FROM departure d WHERE d.grid = p.grid AND d.rev > p.rev AND d.rev > p.snapshot
                   AND NOT EXISTS (SELECT FROM household h WHERE h.id = d.id AND h.grid = d.grid)
                   ORDER BY d.rev LIMIT $11)
                UNION ALL
                (SELECT 'held', h.id, h.rev, false, false, h.stamp, h.staff_code, h.staff_code,
                        json_build_object('seq', h.seq, 'kind', h.kind, 'record', h.record, 'grid',
                        h.grid, 'reason', h.reason,
                            'state', h.state, 'decision', h.decision, 'device', h.device), h.body,
                            ARRAY[h.detail]
                 FROM held h WHERE h.mailbox = p.grid AND h.rev > p.rev
                     AND (h.rev > p.snapshot OR {_OPEN_HELD})
                 ORDER BY h.rev LIMIT $11)
                UNION ALL
                (SELECT 'article', a.id, a.rev, a.state <> 'published', false, 0, a.author,
                    a.author,
                        CASE WHEN a.state = 'published'
                            THEN json_build_object('unit', a.unit, 'kind', a.kind, 'title', a.title,
                            'body', a.body, 'published_at', {MOMENT_JSON.format("a.published_at")})
                            ELSE '{{}}'::json END, NULL, NULL
                 FROM article a WHERE a.mailbox = p.grid AND a.rev > p.rev
                   AND (a.rev > p.snapshot OR ({_SHOWN_ARTICLE})) ORDER BY a.rev LIMIT $11)
                UNION ALL
                (SELECT 'vocabulary', v.id, v.rev, false, false, 0, v.changed_by, v.changed_by,
                        {_TERM}, NULL, NULL
                 FROM vocabulary_term v WHERE left(p.grid, 1) = '#' AND v.mailbox = p.grid
                   AND v.rev > p.rev ORDER BY v.rev LIMIT $11)
            ) AS every ORDER BY rev LIMIT $11
        ) AS f
        ORDER BY p.place, f.rev LIMIT $11
        )
        SELECT * FROM (
            SELECT sized.*, count(*) OVER () AS total, sum(size)
                OVER (ORDER BY place, rev ROWS UNBOUNDED PRECEDING) AS bytes
            FROM (SELECT page.*, octet_length(fields::text) + coalesce(octet_length(extra::text), 0)
                AS size FROM page) AS sized
        ) AS bounded WHERE bytes - size <= {PAGE_BYTES} ORDER BY place, rev
    """


@cache
def count_sql(views: Views) -> str:
    """How many records of grids that are shown in part are still to come; $3 and $11 are revs and
    snapshots of the positions.
    """
    parts = (
        f"SELECT FROM {kind.name} r JOIN p USING (grid) WHERE r.grid = ANY($1::text[])"
        " AND r.rev > p.rev"
        f" AND (r.rev > p.snapshot OR (NOT r.deleted AND {within_window(kind)}))"
        f" AND {shown_in(kind, views)}"
        for kind in KINDS.values()
    )
    return (
        "WITH p AS MATERIALIZED (SELECT *"
        " FROM unnest($1::text[], $2::text[], $3::bigint[], $11::bigint[]) AS p(grid, view, rev,"
        " snapshot))"
        f" SELECT count(*) FROM ({renumbered(UNION.join(parts), _digest_place)}) AS coming"
    )


@cache
def copies_sql(views: Views) -> str:
    """Count and digest of copies, grids and mailboxes; the conditions are those of the feed."""
    parts = [
        f"SELECT p.grid, r.id, r.rev FROM {kind.name} r JOIN p USING (grid)"
        f" WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND {within_window(kind)}"
        f" AND {shown_in(kind, views)}"
        for kind in KINDS.values()
    ]
    parts += [
        "SELECT h.mailbox, h.id, h.rev FROM held h WHERE h.mailbox = ANY($1::text[])"
        f" AND {_OPEN_HELD}",
        "SELECT a.mailbox, a.id, a.rev FROM article a WHERE a.mailbox = ANY($1::text[])"
        f" AND {_SHOWN_ARTICLE}",
        "SELECT v.mailbox, v.id, v.rev FROM vocabulary_term v WHERE v.mailbox = ANY($1::text[])",
    ]
    every = UNION.join(parts)
    every = renumbered(every, _digest_place)
    return f"""
        WITH p AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[]) AS p(grid, view))
        SELECT grid, count(*) AS count,
               bit_xor(('x' || encode(substr(sha256(uuid_send(id) || int8send(rev)), 1, 8),
               'hex'))::bit(64)) AS digest
        FROM ({every}) AS live GROUP BY grid
    """


# The conditions count their parameters as in the feed; here they stand closer together.
_DIGEST_PLACES = {13: 3, 15: 8, 16: 9, 17: 10, 6: 4, 7: 5, 8: 6, 9: 7}


def _digest_place(number: int) -> int:
    return _DIGEST_PLACES.get(number, number)


def window_values(windows: Windows) -> tuple[datetime, datetime, str, str]:
    """The parameters $6 to $9 of the windows' conditions."""
    return (
        datetime.fromisoformat(windows.visits),
        datetime.fromisoformat(windows.closed_problems),
        windows.week,
        windows.month,
    )
