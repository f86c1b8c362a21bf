-- By when the unit answers, where the category promises that; of a tip the hour, as the other times.
ALTER TABLE report_step ADD COLUMN answer_by timestamptz;
