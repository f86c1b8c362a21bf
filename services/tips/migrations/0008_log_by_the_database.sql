-- The log's entries are chained here, so that the heads are held for one statement and not for the way to the
-- service and back: everybody who stores or reads words waits for them.
CREATE FUNCTION disclosure_part(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(octet_length(value) || ':' || value || ',', '-')
$$;

-- Add entries to the log, in their order: element i of every array is one. The last that a transaction does,
-- since it holds the heads of the chains until it ends. The hash is that of services/tips/core/chain.py.
CREATE FUNCTION record_disclosures(
    report_ids uuid[], chains text[], ats timestamptz[], acts text[], actors text[], services text[],
    purposes text[], recipients text[]
) RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
    head disclosure_chain;
    one record;
BEGIN
    FOR head IN
        SELECT * FROM disclosure_chain WHERE chain = ANY (chains) ORDER BY chain FOR NO KEY UPDATE
    LOOP
        FOR one IN
            SELECT * FROM unnest(report_ids, chains, ats, acts, actors, services, purposes, recipients)
                WITH ORDINALITY AS e (report_id, chain, at, act, actor, service, purpose, recipient, nth)
            WHERE e.chain = head.chain ORDER BY nth
        LOOP
            head.number := head.number + 1;
            head.hash := sha256('ibuurt disclosure 1'::bytea || '\x00'::bytea || convert_to(
                disclosure_part(one.chain) || disclosure_part(head.number::text)
                || disclosure_part(encode(head.hash, 'hex'))
                || disclosure_part((extract(epoch FROM one.at) * 1000000)::bigint::text)
                || disclosure_part(one.report_id::text) || disclosure_part(one.act)
                || disclosure_part(one.actor) || disclosure_part(one.service)
                || disclosure_part(one.purpose) || disclosure_part(one.recipient), 'UTF8'));
            INSERT INTO disclosure
                (chain, number, hash, at, report_id, act, actor, service, purpose, recipient)
            VALUES (one.chain, head.number, head.hash, one.at, one.report_id, one.act, one.actor,
                    one.service, one.purpose, one.recipient);
        END LOOP;
        UPDATE disclosure_chain SET number = head.number, hash = head.hash WHERE chain = head.chain;
    END LOOP;
END
$$;

-- As record_disclosures, of the reports whose words may be read; returns those. Words that are erased or
-- locked away after this is asked and before it is answered are not read.
CREATE FUNCTION record_readings(
    report_ids uuid[], chains text[], ats timestamptz[], acts text[], actors text[], services text[],
    purposes text[], recipients text[]
) RETURNS uuid[] LANGUAGE plpgsql STRICT AS $$
DECLARE
    readable uuid[];
BEGIN
    PERFORM FROM report WHERE report_id = ANY (report_ids) ORDER BY report_id FOR SHARE;
    readable := ARRAY(
        SELECT report_id FROM report
        WHERE report_id = ANY (report_ids) AND sealed IS NOT NULL AND NOT EXISTS (
            SELECT FROM hold WHERE hold.report_id = report.report_id AND erase_when_lifted IS NOT NULL));
    PERFORM record_disclosures(
        array_agg(e.report_id ORDER BY nth), array_agg(chain ORDER BY nth), array_agg(at ORDER BY nth),
        array_agg(act ORDER BY nth), array_agg(actor ORDER BY nth), array_agg(service ORDER BY nth),
        array_agg(purpose ORDER BY nth), array_agg(recipient ORDER BY nth))
    FROM unnest(report_ids, chains, ats, acts, actors, services, purposes, recipients)
        WITH ORDINALITY AS e (report_id, chain, at, act, actor, service, purpose, recipient, nth)
    WHERE e.report_id = ANY (readable);
    RETURN readable;
END
$$;
