-- What is public of issues, as it was last said on ibuurt.issues.v1. Never of a tip: the category was public
-- when its report came, and no category of a tip is. Only issues of public categories have exact times here.
CREATE TABLE issue (
    issue_id uuid PRIMARY KEY,
    -- known here and nowhere outside; a report is deleted after its issue, which is said to be gone first
    report_id uuid NOT NULL UNIQUE REFERENCES report ON DELETE CASCADE,
    category text NOT NULL,
    areas jsonb NOT NULL,
    -- on the grid of services/tips/core/grid.py, the database refuses a finer place
    latitude double precision CHECK (round(latitude::numeric, 3) = latitude::numeric),
    longitude double precision CHECK (round(longitude::numeric, 3) = longitude::numeric),
    status text NOT NULL,
    version integer NOT NULL,
    page text NOT NULL,
    accepted_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    -- what a unit wrote, or the resident's words after approval; never on the topic
    public_text text,
    text_by text CHECK (text_by IN ('unit', 'resident')),
    supporters integer NOT NULL DEFAULT 0,
    -- whole words, of any language
    search tsvector GENERATED ALWAYS AS (to_tsvector('simple', coalesce(public_text, ''))) STORED,
    CHECK (num_nulls(latitude, longitude) IN (0, 2)),
    CHECK (num_nulls(public_text, text_by) IN (0, 2))
);
-- The order in which issues are listed, and what makes them few enough to be sorted instead.
CREATE INDEX issue_listed ON issue (accepted_at, issue_id);
CREATE INDEX issue_category ON issue (category, status, accepted_at);
CREATE INDEX issue_status ON issue (status, accepted_at);
-- Few latitudes are different on the grid: a box skips from one to the next.
CREATE INDEX issue_place ON issue (latitude, longitude);
CREATE INDEX issue_changed_at ON issue (changed_at);
CREATE INDEX issue_areas ON issue USING gin (areas jsonb_path_ops);
CREATE INDEX issue_search ON issue USING gin (search);

-- The ids of issues that are public no more, for the answer 410. Nothing else is kept of them.
CREATE TABLE issue_gone (issue_id uuid PRIMARY KEY);

-- To count "this is mine too" once when the answer was lost. Nobody can tell from a row which issue it was,
-- nor who. Kept for 24 to 25 hours; whole hours only.
CREATE TABLE support (
    key_mac bytea PRIMARY KEY CHECK (octet_length(key_mac) = 32),
    drop_after timestamptz NOT NULL CHECK (drop_after = date_trunc('hour', drop_after, 'UTC'))
);
CREATE INDEX support_drop_after ON support (drop_after);
