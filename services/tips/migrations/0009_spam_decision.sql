-- By which decision a report was taken for spam last: told again, it does not mark anew what was taken back.
ALTER TABLE report ADD COLUMN spam_decision uuid;
