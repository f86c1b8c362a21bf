-- How far a group has applied each partition: the last number, its event, and where to read on.
CREATE TABLE fence (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    sequence bigint NOT NULL DEFAULT 0,
    event_id uuid,
    next_offset bigint NOT NULL DEFAULT 0,
    -- a number did not come in time: data is lost until it comes or a person accepts it
    gap boolean NOT NULL DEFAULT false,
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);
