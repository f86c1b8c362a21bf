-- The key that an erased report was under: until it is destroyed, a dump of before can still be opened.
ALTER TABLE erasure ADD COLUMN key_name text;
