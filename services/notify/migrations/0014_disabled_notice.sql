-- When the contact of a subscription that was disabled since it failed is to be told, or is told again where that
-- did not work; none once that was done.
ALTER TABLE subscription ADD COLUMN notice_at timestamptz;
