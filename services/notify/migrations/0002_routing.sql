-- What the rules were asked of: the announcement of the report as it was read, which has no words. To tell why
-- a report went where it went, to try changed rules on reports of before, and to choose again.
ALTER TABLE dispatch ADD COLUMN report jsonb;
CREATE INDEX dispatch_accepted ON dispatch (accepted_at);
