-- Count and digest of copies, for verify (service/sync/feed_sql.py).
-- Parameters: $1 and $2 grids with views, $3 to $7 windows.
-- Shows the plan that the service has; EXPLAIN does not run the statement.
-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py
SET plan_cache_mode = force_generic_plan;
PREPARE digests AS
WITH p AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[]) AS p(grid, view))
        SELECT grid, count(*) AS count,
               bit_xor(('x' || encode(substr(sha256(uuid_send(id) || int8send(rev)), 1, 8),
               'hex'))::bit(64)) AS digest
        FROM (SELECT p.grid, r.id, r.rev FROM household r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND true AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM visit r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND r.visited_at >= $4 AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM problem r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.id AND c.ended_at < $5) AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM step r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.problem_id AND c.ended_at < $5) AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM weekly_analysis r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND r.week >= $6 AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM monthly_summary r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND r.month >= $7 AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM tie r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND true AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM visit_check r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND r.checked_at >= $4 AND true
UNION ALL
SELECT p.grid, r.id, r.rev FROM indicator_value r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND NOT r.deleted AND true AND true
UNION ALL
SELECT h.mailbox, h.id, h.rev FROM held h WHERE h.mailbox = ANY($1::text[]) AND h.state = 'open'
UNION ALL
SELECT a.mailbox, a.id, a.rev FROM article a WHERE a.mailbox = ANY($1::text[]) AND a.state = 'published' AND a.published_at >= $3
UNION ALL
SELECT v.mailbox, v.id, v.rev FROM vocabulary_term v WHERE v.mailbox = ANY($1::text[])) AS live GROUP BY grid;
EXPLAIN EXECUTE digests(NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DEALLOCATE digests;
RESET plan_cache_mode;
