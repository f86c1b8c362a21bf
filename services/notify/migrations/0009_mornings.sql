-- The digest that a unit gets in the morning is a delivery of no report; each day's goes once.
ALTER TABLE delivery
    DROP CONSTRAINT delivery_about,
    ADD CONSTRAINT delivery_about CHECK ((report_id IS NULL) = (step IN ('notice', 'digest')));
CREATE TABLE morning (
    unit text NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (unit, day)
);
