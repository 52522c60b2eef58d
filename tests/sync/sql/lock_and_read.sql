-- Locks and reads all that a batch of pushes needs (service/writes/prefetch_sql.py).
-- Parameters: $1 devices, $2 staff codes, $3 their mailboxes, $4 now, $5 grids, $6 ids of kind household, $7 ids of kind visit, $8 ids of kind problem, $9 ids of kind step, $10 ids of kind weekly_analysis, $11 ids of kind monthly_summary, $12 ids of kind tie, $13 ids of kind visit_check, $14 ids of kind indicator_value, $15 lock_timeout.
-- Shows the plan that the service has; EXPLAIN does not run the statement.
-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py
SET plan_cache_mode = force_generic_plan;
PREPARE lock_and_read AS
WITH limited AS MATERIALIZED (SELECT set_config('lock_timeout', coalesce($15::text, current_setting('lock_timeout')), true) AS limit),
owner AS MATERIALIZED (
    SELECT id, acked_seq, last_stamp, revoked_at, last_seen, queued, created_at, audited_on
        FROM device
    WHERE id = ANY((SELECT $1::text::uuid[])::uuid[]) AND (SELECT limited.limit FROM limited) IS NOT NULL ORDER BY id
 FOR NO KEY UPDATE),
mine AS MATERIALIZED (SELECT grid, rev FROM counter WHERE grid = ANY((SELECT $5::text::text[])::text[]) ORDER BY grid FOR NO KEY UPDATE),
named AS MATERIALIZED (SELECT $6::text::uuid[] AS household_ids, $7::text::uuid[] AS visit_ids, $8::text::uuid[] AS problem_ids, $9::text::uuid[] AS step_ids, $10::text::uuid[] AS weekly_analysis_ids, $11::text::uuid[] AS monthly_summary_ids, $12::text::uuid[] AS tie_ids, $13::text::uuid[] AS visit_check_ids, $14::text::uuid[] AS indicator_value_ids),

    every_post AS MATERIALIZED (
        SELECT staff_code, role, unit, valid_from, valid_to, end_recorded_at FROM post
        WHERE staff_code = ANY((SELECT $2::text::text[])::text[])
    ),
    current AS MATERIALIZED (SELECT DISTINCT unit FROM every_post WHERE valid_to IS NULL
        OR valid_to > $4::timestamptz),
    assigned AS MATERIALIZED (
        SELECT c.problem, c.grid, '@' || c.handler_cadre AS recipient FROM case_file c
        WHERE assigned AND ended_at IS NULL AND c.handler_cadre = ANY((SELECT $2::text::text[])::text[])
        UNION ALL
        SELECT c.problem, c.grid, c.handler_unit FROM current p
        JOIN case_file c ON assigned AND ended_at IS NULL AND c.handler_unit >= p.unit
            AND c.handler_unit < p.unit || ':'
             AND NOT (c.grid >= p.unit AND c.grid < p.unit || ':')
    )
SELECT 'device' AS what, id::text AS code, queued::text AS name, concat_ws(' ', (extract(epoch FROM created_at) * 1000)::bigint, audited_on) AS place, acked_seq AS n, last_stamp AS m, revoked_at AS since, last_seen AS until FROM owner
UNION ALL
SELECT 'server' AS what, epoch::text AS code, encode(cursor_key, 'hex') || ' ' || tree_version || ' ' || vocabulary_version AS name, encryption AS place, NULL::bigint AS n, NULL::bigint AS m, own_work_from AS since, NULL::timestamptz AS until FROM server
UNION ALL
SELECT 'timeline' AS what, timeline AS code, split_part(timeline, '/', 1) || '/' || CASE WHEN pg_is_in_recovery() THEN NULL ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS name, (SELECT concat_ws(' ', version_num, obj_description('alembic_version'::regclass, 'pg_class')) FROM alembic_version) AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM server
UNION ALL
SELECT 'post' AS what, unit AS code, role AS name, staff_code AS place, (extract(epoch FROM end_recorded_at) * 1000000)::bigint AS n, NULL::bigint AS m, valid_from AS since, valid_to AS until FROM every_post
UNION ALL
SELECT 'assigned' AS what, problem::text AS code, grid AS name, recipient AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM assigned
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM assigned a JOIN counter c USING (grid)
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM current p JOIN counter c ON c.grid >= p.unit AND c.grid < p.unit || ':'
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM counter c WHERE c.grid = ANY((SELECT $3::text::text[])::text[])
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM current p CROSS JOIN (VALUES (4), (6), (9), (12), (15)) AS l(n) JOIN counter c ON c.grid = '#' || left(p.unit, l.n)
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM current p JOIN counter c ON c.grid >= '#' || p.unit AND c.grid < '#' || p.unit || ':'
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
EXPLAIN EXECUTE lock_and_read(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DEALLOCATE lock_and_read;
RESET plan_cache_mode;
