-- The decisions by which a report was taken for spam, for as long as it has words: told again, one does not mark
-- anew what was taken back.
CREATE TABLE spam_decision (
    report_id uuid NOT NULL REFERENCES report ON DELETE CASCADE,
    decision_id uuid NOT NULL,
    PRIMARY KEY (report_id, decision_id)
);
