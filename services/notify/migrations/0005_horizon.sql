-- What is keyed by a report's id goes at its horizon: when nothing that is on a topic, or was set aside from
-- one, can tell of the report any more. The day on which it was erased is kept until then, and what it counted
-- in the totals for ever.
ALTER TABLE dispatch ADD COLUMN erased_on date;
UPDATE dispatch SET erased_on = current_date WHERE status = 'erased';
ALTER TABLE dispatch ADD CONSTRAINT dispatch_erased CHECK ((status = 'erased') = (erased_on IS NOT NULL));
CREATE INDEX dispatch_erased_on ON dispatch (erased_on) WHERE erased_on IS NOT NULL;
CREATE TABLE dispatch_gone (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    accepted bigint NOT NULL DEFAULT 0,
    digest bit(64) NOT NULL DEFAULT 0::bit(64),
    delivered bigint NOT NULL DEFAULT 0,
    acknowledged bigint NOT NULL DEFAULT 0
);
INSERT INTO dispatch_gone DEFAULT VALUES;
