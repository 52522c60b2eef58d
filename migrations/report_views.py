"""The views of the schema `report`, without personal data: no names of households, phones, texts,
places and photos, and no ids of households.
"""

from service.ties.queries import EVERY_TIE

TODAY = "(now() AT TIME ZONE 'Asia/Shanghai')::date"
_SEEN = "IN (SELECT v.code FROM report.visible_units() v)"
_LEVELS = ("village", "township", "banner", "city")
_AT_LEVEL = "(SELECT x.code FROM above x WHERE x.below = u.code AND x.level = '{0}') AS {0}"
VIEWS = {
    "units": f"""
        WITH RECURSIVE above(below, code, level, parent) AS (
            SELECT u.code, u.code, u.level, u.parent FROM report.all_units u WHERE u.code {_SEEN}
            UNION SELECT a.below, u.code, u.level, u.parent
            FROM above a JOIN report.all_units u ON u.code = a.parent)
        SELECT u.code, u.level, u.name, u.parent, {", ".join(map(_AT_LEVEL.format, _LEVELS))},
               u.since, u.closed, u.party_group, u.kind
        FROM report.all_units u WHERE u.code {_SEEN}
    """,
    "days": f"""
        SELECT t.day, t.grid, sum(t.visits)::int AS visits, sum(t.raised)::int AS problems_raised,
               sum(t.resolved)::int AS problems_resolved
        FROM public.tally t WHERE t.grid {_SEEN} GROUP BY 1, 2
    """,
    "cadre_days": f"""
        SELECT t.day, t.grid, t.cadre AS staff_code, t.visits, t.raised AS problems_raised,
               t.resolved AS problems_resolved
        FROM public.tally t WHERE t.grid {_SEEN}
    """,
    "periods": f"""
        SELECT CASE WHEN t.span LIKE '%W%' THEN 'week' WHEN t.span LIKE '%Q%' THEN 'quarter'
                    WHEN t.span LIKE '%H%' THEN 'half' WHEN length(t.span) = 4 THEN 'year'
                    ELSE 'month' END AS kind,
               t.span AS period, t.grid, t.visits, t.households AS households_visited,
               t.contacts AS contact_households_visited, t.raised AS problems_raised,
               t.resolved AS problems_resolved, t.late AS late_arrivals
        FROM public.grid_tally t WHERE t.grid {_SEEN}
    """,
    "cadres": f"""
        SELECT p.staff_code, coalesce(c.shown_code, c.staff_code) AS shown_code, p.role, p.unit,
               p.valid_from, p.valid_to, c.party_member
        FROM public.post p JOIN public.cadre c ON c.staff_code = p.staff_code
        WHERE p.unit {_SEEN}
    """,
    "problems": f"""
        SELECT f.problem AS id, f.grid, f.duty, p.category, f.severity, p.source, f.state,
               f.raised_at, f.raised_by, f.due, f.resolved_at, f.resolved_by, f.handler_unit,
               f.handler_cadre, f.satisfied, f.escalated,
               f.state NOT IN ('rejected', 'joined') AS is_counted,
               f.state NOT IN ('rejected', 'joined') AND f.resolved_at IS NULL AS is_open,
               f.state NOT IN ('rejected', 'joined') AND f.resolved_at IS NULL AND f.due < now()
                   AS is_overdue,
               (extract(epoch FROM f.resolved_at - f.raised_at) / 3600)::float8 AS hours_to_resolve,
               p.dispute_kind, p.second_visit_at
        FROM public.case_file f JOIN public.problem p ON p.id = f.problem WHERE f.grid {_SEEN}
    """,
    "visits": f"""
        SELECT v.id, v.grid, v.visited_at, (v.visited_at AT TIME ZONE 'Asia/Shanghai')::date AS day,
               v.created_by AS staff_code, v.received_at, coalesce(v.duties, '{{}}') AS duties,
               v.household_id IS NOT NULL AS has_household
        FROM public.visit v WHERE NOT v.deleted AND v.grid {_SEEN}
    """,
    "ties": f"""
        SELECT t.id, t.source, t.grid, t.cadre AS staff_code, t.kind, t.valid_from::date,
               t.valid_to::date,
               (t.valid_from IS NULL OR t.valid_from::date <= {TODAY})
                   AND (t.valid_to IS NULL OR t.valid_to::date > {TODAY}) AS holds
        FROM ({EVERY_TIE}) AS t WHERE t.grid {_SEEN}
    """,
    "visit_checks": f"""
        SELECT c.id, c.visit_id, c.grid, c.checked_at, c.created_by AS staff_code, c.finding,
               v.visited_at,
               NOT EXISTS (SELECT FROM public.visit_check x
                   WHERE x.visit_id = c.visit_id AND NOT x.deleted
                       AND (x.checked_at > c.checked_at
                           OR x.checked_at = c.checked_at AND x.id < c.id)) AS is_newest
        FROM public.visit_check c JOIN public.visit v ON v.id = c.visit_id AND NOT v.deleted
        WHERE NOT c.deleted AND c.grid {_SEEN}
    """,
    "indicators": """
        SELECT t.code, t.name_zh, t.name_en, t.attributes ->> 'measure' AS measure,
               t.attributes ->> 'period' AS period, t.attributes ->> 'level' AS level,
               t.attributes ->> 'aggregate' AS aggregate,
               (t.attributes ->> 'target')::float8 AS target, t.valid_from, t.valid_to
        FROM public.vocabulary_term t
        WHERE t.list = 'indicator' AND EXISTS (SELECT FROM report.visible_units())
    """,
    "indicator_values": f"""
        SELECT v.indicator, v.period, v.grid AS unit, v.value,
               coalesce(g.target, (
                   SELECT (t.attributes ->> 'target')::float8 FROM public.vocabulary_term t
                   WHERE t.list = 'indicator' AND t.code = v.indicator AND t.valid_from <= {TODAY}
                       AND (t.valid_to IS NULL OR t.valid_to > {TODAY}))) AS target,
               v.by AS staff_code, v.received_at
        FROM public.indicator_value v LEFT JOIN public.indicator_target g
            ON g.indicator = v.indicator AND g.period = v.period AND g.unit = v.grid
        WHERE NOT v.deleted AND v.grid {_SEEN}
    """,
    "marks": f"""
        SELECT m.unit, m.mark, m.valid_from, m.valid_to,
               m.valid_from <= {TODAY} AND (m.valid_to IS NULL OR m.valid_to > {TODAY}) AS holds,
               s.steps, s.steps_done, s.steps_overdue
        FROM public.unit_mark m CROSS JOIN LATERAL (
            SELECT count(*)::int AS steps, count(e ->> 'done_on')::int AS steps_done,
                   count(*) FILTER (WHERE e ->> 'done_on' IS NULL
                       AND (e ->> 'due')::date < {TODAY})::int AS steps_overdue
            FROM jsonb_array_elements(m.plan) AS e) AS s
        WHERE m.unit {_SEEN}
    """,
}
