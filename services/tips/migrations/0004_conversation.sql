-- Our own steps: the highest version of a dispatch that was known when it happened; null for a dispatch.
ALTER TABLE report_step ADD COLUMN seen integer;

-- What resident and unit write to each other, sealed with the report's key. No row outlives the words.
CREATE TABLE message (
    report_id uuid NOT NULL REFERENCES report ON DELETE CASCADE,
    -- counts the messages of a report: their order, where a tip's times cannot tell it
    number integer NOT NULL CHECK (number > 0),
    -- a message that comes again has the same
    message_id uuid NOT NULL,
    sender text NOT NULL CHECK (sender IN ('resident', 'unit')),
    unit text,
    -- the unit wants an answer
    asks boolean NOT NULL,
    -- the resident has read what the unit wrote
    read boolean NOT NULL,
    -- the hour, where the report is a tip
    at timestamptz NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (report_id, number),
    UNIQUE (report_id, message_id),
    CHECK ((sender = 'unit') = (unit IS NOT NULL)),
    CHECK (sender = 'unit' OR NOT asks)
);

-- What the resident thinks of how it went; without words and without a time.
CREATE TABLE rating (
    report_id uuid PRIMARY KEY REFERENCES report ON DELETE CASCADE,
    satisfied boolean NOT NULL,
    stars smallint CHECK (stars BETWEEN 1 AND 5)
);

-- What a certificate says of an erased report.
CREATE TABLE erasure (
    report_id uuid PRIMARY KEY REFERENCES report ON DELETE CASCADE,
    -- the hour, where the report is a tip
    at timestamptz NOT NULL,
    reason text NOT NULL,
    -- what was destroyed: a number for each sort, such as {"words": 1, "messages": 5}
    destroyed jsonb NOT NULL
);
CREATE INDEX erasure_at ON erasure (at);

-- What those who were sent words say of their copies.
CREATE TABLE erasure_confirmation (
    report_id uuid NOT NULL REFERENCES erasure ON DELETE CASCADE,
    -- as the log of readings has the reader
    destination text NOT NULL,
    state text NOT NULL CHECK (state IN ('confirmed', 'cannot')),
    -- the hour, where the report is a tip
    at timestamptz NOT NULL,
    PRIMARY KEY (report_id, destination)
);
