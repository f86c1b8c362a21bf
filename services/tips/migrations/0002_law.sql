-- The log of what is done with words: two chains, one of tips and one of issues. One for both would put a tip
-- between the exact times of two issues, by its number or by where its row lies on the disk.
ALTER TABLE disclosure RENAME TO disclosure_before;
ALTER TABLE disclosure_before RENAME CONSTRAINT disclosure_pkey TO disclosure_before_pkey;
DROP INDEX disclosure_report_id;
CREATE TABLE disclosure (
    chain text NOT NULL,
    -- counts the entries of its chain, without a gap
    number bigint NOT NULL,
    -- SHA-256 of all other columns and the hash before (services/tips/core/chain.py)
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    -- the hour, where the report is a tip
    at timestamptz NOT NULL,
    report_id uuid NOT NULL,
    act text NOT NULL
        CHECK (act IN ('collection', 'consultation', 'disclosure', 'alteration', 'combination', 'erasure')),
    -- a code of who it was; `resident` for whatever a resident does
    actor text NOT NULL,
    service text NOT NULL,
    purpose text NOT NULL,
    recipient text,
    PRIMARY KEY (chain, number)
) PARTITION BY LIST (chain);
CREATE TABLE disclosure_tip PARTITION OF disclosure
    (CONSTRAINT tip_to_the_hour CHECK (at = date_trunc('hour', at, 'UTC'))) FOR VALUES IN ('tip');
CREATE TABLE disclosure_issue PARTITION OF disclosure FOR VALUES IN ('issue');
CREATE INDEX disclosure_report_id ON disclosure (report_id);

-- The head of each chain, and where it begins since older entries have gone: the last of those.
CREATE TABLE disclosure_chain (
    chain text PRIMARY KEY CHECK (chain IN ('tip', 'issue')),
    number bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    cut_number bigint NOT NULL DEFAULT 0,
    cut_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
) WITH (fillfactor = 50);
INSERT INTO disclosure_chain (chain) VALUES ('issue'), ('tip');

CREATE FUNCTION disclosure_part(value text) RETURNS bytea LANGUAGE sql AS $$
    SELECT coalesce(
        convert_to(octet_length(value)::text || ':', 'UTF8') || convert_to(value, 'UTF8') || ','::bytea,
        '-'::bytea)
$$;
DO $$
DECLARE
    one record;
    head record;
    linked bytea;
BEGIN
    FOR one IN
        SELECT b.*, coalesce(r.kind, CASE WHEN b.at = date_trunc('hour', b.at, 'UTC') THEN 'tip' ELSE 'issue' END)
            AS chain
        FROM disclosure_before b LEFT JOIN report r USING (report_id) ORDER BY b.id
    LOOP
        SELECT number + 1 AS number, hash INTO head FROM disclosure_chain WHERE chain = one.chain;
        linked := sha256(
            'ibuurt disclosure 1'::bytea || '\x00'::bytea || disclosure_part(one.chain)
            || disclosure_part(head.number::text) || disclosure_part(encode(head.hash, 'hex'))
            || disclosure_part((extract(epoch FROM one.at) * 1000000)::bigint::text)
            || disclosure_part(one.report_id::text) || disclosure_part(one.act) || disclosure_part(one.reader)
            || disclosure_part(one.service) || disclosure_part(one.purpose) || disclosure_part(NULL));
        INSERT INTO disclosure (chain, number, hash, at, report_id, act, actor, service, purpose)
        VALUES (one.chain, head.number, linked, one.at, one.report_id, one.act, one.reader, one.service,
                one.purpose);
        UPDATE disclosure_chain SET number = head.number, hash = linked WHERE chain = one.chain;
    END LOOP;
END
$$;
DROP FUNCTION disclosure_part;
DROP TABLE disclosure_before;

-- Whoever asks, also with the rights of the service: an entry goes only when it is five years old.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '1826 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the log of readings is only added to';
END
$$;
CREATE TRIGGER disclosure_only_added_to BEFORE UPDATE OR DELETE ON disclosure
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER disclosure_not_emptied BEFORE TRUNCATE ON disclosure
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER disclosure_not_emptied BEFORE TRUNCATE ON disclosure_tip
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER disclosure_not_emptied BEFORE TRUNCATE ON disclosure_issue
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Why a report's words must stay although their time ends, or their resident wants them gone. Days only.
CREATE TABLE hold (
    report_id uuid PRIMARY KEY REFERENCES report,
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_on date NOT NULL,
    -- the last day
    until date NOT NULL,
    -- why they will be erased when the hold ends; meanwhile nobody reads them
    erase_when_lifted text
);

CREATE INDEX report_key_name ON report (key_name) WHERE key_name IS NOT NULL;
ALTER TABLE report ADD COLUMN erased_on date;

-- The keys under which nothing may be put any more: their time has ended, or somebody may know them.
CREATE TABLE retired_key (name text PRIMARY KEY);
CREATE FUNCTION refuse_retired_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM retired_key WHERE name = NEW.key_name) THEN
        -- This code means "not now": whoever tries again takes the key that came after.
        RAISE EXCEPTION 'the key is retired' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NULL;
END
$$;
-- After the row is written, so that whoever retires a key can wait for every transaction that is past this.
CREATE TRIGGER report_key_not_retired AFTER INSERT OR UPDATE OF key_name ON report
    FOR EACH ROW WHEN (NEW.key_name IS NOT NULL) EXECUTE FUNCTION refuse_retired_key();

-- What the reports counted whose rows are gone, so that the services still agree on their totals.
CREATE TABLE report_gone (
    accepted bigint NOT NULL DEFAULT 0,
    digest bigint NOT NULL DEFAULT 0,
    routed bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    acknowledged bigint NOT NULL DEFAULT 0
);
INSERT INTO report_gone DEFAULT VALUES;
