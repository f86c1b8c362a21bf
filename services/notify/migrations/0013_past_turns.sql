-- The turns that a report has had at units since it came or was last reopened, in order: by when each unit was to
-- act and what its clocks had told when it moved on, to go on there where it comes back to one of them.
ALTER TABLE dispatch ADD COLUMN past jsonb NOT NULL DEFAULT '[]';
