"""What the tallies are, said once more in SQL over whole tables: `gridloop check` compares it with
the rules of `tallies.deltas`.
"""

from service.tallies.bands import BEGINS
from service.tallies.upserts import DUTY_COUNTS, VILLAGE_DAYS, WEEK_DAYS, WORK_COUNTS
from sync_protocol.vocabulary import DUTIES

_DAY = "({0} AT TIME ZONE 'Asia/Shanghai')::date"
_SPANS = "unnest(ARRAY[to_char({0}, 'IYYY\"-W\"IW'), to_char({0}, 'YYYY-MM')])"
# The spans of a day with the moments at which they end.
_SHORT = """
    SELECT e.* FROM unnest(ARRAY[to_char({0}, 'IYYY"-W"IW'), to_char({0}, 'YYYY-MM')],
        ARRAY[date_trunc('week', {0}::timestamp) + interval '7 days',
              date_trunc('month', {0}::timestamp) + interval '1 month']) AS e(span, ends)
"""
_LONG = """
    SELECT e.* FROM unnest(ARRAY[to_char({0}, 'YYYY-"Q"Q'),
            to_char({0}, 'YYYY-"H"') || (extract(month FROM {0})::int + 5) / 6,
            to_char({0}, 'YYYY')],
        ARRAY[date_trunc('quarter', {0}::timestamp) + interval '3 months',
              date_trunc('year', {0}::timestamp)
                  + (extract(month FROM {0})::int + 5) / 6 * interval '6 months',
              date_trunc('year', {0}::timestamp) + interval '1 year']) AS e(span, ends)
"""
_EVERY_SPAN = f"{_SHORT} UNION ALL {_LONG}"
_LATE = "({0} >= s.ends AT TIME ZONE 'Asia/Shanghai')"
_VISITS = f"""
    SELECT grid, created_by AS cadre, household_id, received_at, duties,
           {_DAY.format("visited_at")} AS day,
           {_DAY.format("to_timestamp((stamp >> 16) / 1000.0)")} AS written FROM visit
           WHERE NOT deleted
"""
_WORK = f"""
    SELECT grid, raised_by AS cadre, {_DAY.format("raised_at")} AS day, duty, received_at,
           1 AS raised, 0 AS resolved
    FROM case_file WHERE state NOT IN ('rejected', 'joined')
    UNION ALL
    SELECT grid, resolved_by, {_DAY.format("resolved_at")}, duty, NULL, 0, 1
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND resolved_at IS NOT NULL
"""
_CATEGORIES = f"""
    SELECT grid, category, {_DAY.format("raised_at")} AS day, 1 AS raised, 0 AS resolved
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND category IS NOT NULL
    UNION ALL
    SELECT grid, category, {_DAY.format("resolved_at")}, 0, 1 FROM case_file
    WHERE state NOT IN ('rejected', 'joined') AND category IS NOT NULL AND resolved_at IS NOT NULL
"""
_KIND = """CASE WHEN {0} = '' THEN '' WHEN {0} LIKE '%W%' THEN 'week'
    WHEN {0} LIKE '%Q%' THEN 'quarter' WHEN {0} LIKE '%H%' THEN 'half'
    WHEN length({0}) = 4 THEN 'year' ELSE 'month' END"""
_CLOSED = f"greatest({_DAY.format('resolved_at')}, {_DAY.format('raised_at')})"
_LAPSED = "due < coalesce(resolved_at, 'infinity')"
_TURNS = f"""
    SELECT grid, severity, {_DAY.format("raised_at")} AS day, 1 AS raised, 0 AS closed, 0 AS lapsed,
           0 AS cleared, (resolved_at IS NOT NULL)::int AS done
    FROM case_file WHERE state NOT IN ('rejected', 'joined')
    UNION ALL
    SELECT grid, severity, {_CLOSED}, 0, 1, 0, ({_LAPSED})::int, 0
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND resolved_at IS NOT NULL
    UNION ALL
    SELECT grid, severity, greatest({_DAY.format("due")}, {_DAY.format("raised_at")}), 0, 0, 1, 0, 0
    FROM case_file WHERE state NOT IN ('rejected', 'joined') AND {_LAPSED}
"""
_ON_DAY = "count(*) FILTER (WHERE extract(isodow FROM day) = {}{})"
_ON_DAYS = ", ".join(_ON_DAY.format(day, "") for day in range(1, 8))
_WRITTEN_ON_DAYS = ", ".join(_ON_DAY.format(day, " AND written = day") for day in range(1, 8))
_BY_DUTY = ", ".join(
    f"coalesce(sum({name}) FILTER (WHERE '{duty}' = ANY (duties)), 0)"
    for duty in DUTIES
    for name in WORK_COUNTS
)
_NO_DUTIES = ", ".join("0" for _ in DUTY_COUNTS)
_COUNTS = f"visits, raised, resolved, late, households, contacts, {', '.join(DUTY_COUNTS)}"
TALLIES = {
    "tally": f"""
        INSERT INTO tally (day, grid, cadre, visits, raised, resolved)
        SELECT day, grid, cadre, sum(visits), sum(raised), sum(resolved) FROM (
            SELECT day, grid, cadre, 1 AS visits, 0 AS raised, 0 AS resolved FROM ({_VISITS}) AS v
            UNION ALL SELECT day, grid, cadre, 0, raised, resolved FROM ({_WORK}) AS w) AS every
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "week_tally": f"""
        INSERT INTO week_tally (week, grid, {", ".join(WEEK_DAYS)})
        SELECT to_char(day, 'IYYY"-W"IW'), grid,
               {_ON_DAYS},
               {_WRITTEN_ON_DAYS}
        FROM ({_VISITS}) AS v GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "village_week_tally": f"""
        INSERT INTO village_week_tally (week, village, {", ".join(VILLAGE_DAYS)})
        SELECT week, left(grid, 12),
               {", ".join(f"count(*) FILTER (WHERE {name} > 0)" for name in WEEK_DAYS)}
        FROM week_tally GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "case_tally": f"""
        INSERT INTO case_tally (every, span, village, severity, raised, closed, lapsed, cleared,
            done)
        SELECT {_KIND.format("s.span")}, s.span, left(grid, 12), severity,
               sum(raised), sum(closed), sum(lapsed), sum(cleared), sum(done)
        FROM ({_TURNS}) AS w,
            LATERAL (SELECT '' AS span UNION ALL
                SELECT e.span FROM ({_EVERY_SPAN.format("w.day")}) AS e) AS s
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """,
    "hours_tally": f"""
        INSERT INTO hours_tally (span, village, band, problems)
        SELECT s.span, left(grid, 12),
               width_bucket(extract(epoch FROM resolved_at - raised_at), ARRAY{list(BEGINS)}),
               count(*)
        FROM (SELECT *, {_DAY.format("resolved_at")} AS day FROM case_file
              WHERE state NOT IN ('rejected', 'joined') AND resolved_at IS NOT NULL) AS c,
            LATERAL ({_EVERY_SPAN.format("c.day")}) AS s
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "cadre_tally": f"""
        INSERT INTO cadre_tally (span, village, cadre, visits, raised, resolved)
        SELECT s.span, left(grid, 12), cadre, sum(visits), sum(raised), sum(resolved)
        FROM tally t, LATERAL (SELECT {_SPANS.format("t.day")} AS span
            UNION ALL SELECT to_char(t.day, 'YYYY-"Q"Q')) AS s
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "visited_household": f"""
        INSERT INTO visited_household (household, span, grid)
        SELECT DISTINCT household_id, s.span, grid
            FROM ({_VISITS}) AS v, LATERAL (SELECT {_SPANS.format("v.day")} AS span) AS s
        WHERE household_id IS NOT NULL ORDER BY 1, 2, 3
    """,
    "grid_tally": f"""
        WITH short AS (
            INSERT INTO grid_tally (span, grid, {_COUNTS})
            SELECT span, grid, sum(visits), sum(raised), sum(resolved), sum(late), sum(households),
                   sum(contacts), {_BY_DUTY}
            FROM (
                SELECT s.span, grid, 1 AS visits, 0 AS raised, 0 AS resolved,
                       ({_LATE.format("received_at")})::int AS late,
                       0 AS households, 0 AS contacts, duties
                FROM ({_VISITS}) AS v, LATERAL ({_SHORT.format("v.day")}) AS s
                UNION ALL
                SELECT s.span, grid, 0, raised, resolved,
                       (raised = 1 AND {_LATE.format("received_at")})::int, 0, 0, ARRAY[duty]
                FROM ({_WORK}) AS w, LATERAL ({_SHORT.format("w.day")}) AS s
                UNION ALL
                SELECT v.span, v.grid, 0, 0, 0, 0, 1, (h.contact_member IS NOT NULL)::int, NULL
                FROM (SELECT household, span, max(grid) AS grid FROM visited_household
                      GROUP BY 1, 2) AS v
                LEFT JOIN household h ON h.id = v.household AND NOT h.deleted) AS every
            GROUP BY 1, 2 ORDER BY 1, 2 RETURNING *
        )
        INSERT INTO grid_tally (span, grid, {_COUNTS})
        SELECT span, grid, sum(visits), sum(raised), sum(resolved), sum(late), sum(households),
               sum(contacts), {", ".join(f"sum({name})" for name in DUTY_COUNTS)}
        FROM (
            SELECT s.span, m.grid, m.visits, m.raised, m.resolved, 0 AS late, 0 AS households,
                   0 AS contacts, {", ".join(DUTY_COUNTS)}
            FROM short m, LATERAL ({_LONG.format("to_date(m.span, 'YYYY-MM')")}) AS s
            WHERE m.span NOT LIKE '%W%'
            UNION ALL
            SELECT s.span, grid, 0, 0, 0, 1, 0, 0, {_NO_DUTIES}
            FROM ({_VISITS}) AS v, LATERAL ({_LONG.format("v.day")}) AS s
            WHERE {_LATE.format("received_at")}
            UNION ALL
            SELECT s.span, grid, 0, 0, 0, 1, 0, 0, {_NO_DUTIES}
            FROM ({_WORK}) AS w, LATERAL ({_LONG.format("w.day")}) AS s
            WHERE raised = 1 AND {_LATE.format("received_at")}
            UNION ALL
            SELECT v.span, v.grid, 0, 0, 0, 0, 1, (h.contact_member IS NOT NULL)::int, {_NO_DUTIES}
            FROM (SELECT m.household, s.span, max(m.grid) AS grid FROM visited_household m,
                      LATERAL ({_LONG.format("to_date(m.span, 'YYYY-MM')")}) AS s
                  WHERE m.span NOT LIKE '%W%' GROUP BY 1, 2) AS v
            LEFT JOIN household h ON h.id = v.household AND NOT h.deleted) AS every
        GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "category_tally": f"""
        INSERT INTO category_tally (span, grid, category, raised, resolved)
        SELECT s.span, grid, category, sum(raised), sum(resolved)
        FROM ({_CATEGORIES}) AS w, LATERAL (SELECT {_SPANS.format("w.day")} AS span) AS s
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "household_tally": """
        INSERT INTO household_tally (grid, households, contacts)
        SELECT grid, count(*), count(contact_member) FROM household WHERE NOT deleted GROUP BY 1
    """,
}
