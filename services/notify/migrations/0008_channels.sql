-- What a delivery's call goes to: its unit's own system, the operator's mail server, or nothing but the desk.
-- Each is held back by itself: a unit whose system is down still gets e-mail, and a mail server that is down
-- holds up no webhook.
ALTER TABLE delivery ADD COLUMN destination text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN channel ~ '^(fallback\.)?email(\.|$)' THEN '@smtp'
         WHEN channel ~ '^(fallback\.)?desk(\.|$)' THEN '@desk'
         ELSE unit END) STORED;
DROP INDEX delivery_open;
CREATE INDEX delivery_open ON delivery (destination, next_attempt_at) WHERE state = 'open';
