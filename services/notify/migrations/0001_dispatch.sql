-- One report and the unit that is responsible for it. No words, no place. Where the report is a tip, every
-- time is cut to the hour.
CREATE TABLE dispatch (
    report_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('tip', 'issue')),
    category text NOT NULL,
    areas jsonb NOT NULL,
    language text NOT NULL,
    unit text NOT NULL,
    rule text NOT NULL,
    rules_version text NOT NULL,
    reason text NOT NULL,
    accepted_at timestamptz NOT NULL,
    acknowledge_by timestamptz NOT NULL,
    resolve_by timestamptz NOT NULL,
    status text NOT NULL
        CHECK (status IN ('routed', 'delivered', 'acknowledged', 'resolved', 'withdrawn', 'erased')),
    -- how many events we have written about the report, and the newest of tips' that we have read
    version integer NOT NULL,
    report_version integer NOT NULL,
    -- when a step was reached for the first time
    delivered_at timestamptz,
    acknowledged_at timestamptz,
    resolved_at timestamptz,
    CONSTRAINT tip_to_the_hour CHECK (
        kind <> 'tip'
        OR (accepted_at = date_trunc('hour', accepted_at, 'UTC')
            AND delivered_at IS NOT DISTINCT FROM date_trunc('hour', delivered_at, 'UTC')
            AND acknowledged_at IS NOT DISTINCT FROM date_trunc('hour', acknowledged_at, 'UTC')
            AND resolved_at IS NOT DISTINCT FROM date_trunc('hour', resolved_at, 'UTC')))
) WITH (fillfactor = 80);

-- What has to reach a unit over a channel. The id is what the receiver sees as webhook-id.
CREATE TABLE delivery (
    id uuid PRIMARY KEY,
    report_id uuid NOT NULL REFERENCES dispatch,
    unit text NOT NULL,
    channel text NOT NULL,
    step text NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'dead', 'cancelled')),
    attempts integer NOT NULL DEFAULT 0,
    last_failure text,
    -- When it should first have gone, and when it is tried next; a worker that takes it moves the latter to
    -- the end of its lease. Both are wiped when it is settled: they would tell a tip's minute.
    due_at timestamptz,
    next_attempt_at timestamptz,
    UNIQUE (report_id, unit, channel, step),
    CHECK (num_nulls(due_at, next_attempt_at) = CASE state WHEN 'open' THEN 0 ELSE 2 END)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX delivery_open ON delivery (unit, next_attempt_at) WHERE state = 'open';
