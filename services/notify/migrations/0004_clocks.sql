-- Clocks: when a report came to its unit, until when everything that its clocks tell has been told, and when
-- they tell something next (none while it is done, or waits for the resident). `answer_by` and `answered_at`
-- are of categories that promise an answer.
ALTER TABLE dispatch
    ADD COLUMN came_at timestamptz,
    ADD COLUMN answer_by timestamptz,
    ADD COLUMN answered_at timestamptz,
    ADD COLUMN reminded boolean NOT NULL DEFAULT false,
    ADD COLUMN clocks_until timestamptz,
    ADD COLUMN clock_at timestamptz;
UPDATE dispatch SET came_at = accepted_at, clocks_until = accepted_at;
ALTER TABLE dispatch
    ALTER COLUMN came_at SET NOT NULL,
    ALTER COLUMN clocks_until SET NOT NULL,
    ADD CONSTRAINT tip_turn_to_the_hour CHECK (
        kind <> 'tip'
        OR (came_at = date_trunc('hour', came_at, 'UTC')
            AND answered_at IS NOT DISTINCT FROM date_trunc('hour', answered_at, 'UTC')));
CREATE INDEX dispatch_clock ON dispatch (clock_at) WHERE clock_at IS NOT NULL;

-- A notice is about whatever of a unit nears its time or is late when it goes: one at a time. `again` where
-- something more was to be told while it was on its way.
ALTER TABLE delivery
    ALTER COLUMN report_id DROP NOT NULL,
    ADD COLUMN again boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT delivery_about CHECK ((report_id IS NULL) = (step = 'notice'));
CREATE UNIQUE INDEX delivery_one_notice ON delivery (unit, channel) WHERE step = 'notice' AND state = 'open';
