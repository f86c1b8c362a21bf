-- Noise and counts were taken out of the row, and its old version may stand in the table's file still. The row's
-- own xmin says since which transaction: it is right in a restored database too.
ALTER TABLE period ADD COLUMN emptied boolean NOT NULL DEFAULT false;
