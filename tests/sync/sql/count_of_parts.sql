-- How much is still to come of grids of which a part is shown (service/sync/feed_sql.py).
-- Parameters: $1 to $3 and $10 grids with views, revs and snapshots, $4 to $7 windows, $8 cadre, $9 assigned problems.
-- Shows the plan that the service has; EXPLAIN does not run the statement.
-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py
SET plan_cache_mode = force_generic_plan;
PREPARE count_of_parts AS
WITH p AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $11::bigint[]) AS p(grid, view, rev, snapshot)) SELECT count(*) FROM (SELECT FROM household r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND true)) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND (r.contact_member = $8 OR EXISTS (SELECT FROM tie y WHERE y.household_id = r.id AND y.cadre = $8 AND y.kind = 'contact' AND NOT y.deleted AND y.valid_from <= $10 AND (y.valid_to IS NULL OR y.valid_to > $10)))) OR (false), false)
UNION ALL
SELECT FROM visit r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND r.visited_at >= $4)) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND (r.created_by = $8 OR EXISTS (SELECT FROM household t WHERE t.id = r.household_id AND (t.contact_member = $8 OR EXISTS (SELECT FROM tie y WHERE y.household_id = t.id AND y.cadre = $8 AND y.kind = 'contact' AND NOT y.deleted AND y.valid_from <= $10 AND (y.valid_to IS NULL OR y.valid_to > $10))) AND NOT t.deleted))) OR (false), false)
UNION ALL
SELECT FROM problem r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.id AND c.ended_at < $5))) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND (r.created_by = $8 OR EXISTS (SELECT FROM household t WHERE t.id = r.household_id AND (t.contact_member = $8 OR EXISTS (SELECT FROM tie y WHERE y.household_id = t.id AND y.cadre = $8 AND y.kind = 'contact' AND NOT y.deleted AND y.valid_from <= $10 AND (y.valid_to IS NULL OR y.valid_to > $10))) AND NOT t.deleted))) OR (r.id = ANY($9::uuid[])), false)
UNION ALL
SELECT FROM step r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.problem_id AND c.ended_at < $5))) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND (r.created_by = $8 OR EXISTS (SELECT FROM problem o WHERE o.id = r.problem_id AND (o.created_by = $8 OR EXISTS (SELECT FROM household t WHERE t.id = o.household_id AND (t.contact_member = $8 OR EXISTS (SELECT FROM tie y WHERE y.household_id = t.id AND y.cadre = $8 AND y.kind = 'contact' AND NOT y.deleted AND y.valid_from <= $10 AND (y.valid_to IS NULL OR y.valid_to > $10))) AND NOT t.deleted))))) OR (r.problem_id = ANY($9::uuid[])), false)
UNION ALL
SELECT FROM weekly_analysis r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND r.week >= $6)) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND r.created_by = $8) OR (false), false)
UNION ALL
SELECT FROM monthly_summary r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND r.month >= $7)) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND r.created_by = $8) OR (false), false)
UNION ALL
SELECT FROM tie r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND true)) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND r.cadre = $8) OR (false), false)
UNION ALL
SELECT FROM visit_check r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND r.checked_at >= $4)) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND r.created_by = $8) OR (false), false)
UNION ALL
SELECT FROM indicator_value r JOIN p USING (grid) WHERE r.grid = ANY($1::text[]) AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND true)) AND coalesce((p.view IN ('f', 'r', 's')) OR (p.view = 't' AND r.created_by = $8) OR (false), false)) AS coming;
EXPLAIN EXECUTE count_of_parts(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DEALLOCATE count_of_parts;
RESET plan_cache_mode;
