-- Events that wait for the relay. No time is kept: a row's time would tell a tip's minute.
CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL,
    type text NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    value bytea,
    source text NOT NULL,
    time timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- What the relay took in one go, numbered: element i of every array is one record. Sent again whole,
-- with the same numbers, until every record is acknowledged; then kept for `outbox resend`.
CREATE TABLE outbox_batch (
    batch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ids uuid[] NOT NULL,
    types text[] NOT NULL,
    topics text[] NOT NULL,
    keys bytea[] NOT NULL,
    -- `values` is a reserved word
    contents bytea[] NOT NULL,
    sources text[] NOT NULL,
    times timestamptz[] NOT NULL,
    partitions integer[] NOT NULL,
    numbers bigint[] NOT NULL,
    -- the day, never the minute
    sent_on date
);
CREATE INDEX outbox_batch_unsent ON outbox_batch (batch) WHERE sent_on IS NULL;
CREATE INDEX outbox_batch_sent_on ON outbox_batch (sent_on) WHERE sent_on IS NOT NULL;

-- How far each partition is: the last number given, and the last offset that Kafka acknowledged.
CREATE TABLE outbox_partition (
    topic text NOT NULL,
    partition integer NOT NULL,
    last_number bigint NOT NULL DEFAULT 0,
    acknowledged_offset bigint NOT NULL DEFAULT -1,
    PRIMARY KEY (topic, partition)
);
