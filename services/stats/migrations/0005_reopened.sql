-- The version of the last time a unit got the report. Of one that was reopened it is above resolved_version until
-- it is solved again. Rows of before have none: they end as they were resolved.
ALTER TABLE lifecycle ADD COLUMN routed_version bigint;
