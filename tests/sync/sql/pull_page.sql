-- A page of a pull of grids that are shown whole (service/sync/feed_sql.py).
-- Parameters: $1 to $4 and $14 grids with revs, snapshots, own_since and views, $5 device, $6 to $9 and $13 windows, $10 and $12 own mutations, $11 limit.
-- Shows the plan that the service has; EXPLAIN does not run the statement.
-- Written by GRIDLOOP_TEST_WRITE_SQL=1 make test ARGS=tests/sync/test_statements.py
SET plan_cache_mode = force_generic_plan;
PREPARE pull_page AS
WITH page AS MATERIALIZED (
        SELECT p.grid, p.place, f.* FROM unnest($1::text[], $2::bigint[], $3::bigint[],
               $4::bigint[], $14::text[])
             WITH ORDINALITY AS p(grid, rev, snapshot, own_since, view, place)
        CROSS JOIN LATERAL (
            SELECT * FROM (
                
        (SELECT 'household' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('head_name', r.head_name, 'members', r.members, 'tags', r.tags, 'contact_member', r.contact_member, 'lead_member', r.lead_member, 'location', r.location, 'note', r.note, 'state', r.state, 'state_since', r.state_since, 'merged_into', r.merged_into)) END AS fields, r.extra AS extra,
               ARRAY[r.phone, r.address]::text[] AS personal
        FROM household r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND true)) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'visit' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('household_id', r.household_id, 'visited_at', to_char(r.visited_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'duties', r.duties, 'content', r.content, 'people_met', r.people_met, 'location', r.location, 'photos', r.photos)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM visit r
        WHERE r.grid = p.grid AND r.rev > p.rev AND r.rev <= p.snapshot AND NOT r.deleted AND r.visited_at >= $6 AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
     UNION ALL 
        (SELECT 'visit' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('household_id', r.household_id, 'visited_at', to_char(r.visited_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'duties', r.duties, 'content', r.content, 'people_met', r.people_met, 'location', r.location, 'photos', r.photos)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM visit r
        WHERE r.grid = p.grid AND r.rev > greatest(p.rev, p.snapshot) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'problem' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('visit_id', r.visit_id, 'household_id', r.household_id, 'duty', r.duty, 'category', r.category, 'title', r.title, 'detail', r.detail, 'severity', r.severity, 'raised_at', to_char(r.raised_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'location', r.location, 'photos', r.photos, 'source', r.source, 'dispute_kind', r.dispute_kind, 'mediator', r.mediator, 'second_visit_at', to_char(r.second_visit_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))) END AS fields, r.extra AS extra,
               ARRAY[r.contact, r.parties, r.agreement]::text[] AS personal
        FROM problem r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.id AND c.ended_at < $7))) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'step' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('problem_id', r.problem_id, 'action', r.action, 'at', to_char(r.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'note', r.note, 'to_unit', r.to_unit, 'to_cadre', r.to_cadre, 'satisfied', r.satisfied, 'reason', r.reason, 'duplicate_of', r.duplicate_of, 'until', to_char(r.until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'photos', r.photos, 'answer', r.answer)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM step r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND NOT EXISTS (SELECT FROM case_file c WHERE c.problem = r.problem_id AND c.ended_at < $7))) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'weekly_analysis' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('week', r.week, 'situation', r.situation, 'causes', r.causes, 'measures', r.measures, 'next_week', r.next_week)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM weekly_analysis r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND r.week >= $8)) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'monthly_summary' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('month', r.month, 'results', r.results, 'shortfalls', r.shortfalls, 'measures', r.measures, 'next_month', r.next_month)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM monthly_summary r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND r.month >= $9)) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'tie' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('household_id', r.household_id, 'cadre', r.cadre, 'kind', r.kind, 'valid_from', r.valid_from, 'valid_to', r.valid_to)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM tie r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND true)) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'visit_check' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('visit_id', r.visit_id, 'checked_at', to_char(r.checked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'finding', r.finding, 'note', r.note)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM visit_check r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND r.checked_at >= $6)) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
UNION ALL

        (SELECT 'indicator_value' AS kind, r.id, r.rev, r.deleted, false AS gone, r.stamp, r.by,
            r.created_by,
               CASE WHEN r.deleted THEN '{}'::json
                   ELSE json_strip_nulls(json_build_object('indicator', r.indicator, 'period', r.period, 'value', r.value, 'source', r.source, 'evidence', r.evidence, 'note', r.note)) END AS fields, r.extra AS extra,
               NULL::text[] AS personal
        FROM indicator_value r
        WHERE r.grid = p.grid AND r.rev > p.rev AND (r.rev > p.snapshot OR (NOT r.deleted AND true)) AND true
          AND NOT (r.device = $5 AND NOT r.echo AND r.seq <= $10
              AND (r.seq >= p.own_since OR (r.seq >= $12 AND r.clocks IS NULL)))
        ORDER BY r.rev LIMIT $11)
    
                UNION ALL
                (SELECT d.kind, d.id, d.rev, false, true, 0, '', '', '{}'::json, NULL, NULL
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
                     AND (h.rev > p.snapshot OR h.state = 'open')
                 ORDER BY h.rev LIMIT $11)
                UNION ALL
                (SELECT 'article', a.id, a.rev, a.state <> 'published', false, 0, a.author,
                    a.author,
                        CASE WHEN a.state = 'published'
                            THEN json_build_object('unit', a.unit, 'kind', a.kind, 'title', a.title,
                            'body', a.body, 'published_at', to_char(a.published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
                            ELSE '{}'::json END, NULL, NULL
                 FROM article a WHERE a.mailbox = p.grid AND a.rev > p.rev
                   AND (a.rev > p.snapshot OR (a.state = 'published' AND a.published_at >= $13)) ORDER BY a.rev LIMIT $11)
                UNION ALL
                (SELECT 'vocabulary', v.id, v.rev, false, false, 0, v.changed_by, v.changed_by,
                        json_strip_nulls(json_build_object('list', v.list, 'code', v.code, 'name_zh', v.name_zh, 'name_en', v.name_en, 'name_mn', v.name_mn, 'position', v.position, 'valid_from', nullif(v.valid_from, '0001-01-01'), 'valid_to', v.valid_to, 'attributes', v.attributes)), NULL, NULL
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
        ) AS bounded WHERE bytes - size <= 262144 ORDER BY place, rev;
EXPLAIN EXECUTE pull_page(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DEALLOCATE pull_page;
RESET plan_cache_mode;
