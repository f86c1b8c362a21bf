-- The desk's list of a unit has the reports of others, too, of which it was told.
CREATE INDEX dispatch_escalated ON dispatch (status, resolve_by, report_id) WHERE level > 0;
