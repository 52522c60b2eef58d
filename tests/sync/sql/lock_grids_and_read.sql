-- The same for mutations whose devices are locked already (service/writes/prefetch_sql.py).
-- Parameters: $1 grids, from $2 on the ids of each kind.
-- Shows the plan that the service has; EXPLAIN does not run the statement.
-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py
SET plan_cache_mode = force_generic_plan;
PREPARE lock_grids_and_read AS
WITH mine AS MATERIALIZED (SELECT grid, rev FROM counter WHERE grid = ANY((SELECT $1::text::text[])::text[]) ORDER BY grid FOR NO KEY UPDATE),
named AS MATERIALIZED (SELECT $2::text::uuid[] AS household_ids, $3::text::uuid[] AS visit_ids, $4::text::uuid[] AS problem_ids, $5::text::uuid[] AS step_ids, $6::text::uuid[] AS weekly_analysis_ids, $7::text::uuid[] AS monthly_summary_ids, $8::text::uuid[] AS tie_ids, $9::text::uuid[] AS visit_check_ids, $10::text::uuid[] AS indicator_value_ids)
SELECT 'server' AS what, epoch::text AS code, encode(cursor_key, 'hex') || ' ' || tree_version || ' ' || vocabulary_version AS name, encryption AS place, NULL::bigint AS n, NULL::bigint AS m, own_work_from AS since, NULL::timestamptz AS until FROM server
UNION ALL
SELECT 'locked' AS what, grid AS code, NULL::text AS name, NULL::text AS place, mine.rev AS n, c.rev AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM mine JOIN counter c USING (grid)
UNION ALL
SELECT 'there' AS what, id::text AS code, 'household' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM household WHERE id = ANY((SELECT household_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'visit' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM visit WHERE id = ANY((SELECT visit_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'problem' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM problem WHERE id = ANY((SELECT problem_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'step' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM step WHERE id = ANY((SELECT step_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'weekly_analysis' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM weekly_analysis WHERE id = ANY((SELECT weekly_analysis_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'monthly_summary' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM monthly_summary WHERE id = ANY((SELECT monthly_summary_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'tie' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM tie WHERE id = ANY((SELECT tie_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'visit_check' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM visit_check WHERE id = ANY((SELECT visit_check_ids FROM named)::uuid[])
UNION ALL
SELECT 'there' AS what, id::text AS code, 'indicator_value' AS name, grid AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM indicator_value WHERE id = ANY((SELECT indicator_value_ids FROM named)::uuid[])
UNION ALL
SELECT 'awaited' AS what, NULL::text AS code, NULL::text AS name, NULL::text AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM (SELECT FROM held WHERE state = 'open' AND waits_for = ANY((SELECT household_ids || visit_ids || problem_ids || step_ids || weekly_analysis_ids || monthly_summary_ids || tie_ids || visit_check_ids || indicator_value_ids FROM named)::uuid[]) LIMIT 1) AS w
UNION ALL
SELECT 'erased' AS what, id::text AS code, kind AS name, grid AS place, rev AS n, NULL::bigint AS m, at AS since, NULL::timestamptz AS until FROM erased_record WHERE id = ANY((SELECT household_ids || visit_ids || problem_ids || step_ids || weekly_analysis_ids || monthly_summary_ids || tie_ids || visit_check_ids || indicator_value_ids FROM named)::uuid[]);
EXPLAIN EXECUTE lock_grids_and_read(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DEALLOCATE lock_grids_and_read;
RESET plan_cache_mode;
