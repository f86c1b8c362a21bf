-- The key that an erased report was under: until it is destroyed, a dump of before can still be opened.
ALTER TABLE erasure ADD COLUMN key_name text;

-- The day (UTC) on which a unit took a report for spam: it is erased some days later, unless that is taken back.
ALTER TABLE report ADD COLUMN spam_on date;
CREATE INDEX report_spam_on ON report (spam_on) WHERE spam_on IS NOT NULL;
