-- How long a unit took to acknowledge, shortest first: the order is what `least` goes by.
CREATE TYPE took AS ENUM ('1h', '4h', '24h', '72h', '7d', 'later');

-- What is known of each report, in whatever order it came. No time but the hour of acceptance.
CREATE TABLE lifecycle (
    report_id uuid PRIMARY KEY,
    kind text NOT NULL,
    -- null until ReportAccepted has come; from then on the report is counted
    hour timestamptz,
    -- the area of the primary set, as it came; null where the report has none
    area text,
    -- the latest category, and the version of the event that gave it
    category text,
    category_version bigint,
    -- the highest version seen of each writer
    tips_version bigint NOT NULL,
    notify_version bigint NOT NULL,
    routed boolean NOT NULL,
    delivered boolean NOT NULL,
    acknowledged took,
    -- of the last time it was resolved
    resolved_version bigint,
    outcome text,
    in_time boolean,
    -- of the last time a unit refused it: below resolved_version, it was solved after all
    refused_version bigint,
    reopened boolean NOT NULL,
    withdrawn boolean NOT NULL,
    erased boolean NOT NULL
) WITH (fillfactor = 70);

-- The counts of open periods, for nobody's eyes: what is published of them gets its noise first.
CREATE TABLE open_count (
    -- week_part: by area. month: by area and category.
    grain text NOT NULL CHECK (grain IN ('week_part', 'month')),
    period text NOT NULL,
    area text NOT NULL,
    -- empty where the grain is not split by category
    category text NOT NULL CHECK ((category = '') = (grain = 'week_part')),
    count bigint NOT NULL CHECK (count > 0),
    PRIMARY KEY (grain, period, area, category)
) WITH (fillfactor = 50);
