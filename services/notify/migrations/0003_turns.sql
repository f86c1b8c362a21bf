-- A report comes to a unit in turns: the first one, another after it was refused or handed over, the same one
-- again after it was reopened. `seen_at` and `waits_since` are of the present turn: when the unit saw it, and
-- since when it waits for the resident's answer; `day` is the day of the work, `level` the last one that was
-- told that it is late.
ALTER TABLE dispatch
    ADD COLUMN turn integer NOT NULL DEFAULT 1,
    ADD COLUMN refused_by text[] NOT NULL DEFAULT '{}',
    ADD COLUMN level integer NOT NULL DEFAULT 0,
    ADD COLUMN day date,
    ADD COLUMN seen_at timestamptz,
    ADD COLUMN waits_since timestamptz,
    DROP CONSTRAINT dispatch_status_check,
    ADD CONSTRAINT dispatch_status_check CHECK (status IN (
        'routed', 'delivered', 'acknowledged', 'planned', 'resolved', 'withdrawn', 'erased'));
UPDATE dispatch SET seen_at = acknowledged_at;
ALTER TABLE dispatch
    DROP CONSTRAINT tip_to_the_hour,
    ADD CONSTRAINT tip_to_the_hour CHECK (
        kind <> 'tip'
        OR (accepted_at = date_trunc('hour', accepted_at, 'UTC')
            AND seen_at IS NOT DISTINCT FROM date_trunc('hour', seen_at, 'UTC')
            AND waits_since IS NOT DISTINCT FROM date_trunc('hour', waits_since, 'UTC')
            AND delivered_at IS NOT DISTINCT FROM date_trunc('hour', delivered_at, 'UTC')
            AND acknowledged_at IS NOT DISTINCT FROM date_trunc('hour', acknowledged_at, 'UTC')
            AND resolved_at IS NOT DISTINCT FROM date_trunc('hour', resolved_at, 'UTC')));

-- Whether words of the report went with it: who was sent words is told when they are erased.
ALTER TABLE delivery ADD COLUMN words boolean NOT NULL DEFAULT false;
UPDATE delivery SET words = true WHERE state = 'done';

-- What was done with a report, by the id that its sender gave it: the same again changes nothing.
CREATE TABLE act (
    act_id uuid PRIMARY KEY,
    report_id uuid NOT NULL REFERENCES dispatch,
    digest bytea NOT NULL
);
CREATE INDEX act_report_id ON act (report_id);

-- What was said of each report, as codes: the history that goes with it to the next unit. `at` is the event's
-- time, of a tip the hour.
CREATE TABLE report_step (
    report_id uuid NOT NULL REFERENCES dispatch,
    version integer NOT NULL,
    step text NOT NULL,
    unit text NOT NULL,
    at timestamptz NOT NULL,
    said jsonb NOT NULL,
    PRIMARY KEY (report_id, version)
);

CREATE INDEX dispatch_of_unit ON dispatch (unit, status, resolve_by, report_id);
