-- All that a report leaves (services/tips/queries/submissions.py), of one report.
WITH sent AS MATERIALIZED (
    SELECT gen_random_uuid() AS report_id, gen_random_uuid() AS issue_id, now() AS at,
           decode(repeat(md5(random()::text), 4), 'hex') AS wrapped_key,
           decode(repeat(md5(random()::text), 66), 'hex') AS sealed,
           sha256((random()::text || clock_timestamp()::text)::bytea) AS mac),
submitted AS (
    INSERT INTO submission (key_mac, body_mac, report_id, drop_after)
    SELECT mac, mac, report_id, date_trunc('hour', at) + interval '25 hours' FROM sent
    ON CONFLICT (key_mac) DO NOTHING RETURNING report_id),
new AS (
    INSERT INTO report (report_id, kind, category, areas, language, accepted_at, status, version, key_name,
                        wrapped_key, sealed, lookup_id)
    SELECT report_id, 'issue', 'street_light', '{"district": "oakwood"}', 'nl', at, 'accepted', 1,
           '2026-11-gdpr-365', wrapped_key, sealed, mac
    FROM sent JOIN submitted USING (report_id)
    RETURNING report_id),
public AS (
    INSERT INTO issue (issue_id, report_id, category, areas, latitude, longitude, status, version, page,
                       accepted_at, changed_at)
    SELECT issue_id, report_id, 'street_light', '{"district": "oakwood"}', 52.05, 5.6, 'accepted', 1,
           'http://localhost:8001/issues/' || issue_id, at, at
    FROM sent JOIN new USING (report_id)
    RETURNING 1),
said AS (
    INSERT INTO outbox (id, type, topic, key, value, source, time)
    SELECT gen_random_uuid(), type, topic, key::text::bytea, repeat('x', 420)::bytea, '/ibuurt/tips', at
    FROM sent JOIN new USING (report_id),
        LATERAL (VALUES ('ibuurt.ReportAccepted.v1', 'ibuurt.reports.v1', report_id),
                        ('ibuurt.IssueChanged.v1', 'ibuurt.issues.v1', issue_id)) AS e (type, topic, key)
    RETURNING 1)
SELECT record_disclosures(ARRAY[report_id], ARRAY['issue'], ARRAY[at], ARRAY['collection'], ARRAY['resident'],
                          ARRAY['tips'], ARRAY['report'], ARRAY[NULL::text])
FROM sent JOIN new USING (report_id), (SELECT count(*) FROM public) AS p, (SELECT count(*) FROM said) AS s;
