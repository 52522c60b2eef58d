"""The statements of the prefetch, put together from parts that all give the same columns."""

from collections.abc import Sequence
from functools import cache

from service.cases.models import IS_ASSIGNED
from service.kit.sql import UNION
from service.runtime.tables import KEPT
from service.writes import timelines
from sync_protocol.vocabulary import CODE_LENGTH

# Every row has these columns behind `what`, which says what they mean; the others are NULL:
#
# device    `code` its id, `name` how much it has queued, `place` when it was registered (ms) and
#           the day of its line in the trail, `n` acknowledged seq, `m` last stamp, `since` when it
#           was revoked, `until` when it was last seen
# server    `code` epoch, `name` key of cursors (hex), versions of the tree and of the vocabulary,
#           `place` state of the encryption, `since` from when on work in one's own post counts
# timeline  `code` as noted, `name` as it is now, `place` what `Tables` reads
# post      `code` unit, `name` role, `place` staff code, `n` when its end was recorded (us),
#           `since` and `until` when it is valid
# assigned  `code` problem, `name` its grid, `place` the recipient
# counter   `code` grid or mailbox, `n` its rev
# locked    `code` grid, `n` its rev under the lock, `m` its rev as the rest of the statement has it
# there     `code` id of a record, `name` its kind, `place` its grid
# awaited   a held mutation waits for one of the named records
# erased    `code` id of an erased record, `name` its kind, `place` its grid, `n` its rev,
#           `since` when it was erased
_EMPTY = {
    "code": "NULL::text",
    "name": "NULL::text",
    "place": "NULL::text",
    "n": "NULL::bigint",
    "m": "NULL::bigint",
    "since": "NULL::timestamptz",
    "until": "NULL::timestamptz",
}


def _row(what: str, source: str, **values: str) -> str:
    columns = ", ".join(f"{values.get(name, empty)} AS {name}" for name, empty in _EMPTY.items())
    return f"SELECT '{what}' AS what, {columns} FROM {source}"


_DEVICE = """
    SELECT id, acked_seq, last_stamp, revoked_at, last_seen, queued, created_at, audited_on
        FROM device
    WHERE id = ANY((SELECT $1::text::uuid[])::uuid[]) ORDER BY id
"""
_DEVICE_ROW = {
    "code": "id::text",
    "name": "queued::text",
    "place": "concat_ws(' ', (extract(epoch FROM created_at) * 1000)::bigint, audited_on)",
    "n": "acked_seq",
    "m": "last_stamp",
    "since": "revoked_at",
    "until": "last_seen",
}
_POSTS = f"""
    every_post AS MATERIALIZED (
        SELECT staff_code, role, unit, valid_from, valid_to, end_recorded_at FROM post
        WHERE staff_code = ANY((SELECT $2::text::text[])::text[])
    ),
    current AS MATERIALIZED (SELECT DISTINCT unit FROM every_post WHERE valid_to IS NULL
        OR valid_to > $4::timestamptz),
    assigned AS MATERIALIZED (
        SELECT c.problem, c.grid, '@' || c.handler_cadre AS recipient FROM case_file c
        WHERE {IS_ASSIGNED} AND c.handler_cadre = ANY((SELECT $2::text::text[])::text[])
        UNION ALL
        SELECT c.problem, c.grid, c.handler_unit FROM current p
        JOIN case_file c ON {IS_ASSIGNED} AND c.handler_unit >= p.unit
            AND c.handler_unit < p.unit || ':'
             AND NOT (c.grid >= p.unit AND c.grid < p.unit || ':')
    )
"""
# All grids under a unit: their codes begin with the unit's, and ‘:’ follows on ‘9’.
_UNDER = "counter c ON c.grid >= {0}p.unit AND c.grid < {0}p.unit || ':'"
_LENGTHS = (
    "(VALUES " + ", ".join(f"({length})" for length in sorted(CODE_LENGTH.values())) + ") AS l(n)"
)
_SERVER = _row(
    "server",
    "server",
    code="epoch::text",
    name="encode(cursor_key, 'hex') || ' ' || tree_version || ' ' || vocabulary_version",
    place="encryption",
    since="own_work_from",
)
_STATE_ROWS = (
    _SERVER,
    _row(
        "timeline",
        "server",
        code="timeline",
        name=f"split_part(timeline, '/', 1) || '/' || {timelines.NUMBER}",
        place=KEPT,
    ),
    _row(
        "post",
        "every_post",
        place="staff_code",
        code="unit",
        name="role",
        n="(extract(epoch FROM end_recorded_at) * 1000000)::bigint",
        since="valid_from",
        until="valid_to",
    ),
    _row("assigned", "assigned", code="problem::text", name="grid", place="recipient"),
    _row("counter", "assigned a JOIN counter c USING (grid)", code="c.grid", n="c.rev"),
    _row("counter", "current p JOIN " + _UNDER.format(""), code="c.grid", n="c.rev"),
    _row(
        "counter",
        "counter c WHERE c.grid = ANY((SELECT $3::text::text[])::text[])",
        code="c.grid",
        n="c.rev",
    ),
    _row(
        "counter",
        f"current p CROSS JOIN {_LENGTHS} JOIN counter c ON c.grid = '#' || left(p.unit, l.n)",
        code="c.grid",
        n="c.rev",
    ),
    _row("counter", "current p JOIN " + _UNDER.format("'#' || "), code="c.grid", n="c.rev"),
)
# $1 devices, $2 staff codes, $3 their mailboxes, $4 now
READ_SQL = f"WITH {_POSTS}" + UNION.join(
    (_row("device", f"({_DEVICE}) AS d", **_DEVICE_ROW), *_STATE_ROWS)
)


# $1 to $3 the units that have other ranges than that of their code: a number for each unit, and the
# ends of its ranges; $4 mailboxes.
MOVED_SQL = (
    "WITH moved AS MATERIALIZED (SELECT * FROM unnest($1::int[], $2::text[], $3::text[])"
    " AS m(unit, low, high)),\n"
    f"assigned AS MATERIALIZED (SELECT c.problem, c.grid, c.handler_unit AS recipient FROM moved p"
    f" JOIN case_file c ON {IS_ASSIGNED} AND c.handler_unit >= p.low AND c.handler_unit < p.high"
    " AND NOT EXISTS (SELECT FROM moved o WHERE o.unit = p.unit AND c.grid >= o.low"
    " AND c.grid < o.high))\n"
    + UNION.join(
        (
            _row("assigned", "assigned", code="problem::text", name="grid", place="recipient"),
            _row("counter", "assigned a JOIN counter c USING (grid)", code="c.grid", n="c.rev"),
            _row(
                "counter",
                "moved p JOIN counter c ON c.grid >= p.low AND c.grid < p.high",
                code="c.grid",
                n="c.rev",
            ),
            _row(
                "counter",
                "moved p JOIN counter c ON c.grid >= '#' || p.low AND c.grid < '#' || p.high",
                code="c.grid",
                n="c.rev",
            ),
            _row("counter", "counter c WHERE c.grid = ANY($4::text[])", code="c.grid", n="c.rev"),
        )
    )
)


def _lock(place: int) -> str:
    """Locks the counters of the grids, in one order for everybody."""
    return (
        "mine AS MATERIALIZED (SELECT grid, rev FROM counter"
        f" WHERE grid = ANY((SELECT ${place}::text::text[])::text[])"
        " ORDER BY grid FOR NO KEY UPDATE)"
    )


def _ids(place: int, kinds: Sequence[str]) -> str:
    """The ids of each kind that are named, as arrays that are made once; parameters from `place`
    on.
    """
    return (
        "named AS MATERIALIZED (SELECT "
        + ", ".join(f"${at}::text::uuid[] AS {kind}_ids" for at, kind in enumerate(kinds, place))
        + ")"
    )


def _named(kinds: Sequence[str]) -> list[str]:
    """What there is of the named grids and records.

    An array is taken in a SELECT of its own; in the condition it would be taken for every row that
    the condition looks at.
    """
    every = " || ".join(f"{kind}_ids" for kind in kinds)
    return [
        # The rev that is read without a lock is as old as everything else that the statement sees.
        _row("locked", "mine JOIN counter c USING (grid)", code="grid", n="mine.rev", m="c.rev"),
        *(
            _row(
                "there",
                f"{kind} WHERE id = ANY((SELECT {kind}_ids FROM named)::uuid[])",
                code="id::text",
                name=f"'{kind}'",
                place="grid",
            )
            for kind in kinds
        ),
        _row(
            "awaited",
            f"(SELECT FROM held WHERE state = 'open' AND waits_for = ANY((SELECT {every}"
            " FROM named)::uuid[]) LIMIT 1) AS w",
        ),
        _row(
            "erased",
            f"erased_record WHERE id = ANY((SELECT {every} FROM named)::uuid[])",
            code="id::text",
            name="kind",
            place="grid",
            n="rev",
            since="at",
        ),
    ]


@cache
def grids_sql(kinds: tuple[str, ...]) -> str:
    return f"WITH {_lock(1)},\n{_ids(2, kinds)}\n" + UNION.join((_SERVER, *_named(kinds)))


@cache
def push_sql(kinds: tuple[str, ...]) -> str:
    parts = (_row("device", "owner", **_DEVICE_ROW), *_STATE_ROWS, *_named(kinds))
    # The devices come first of all that is locked. Set here, the limit costs no journey of its own.
    limited = (
        "limited AS MATERIALIZED (SELECT set_config('lock_timeout',"
        f" coalesce(${6 + len(kinds)}::text,"
        " current_setting('lock_timeout')), true) AS limit)"
    )
    device = _DEVICE.replace(
        "ORDER BY", "AND (SELECT limited.limit FROM limited) IS NOT NULL ORDER BY"
    )
    ctes = (
        limited,
        f"owner AS MATERIALIZED ({device} FOR NO KEY UPDATE)",
        _lock(5),
        _ids(6, kinds),
        _POSTS,
    )
    with_all = ",\n".join(ctes)
    return f"WITH {with_all}" + UNION.join(parts)
