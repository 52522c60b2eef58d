-- What units bring that have other ranges than their code (service/writes/prefetch_sql.py).
-- Parameters: $1 to $3 a number for each unit, and the ends of its ranges; $4 mailboxes.
-- Shows the plan that the service has; EXPLAIN does not run the statement.
-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py
SET plan_cache_mode = force_generic_plan;
PREPARE read_moved AS
WITH moved AS MATERIALIZED (SELECT * FROM unnest($1::int[], $2::text[], $3::text[]) AS m(unit, low, high)),
assigned AS MATERIALIZED (SELECT c.problem, c.grid, c.handler_unit AS recipient FROM moved p JOIN case_file c ON assigned AND ended_at IS NULL AND c.handler_unit >= p.low AND c.handler_unit < p.high AND NOT EXISTS (SELECT FROM moved o WHERE o.unit = p.unit AND c.grid >= o.low AND c.grid < o.high))
SELECT 'assigned' AS what, problem::text AS code, grid AS name, recipient AS place, NULL::bigint AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM assigned
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM assigned a JOIN counter c USING (grid)
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM moved p JOIN counter c ON c.grid >= p.low AND c.grid < p.high
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM moved p JOIN counter c ON c.grid >= '#' || p.low AND c.grid < '#' || p.high
UNION ALL
SELECT 'counter' AS what, c.grid AS code, NULL::text AS name, NULL::text AS place, c.rev AS n, NULL::bigint AS m, NULL::timestamptz AS since, NULL::timestamptz AS until FROM counter c WHERE c.grid = ANY($4::text[]);
EXPLAIN EXECUTE read_moved(NULL, NULL, NULL, NULL);
DEALLOCATE read_moved;
RESET plan_cache_mode;
