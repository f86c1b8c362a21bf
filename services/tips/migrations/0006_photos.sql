-- A photo. It is sealed under a key of its own, which is wrapped by the month's upload key until a report has
-- taken the photo, and by the report's own key from then on. All times are whole hours.
CREATE TABLE photo (
    photo_id uuid PRIMARY KEY,
    -- none until a report has taken it: until then the id is all that anybody needs to do so
    report_id uuid REFERENCES report,
    -- the month's upload key; none once a report has taken it
    key_name text,
    wrapped_key bytea NOT NULL,
    -- an upload that no report has taken by then is dropped
    drop_after timestamptz CHECK (drop_after = date_trunc('hour', drop_after, 'UTC')),
    -- the hour in which a report took it: it moves to the object store once that hour is over
    taken_in timestamptz CHECK (taken_in = date_trunc('hour', taken_in, 'UTC')),
    -- until it is in the object store
    sealed bytea,
    -- under which it is, or may already be, in the object store: committed before it is put there
    object_name uuid UNIQUE,
    CHECK (num_nonnulls(report_id, key_name) = 1),
    CHECK (num_nonnulls(drop_after, taken_in) = 1),
    CHECK ((report_id IS NULL) = (taken_in IS NULL)),
    CHECK (num_nonnulls(sealed, object_name) > 0),
    CHECK (report_id IS NOT NULL OR object_name IS NULL)
);
CREATE INDEX photo_report_id ON photo (report_id) WHERE report_id IS NOT NULL;
CREATE INDEX photo_drop_after ON photo (drop_after) WHERE report_id IS NULL;
CREATE INDEX photo_taken_in ON photo (taken_in) WHERE sealed IS NOT NULL AND report_id IS NOT NULL;
-- It is compressed already, as far as a sealed thing can be.
ALTER TABLE photo ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Objects whose photo is gone. A name is deleted again and again until its hour has come: then no put of it
-- can still be on its way.
CREATE TABLE photo_to_delete (
    object_name uuid PRIMARY KEY,
    forget_after timestamptz NOT NULL CHECK (forget_after = date_trunc('hour', forget_after, 'UTC'))
);
