-- Who mended what, when: every command of shared/mending that changed something.
CREATE TABLE mending (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    command text NOT NULL,
    detail jsonb NOT NULL
);

-- The dead letters that were applied after all, by their events' ids: replaying them again changes nothing.
CREATE TABLE replayed (
    consumer_group text NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (consumer_group, event_id)
);
