-- A photo's sealed bytes are written in parts, one after another: whoever commits meanwhile has little to wait for
-- until all that is written before is on the disk.
CREATE TABLE photo_part (
    photo_id uuid NOT NULL REFERENCES photo ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 0),
    sealed bytea NOT NULL,
    PRIMARY KEY (photo_id, number)
);
-- It is compressed already, as far as a sealed thing can be.
ALTER TABLE photo_part ALTER COLUMN sealed SET STORAGE EXTERNAL;
INSERT INTO photo_part (photo_id, number, sealed)
SELECT photo_id, 0, sealed FROM photo WHERE sealed IS NOT NULL;

-- whether its parts are here; until it is in the object store
ALTER TABLE photo ADD here boolean NOT NULL DEFAULT true;
UPDATE photo SET here = sealed IS NOT NULL;
-- With it go the check and the index that named it.
ALTER TABLE photo DROP sealed;
ALTER TABLE photo ADD CHECK (here OR object_name IS NOT NULL);
CREATE INDEX photo_taken_in ON photo (taken_in) WHERE here AND report_id IS NOT NULL;
