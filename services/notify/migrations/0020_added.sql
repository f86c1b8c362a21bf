-- What residents added before the acceptance of their report was applied: that lies among the dead letters, say, and
-- when it is replayed the unit must get what was added, too.
CREATE TABLE added_unseen (
    report_id uuid NOT NULL,
    version integer NOT NULL,
    on_day date NOT NULL,
    PRIMARY KEY (report_id, version)
);
CREATE INDEX added_unseen_day ON added_unseen (on_day);
