-- What is public of issues, as the topic says it, for where several lie at one place.
CREATE TABLE placed_issue (
    issue_id uuid PRIMARY KEY,
    version integer NOT NULL,
    category text NOT NULL,
    areas jsonb NOT NULL,
    latitude float8,
    longitude float8,
    status text NOT NULL,
    page text NOT NULL
);
CREATE INDEX placed_issue_place ON placed_issue (latitude, longitude) WHERE latitude IS NOT NULL;
