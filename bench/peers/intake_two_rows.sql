-- A report and its event.
WITH stored AS (
    INSERT INTO report (report_id, kind, category, areas, language, accepted_at, status, version, key_name,
                        wrapped_key, sealed, lookup_id)
    VALUES (gen_random_uuid(), 'issue', 'street_light', '{"district": "oakwood"}', 'nl', now(), 'accepted', 1,
            '2026-11-gdpr-365', decode(repeat(md5(random()::text), 4), 'hex'),
            decode(repeat(md5(random()::text), 66), 'hex'),
            sha256((random()::text || clock_timestamp()::text)::bytea))
    RETURNING report_id)
INSERT INTO outbox (id, type, topic, key, value, source, time)
SELECT gen_random_uuid(), 'ibuurt.ReportAccepted.v1', 'ibuurt.reports.v1', report_id::text::bytea,
       repeat('x', 420)::bytea, '/ibuurt/tips', now()
FROM stored;
