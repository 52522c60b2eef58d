-- What is written beside the COPYs of a push of new visits (service/writes/persist.py).
-- Parameters: arrays, a column each; see the `Cte`s of the modules that make the parts.
-- Shows the plan that the service has; EXPLAIN does not run the statement.
-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py
SET plan_cache_mode = force_generic_plan;
PREPARE write_new_visits AS
WITH add_bodies AS (
    INSERT INTO mutation_body (device, received_at, first_seq, last_seq, located, body)
    SELECT * FROM unnest($1::text::uuid[], $2::timestamptz[], $3::text::bigint[],
           $4::text::bigint[], $5::text::bool[], $6::bytea[])
),
advance AS (
    UPDATE counter SET rev = rev + t.n FROM unnest($7::text::text[], $8::text::bigint[])
        AS t(grid, n) WHERE counter.grid = t.grid
),
days AS (INSERT INTO tally AS t (day, grid, cadre, visits, raised, resolved) SELECT k.day, k.grid, k.cadre, c.every[3 * (k.place - 1) + 1], c.every[3 * (k.place - 1) + 2], c.every[3 * (k.place - 1) + 3] FROM unnest($9::text::date[], $10::text::text[], $11::text::text[]) WITH ORDINALITY AS k(day, grid, cadre, place), (SELECT $12::text::int[] AS every OFFSET 0) AS c ON CONFLICT (day, grid, cadre) DO UPDATE SET visits = t.visits + excluded.visits, raised = t.raised + excluded.raised, resolved = t.resolved + excluded.resolved),
week_rows AS (
    SELECT * FROM (SELECT k.week, k.grid, c.every[14 * (k.place - 1) + 1], c.every[14 * (k.place - 1) + 2], c.every[14 * (k.place - 1) + 3], c.every[14 * (k.place - 1) + 4], c.every[14 * (k.place - 1) + 5], c.every[14 * (k.place - 1) + 6], c.every[14 * (k.place - 1) + 7], c.every[14 * (k.place - 1) + 8], c.every[14 * (k.place - 1) + 9], c.every[14 * (k.place - 1) + 10], c.every[14 * (k.place - 1) + 11], c.every[14 * (k.place - 1) + 12], c.every[14 * (k.place - 1) + 13], c.every[14 * (k.place - 1) + 14] FROM unnest($13::text::text[], $14::text::text[]) WITH ORDINALITY AS k(week, grid, place), (SELECT $15::text::int[] AS every OFFSET 0) AS c) AS r(week, grid, visits_1, visits_2, visits_3, visits_4, visits_5, visits_6, visits_7, prompt_1, prompt_2, prompt_3, prompt_4, prompt_5, prompt_6, prompt_7)
),
weeks AS (
    INSERT INTO week_tally AS t (week, grid, visits_1, visits_2, visits_3, visits_4, visits_5, visits_6, visits_7, prompt_1, prompt_2, prompt_3, prompt_4, prompt_5, prompt_6, prompt_7) SELECT * FROM week_rows
    ON CONFLICT (week, grid) DO UPDATE SET visits_1 = t.visits_1 + excluded.visits_1, visits_2 = t.visits_2 + excluded.visits_2, visits_3 = t.visits_3 + excluded.visits_3, visits_4 = t.visits_4 + excluded.visits_4, visits_5 = t.visits_5 + excluded.visits_5, visits_6 = t.visits_6 + excluded.visits_6, visits_7 = t.visits_7 + excluded.visits_7, prompt_1 = t.prompt_1 + excluded.prompt_1, prompt_2 = t.prompt_2 + excluded.prompt_2, prompt_3 = t.prompt_3 + excluded.prompt_3, prompt_4 = t.prompt_4 + excluded.prompt_4, prompt_5 = t.prompt_5 + excluded.prompt_5, prompt_6 = t.prompt_6 + excluded.prompt_6, prompt_7 = t.prompt_7 + excluded.prompt_7 RETURNING week, grid, visits_1, visits_2, visits_3, visits_4, visits_5, visits_6, visits_7, prompt_1, prompt_2, prompt_3, prompt_4, prompt_5, prompt_6, prompt_7
),
village_weeks AS (
    INSERT INTO village_week_tally AS t (week, village, visited_1, visited_2, visited_3, visited_4, visited_5, visited_6, visited_7, prompt_1, prompt_2, prompt_3, prompt_4, prompt_5, prompt_6, prompt_7)
    SELECT * FROM (SELECT week, left(grid, 12) AS village, sum((n.visits_1 > 0)::int - (n.visits_1 - d.visits_1 > 0)::int)::int AS visited_1, sum((n.visits_2 > 0)::int - (n.visits_2 - d.visits_2 > 0)::int)::int AS visited_2, sum((n.visits_3 > 0)::int - (n.visits_3 - d.visits_3 > 0)::int)::int AS visited_3, sum((n.visits_4 > 0)::int - (n.visits_4 - d.visits_4 > 0)::int)::int AS visited_4, sum((n.visits_5 > 0)::int - (n.visits_5 - d.visits_5 > 0)::int)::int AS visited_5, sum((n.visits_6 > 0)::int - (n.visits_6 - d.visits_6 > 0)::int)::int AS visited_6, sum((n.visits_7 > 0)::int - (n.visits_7 - d.visits_7 > 0)::int)::int AS visited_7, sum((n.prompt_1 > 0)::int - (n.prompt_1 - d.prompt_1 > 0)::int)::int AS prompt_1, sum((n.prompt_2 > 0)::int - (n.prompt_2 - d.prompt_2 > 0)::int)::int AS prompt_2, sum((n.prompt_3 > 0)::int - (n.prompt_3 - d.prompt_3 > 0)::int)::int AS prompt_3, sum((n.prompt_4 > 0)::int - (n.prompt_4 - d.prompt_4 > 0)::int)::int AS prompt_4, sum((n.prompt_5 > 0)::int - (n.prompt_5 - d.prompt_5 > 0)::int)::int AS prompt_5, sum((n.prompt_6 > 0)::int - (n.prompt_6 - d.prompt_6 > 0)::int)::int AS prompt_6, sum((n.prompt_7 > 0)::int - (n.prompt_7 - d.prompt_7 > 0)::int)::int AS prompt_7
        FROM weeks n JOIN week_rows d USING (week, grid) GROUP BY 1, 2 ORDER BY 1, 2) AS v
    WHERE (visited_1, visited_2, visited_3, visited_4, visited_5, visited_6, visited_7, prompt_1, prompt_2, prompt_3, prompt_4, prompt_5, prompt_6, prompt_7) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    ON CONFLICT (week, village) DO UPDATE SET visited_1 = t.visited_1 + excluded.visited_1, visited_2 = t.visited_2 + excluded.visited_2, visited_3 = t.visited_3 + excluded.visited_3, visited_4 = t.visited_4 + excluded.visited_4, visited_5 = t.visited_5 + excluded.visited_5, visited_6 = t.visited_6 + excluded.visited_6, visited_7 = t.visited_7 + excluded.visited_7, prompt_1 = t.prompt_1 + excluded.prompt_1, prompt_2 = t.prompt_2 + excluded.prompt_2, prompt_3 = t.prompt_3 + excluded.prompt_3, prompt_4 = t.prompt_4 + excluded.prompt_4, prompt_5 = t.prompt_5 + excluded.prompt_5, prompt_6 = t.prompt_6 + excluded.prompt_6, prompt_7 = t.prompt_7 + excluded.prompt_7
),
cadres AS (INSERT INTO cadre_tally AS t (span, village, cadre, visits, raised, resolved) SELECT k.span, k.village, k.cadre, c.every[3 * (k.place - 1) + 1], c.every[3 * (k.place - 1) + 2], c.every[3 * (k.place - 1) + 3] FROM unnest($16::text::text[], $17::text::text[], $18::text::text[]) WITH ORDINALITY AS k(span, village, cadre, place), (SELECT $19::text::int[] AS every OFFSET 0) AS c ON CONFLICT (span, village, cadre) DO UPDATE SET visits = t.visits + excluded.visits, raised = t.raised + excluded.raised, resolved = t.resolved + excluded.resolved),
visited AS (
    INSERT INTO visited_household (household, span, grid)
    SELECT * FROM unnest($20::text::uuid[], $21::text::text[], $22::text::text[])
        ON CONFLICT DO NOTHING
    RETURNING household, span, grid
),
grids AS (
    INSERT INTO grid_tally AS t (span, grid, visits, raised, resolved, late, visits_party_building, raised_party_building, resolved_party_building, visits_social_security, raised_social_security, resolved_social_security, visits_public_order, raised_public_order, resolved_public_order, visits_emergency, raised_emergency, resolved_emergency, visits_social_relief, raised_social_relief, resolved_social_relief, visits_public_service, raised_public_service, resolved_public_service, households, contacts)
    SELECT span, grid, coalesce(s.visits, 0), coalesce(s.raised, 0), coalesce(s.resolved, 0), coalesce(s.late, 0), coalesce(s.visits_party_building, 0), coalesce(s.raised_party_building, 0), coalesce(s.resolved_party_building, 0), coalesce(s.visits_social_security, 0), coalesce(s.raised_social_security, 0), coalesce(s.resolved_social_security, 0), coalesce(s.visits_public_order, 0), coalesce(s.raised_public_order, 0), coalesce(s.resolved_public_order, 0), coalesce(s.visits_emergency, 0), coalesce(s.raised_emergency, 0), coalesce(s.resolved_emergency, 0), coalesce(s.visits_social_relief, 0), coalesce(s.raised_social_relief, 0), coalesce(s.resolved_social_relief, 0), coalesce(s.visits_public_service, 0), coalesce(s.raised_public_service, 0), coalesce(s.resolved_public_service, 0),
           coalesce(d.households, 0), coalesce(d.contacts, 0)
    FROM (SELECT k.span, k.grid, c.every[22 * (k.place - 1) + 1], c.every[22 * (k.place - 1) + 2], c.every[22 * (k.place - 1) + 3], c.every[22 * (k.place - 1) + 4], c.every[22 * (k.place - 1) + 5], c.every[22 * (k.place - 1) + 6], c.every[22 * (k.place - 1) + 7], c.every[22 * (k.place - 1) + 8], c.every[22 * (k.place - 1) + 9], c.every[22 * (k.place - 1) + 10], c.every[22 * (k.place - 1) + 11], c.every[22 * (k.place - 1) + 12], c.every[22 * (k.place - 1) + 13], c.every[22 * (k.place - 1) + 14], c.every[22 * (k.place - 1) + 15], c.every[22 * (k.place - 1) + 16], c.every[22 * (k.place - 1) + 17], c.every[22 * (k.place - 1) + 18], c.every[22 * (k.place - 1) + 19], c.every[22 * (k.place - 1) + 20], c.every[22 * (k.place - 1) + 21], c.every[22 * (k.place - 1) + 22] FROM unnest($23::text::text[], $24::text::text[]) WITH ORDINALITY AS k(span, grid, place), (SELECT $25::text::int[] AS every OFFSET 0) AS c) AS s (span, grid, visits, raised, resolved, late, visits_party_building, raised_party_building, resolved_party_building, visits_social_security, raised_social_security, resolved_social_security, visits_public_order, raised_public_order, resolved_public_order, visits_emergency, raised_emergency, resolved_emergency, visits_social_relief, raised_social_relief, resolved_social_relief, visits_public_service, raised_public_service, resolved_public_service)
    FULL JOIN (
        SELECT c.span, e.grid, sum(e.n)::int AS households, sum(e.n * c.contact)::int AS contacts
        FROM (
    SELECT t.span, b.grid AS before, t.grid AS after, (h.contact_member IS NOT NULL)::int - coalesce((SELECT sum(x.change)
    FROM contact_change x WHERE x.household = t.household AND x.day > t.last), 0) AS contact
    FROM (SELECT v.household, p.span, p.low, p.high, p.last, max(v.grid) AS grid
          FROM visited v JOIN unnest($26::text::text[], $27::text::text[], $28::text::text[], $29::text::date[]) AS p(span, low, high, last) ON v.span BETWEEN p.low AND p.high
          GROUP BY 1, 2, 3, 4, 5) AS t
    LEFT JOIN LATERAL (SELECT max(o.grid) AS grid FROM visited_household o
        WHERE o.household = t.household AND o.span BETWEEN t.low AND t.high) AS b ON true
    LEFT JOIN household h ON h.id = t.household AND NOT h.deleted
    WHERE b.grid IS NULL OR b.grid < t.grid
) AS c CROSS JOIN LATERAL (VALUES (c.after, 1), (c.before, -1)) AS e(grid, n)
        WHERE e.grid IS NOT NULL GROUP BY 1, 2
    ) AS d USING (span, grid)
    ORDER BY span, grid
    ON CONFLICT (span, grid) DO UPDATE SET visits = t.visits + excluded.visits, raised = t.raised + excluded.raised, resolved = t.resolved + excluded.resolved, late = t.late + excluded.late, visits_party_building = t.visits_party_building + excluded.visits_party_building, raised_party_building = t.raised_party_building + excluded.raised_party_building, resolved_party_building = t.resolved_party_building + excluded.resolved_party_building, visits_social_security = t.visits_social_security + excluded.visits_social_security, raised_social_security = t.raised_social_security + excluded.raised_social_security, resolved_social_security = t.resolved_social_security + excluded.resolved_social_security, visits_public_order = t.visits_public_order + excluded.visits_public_order, raised_public_order = t.raised_public_order + excluded.raised_public_order, resolved_public_order = t.resolved_public_order + excluded.resolved_public_order, visits_emergency = t.visits_emergency + excluded.visits_emergency, raised_emergency = t.raised_emergency + excluded.raised_emergency, resolved_emergency = t.resolved_emergency + excluded.resolved_emergency, visits_social_relief = t.visits_social_relief + excluded.visits_social_relief, raised_social_relief = t.raised_social_relief + excluded.raised_social_relief, resolved_social_relief = t.resolved_social_relief + excluded.resolved_social_relief, visits_public_service = t.visits_public_service + excluded.visits_public_service, raised_public_service = t.raised_public_service + excluded.raised_public_service, resolved_public_service = t.resolved_public_service + excluded.resolved_public_service, households = t.households + excluded.households, contacts = t.contacts + excluded.contacts
),
acknowledge AS (
    UPDATE device d
    SET acked_seq = a.acked, last_stamp = a.stamp, clock_offset_ms = a.offset_ms, queued = a.queued,
        last_seen = $30::timestamptz
    FROM unnest($31::text::uuid[], $32::text::bigint[], $33::text::bigint[], $34::text::bigint[],
        $35::text::int[])
      AS a(id, acked, stamp, offset_ms, queued) WHERE d.id = a.id
)
SELECT;
EXPLAIN EXECUTE write_new_visits(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DEALLOCATE write_new_visits;
RESET plan_cache_mode;
