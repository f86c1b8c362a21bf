-- What is keyed by a report's id goes at its horizon: when it counts in nothing that is still to be released,
-- and nothing that is on a topic, or was set aside from one, can tell of it any more. `seen_on` is the day of
-- the last event that was applied; what the row counted in the totals is kept for ever.
ALTER TABLE lifecycle ADD COLUMN seen_on date NOT NULL DEFAULT current_date;
ALTER TABLE lifecycle ALTER COLUMN seen_on DROP DEFAULT;
CREATE INDEX lifecycle_seen_on ON lifecycle (seen_on);
CREATE TABLE lifecycle_gone (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    accepted bigint NOT NULL DEFAULT 0,
    digest bit(64) NOT NULL DEFAULT 0::bit(64),
    routed bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    acknowledged bigint NOT NULL DEFAULT 0,
    counted bigint NOT NULL DEFAULT 0
);
INSERT INTO lifecycle_gone DEFAULT VALUES;

-- Of an incident only its id is kept then, so that a file that is read again counts none twice.
ALTER TABLE incident ALTER COLUMN category DROP NOT NULL;
CREATE INDEX incident_told ON incident (counted_in) WHERE category IS NOT NULL;
