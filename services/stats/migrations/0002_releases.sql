-- Counts are taken from the rows themselves, once, when a period is frozen: nothing holds them before.
DROP TABLE open_count;

ALTER TABLE lifecycle
    -- the category as it was accepted, which is what is counted
    ADD COLUMN counted_category text,
    -- the first day of the week-part in which it is counted, once and for ever: its own, or where that was
    -- frozen when it came, the next that was open
    ADD COLUMN counted_in date;
UPDATE lifecycle SET counted_category = category WHERE hour IS NOT NULL;

-- Recorded crime: each incident once, whatever is sent again.
CREATE TABLE incident (
    incident_id uuid PRIMARY KEY,
    area text,
    category text NOT NULL,
    counted_in date NOT NULL
);
CREATE INDEX incident_counted_in ON incident (counted_in);

-- What was asked to be published, by version; a row never changes.
CREATE TABLE spec (
    id text PRIMARY KEY,
    digest text NOT NULL,
    content jsonb NOT NULL,
    stored_at timestamptz NOT NULL
);

-- Each period of each table, from the drawing of its noise to its freezing. For nobody's eyes.
CREATE TABLE period (
    table_id text NOT NULL,
    name text NOT NULL,
    spec text NOT NULL REFERENCES spec,
    begins date NOT NULL,
    ends date NOT NULL,
    closes_at timestamptz NOT NULL,
    -- it had closed before its spec was known: it stays open until the operator says that its past is in
    history boolean NOT NULL,
    -- by cell, in the spec's order; destroyed 30 days after the release
    noise integer[],
    counts integer[],
    -- how far each partition had been applied
    offsets jsonb,
    frozen_at timestamptz,
    -- counts of it were lost: it is released without any
    incomplete boolean NOT NULL DEFAULT false,
    PRIMARY KEY (table_id, name),
    UNIQUE (table_id, begins)
);

-- What was published, as it was. The first release of a period is its only one.
CREATE TABLE release (
    number bigint PRIMARY KEY,
    release_id uuid NOT NULL UNIQUE,
    spec text NOT NULL,
    table_id text NOT NULL,
    period text NOT NULL,
    edition text NOT NULL CHECK (edition IN ('first', 'final')),
    state text NOT NULL CHECK (state IN ('released', 'withheld')),
    digest text NOT NULL,
    -- the event's value, byte for byte
    content bytea NOT NULL,
    released_at timestamptz NOT NULL,
    -- when it was read back from the topic: before that nobody is shown it
    shown_at timestamptz,
    UNIQUE (table_id, period, edition)
);

-- What each release of a table has spent of everything counted in it, as a fraction.
CREATE TABLE ledger (
    table_id text NOT NULL,
    period text NOT NULL,
    begins date NOT NULL,
    numerator bigint NOT NULL CHECK (numerator > 0),
    denominator bigint NOT NULL CHECK (denominator > 0),
    PRIMARY KEY (table_id, period)
);

-- The public keys that releases of ours were signed with.
CREATE TABLE signing_key (
    public text PRIMARY KEY
);
