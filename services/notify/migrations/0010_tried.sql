-- Whether a worker ever took a delivery: then its words may have arrived, whatever was recorded of the attempt.
-- Who answered 503, or nothing in time, has read them all the same.
ALTER TABLE delivery ADD COLUMN tried boolean NOT NULL DEFAULT false;
UPDATE delivery SET tried = true WHERE attempts > 0 OR words OR next_attempt_at <> due_at;
