-- Of what waits for a subscription: how often in a row its system refused this event, since when, and since when
-- the event is set aside: it is not sent, and holds up nothing.
ALTER TABLE subscription_delivery
    ADD COLUMN refusals integer NOT NULL DEFAULT 0,
    ADD COLUMN refused_since timestamptz,
    ADD COLUMN set_aside_at timestamptz;
-- Since when events of it are set aside, where some are: its contact is told of them, as where it is disabled.
ALTER TABLE subscription ADD COLUMN set_aside_since timestamptz;
