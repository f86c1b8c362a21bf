-- A worker that takes a delivery says so in a column of no index: a lease in the index's own column wrote a
-- new entry in every index, and moved the row on in the order of what is due. The lease of a worker that runs
-- while this is applied stands in next_attempt_at, and ends there.
ALTER TABLE delivery
    ADD COLUMN leased_until timestamptz,
    ADD CONSTRAINT delivery_lease CHECK (leased_until IS NULL OR state = 'open');
