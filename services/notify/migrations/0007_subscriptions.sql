-- Who is called when something public changes: an address, and what it wants to know. No secret: it follows from
-- the deployment's and the generation (services/notify/core/subscriptions.py).
CREATE TABLE subscription (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    contact text NOT NULL,
    url text NOT NULL,
    type text NOT NULL CHECK (type IN ('IssueChanged', 'StatisticsReleased')),
    -- Empty takes all; `areas` maps area sets to lists of areas.
    categories text[] NOT NULL,
    areas jsonb NOT NULL,
    statuses text[] NOT NULL,
    -- The generation of its secret, and until when the one before signs too.
    generation integer NOT NULL DEFAULT 1,
    previous_until timestamptz,
    -- Since when no call succeeded, of those that were made.
    failing_since timestamptz,
    last_failure text,
    disabled_at timestamptz,
    disabled_why text CHECK (disabled_why IN ('failing', 'command')),
    CHECK (num_nulls(disabled_at, disabled_why) IN (0, 2))
);

-- How far each public issue was read: what is read again changes nothing. Of what is gone the id is kept for a
-- while, so that no older state of it is sent after that.
CREATE TABLE public_issue (
    issue_id uuid PRIMARY KEY,
    version integer NOT NULL,
    gone_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX public_issue_gone ON public_issue (gone_at) WHERE gone_at IS NOT NULL;

-- The releases that were read.
CREATE TABLE public_release (
    release_id uuid PRIMARY KEY
);

-- Which issues a subscriber was told of, and whether the last state that it was told passes its filters.
CREATE TABLE subscription_issue (
    subscription_id uuid NOT NULL REFERENCES subscription ON DELETE CASCADE,
    issue_id uuid NOT NULL,
    passes boolean NOT NULL,
    PRIMARY KEY (subscription_id, issue_id)
) WITH (fillfactor = 80);
CREATE INDEX subscription_issue_issue ON subscription_issue (issue_id);

-- What has to go still, in the order of `position` for each key; what has gone is deleted. The id is the
-- webhook-id. `data` is the event as it stands on its topic; NULL for a tombstone, and where an issue was gone
-- while an older state of it was under way: that state goes no more.
CREATE TABLE subscription_delivery (
    id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscription ON DELETE CASCADE,
    position bigint GENERATED ALWAYS AS IDENTITY,
    key text NOT NULL,
    type text NOT NULL,
    at timestamptz NOT NULL,
    data text,
    attempts integer NOT NULL DEFAULT 0,
    last_failure text,
    queued_at timestamptz NOT NULL,
    -- When it is tried next; a worker that takes it moves this to the end of its lease.
    next_attempt_at timestamptz NOT NULL,
    leased boolean NOT NULL DEFAULT false,
    UNIQUE (subscription_id, key, position)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX subscription_delivery_due ON subscription_delivery (subscription_id, next_attempt_at, position);
