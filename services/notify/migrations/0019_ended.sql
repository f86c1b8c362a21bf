-- Reports that were withdrawn or erased before their acceptance was applied: that lies among the dead letters, say,
-- and when it is replayed nobody may be told, and its rows must go at their horizon.
CREATE TABLE ended_unseen (
    report_id uuid PRIMARY KEY,
    status text NOT NULL CHECK (status IN ('withdrawn', 'erased')),
    on_day date NOT NULL
);
CREATE INDEX ended_unseen_day ON ended_unseen (on_day);
-- Until then a worker may still send what was cancelled; of a tip it is a whole hour.
ALTER TABLE delivery
    DROP CONSTRAINT delivery_lease,
    ADD CONSTRAINT delivery_lease CHECK (leased_until IS NULL OR state IN ('open', 'cancelled'));
