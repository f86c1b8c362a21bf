-- Who did it, as the log of tips names who reads: officer:k.jansen, or unit:parks via link. None where nobody did:
-- a rule, a clock, a channel, the resident. It is on no topic, so a step that was taken back from one has none.
ALTER TABLE report_step ADD COLUMN actor text;
