-- A resident's report. Nothing here in clear was written by the resident or tells a place finer than an area.
CREATE TABLE report (
    report_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('tip', 'issue')),
    category text NOT NULL,
    areas jsonb NOT NULL,
    language text NOT NULL,
    accepted_at timestamptz NOT NULL,
    status text NOT NULL,
    -- counts this service's events about the report
    version integer NOT NULL,
    -- HKDF of the receipt
    lookup_id bytea NOT NULL CONSTRAINT report_one_per_receipt UNIQUE CHECK (octet_length(lookup_id) = 32),
    -- the key of its month and regime, which wraps the report's own key, which seals the words;
    -- none of the three is there once the report is erased
    key_name text,
    wrapped_key bytea,
    sealed bytea,
    CHECK (num_nulls(key_name, wrapped_key, sealed) IN (0, 3)),
    CONSTRAINT tip_to_the_hour
        CHECK (kind <> 'tip' OR accepted_at = date_trunc('hour', accepted_at, 'UTC'))
);

-- What happened to a report after that, one row per event. A tip's times are whole hours (services/tips/core).
CREATE TABLE report_step (
    report_id uuid NOT NULL REFERENCES report ON DELETE CASCADE,
    -- the event's id: a repeat finds its row there
    cause uuid NOT NULL,
    step text NOT NULL,
    at timestamptz NOT NULL,
    -- counts the writer's events about the report
    version integer NOT NULL,
    unit text,
    reason text,
    acknowledge_by timestamptz,
    resolve_by timestamptz,
    day date,
    PRIMARY KEY (report_id, cause)
);

-- To know a submission again when its answer was lost. Kept for 24 to 25 hours; whole hours only.
CREATE TABLE submission (
    key_mac bytea PRIMARY KEY,
    body_mac bytea NOT NULL,
    report_id uuid NOT NULL,
    drop_after timestamptz NOT NULL CHECK (drop_after = date_trunc('hour', drop_after, 'UTC'))
);
CREATE INDEX submission_drop_after ON submission (drop_after);

-- Who got a report's words, when and why. It outlives the report.
CREATE TABLE disclosure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- the hour, where the report is a tip
    at timestamptz NOT NULL,
    report_id uuid NOT NULL,
    reader text NOT NULL,
    service text NOT NULL,
    purpose text NOT NULL,
    act text NOT NULL CHECK (act IN ('consultation', 'disclosure'))
);
CREATE INDEX disclosure_report_id ON disclosure (report_id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log of readings is only added to';
END
$$;
CREATE TRIGGER disclosure_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON disclosure
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
