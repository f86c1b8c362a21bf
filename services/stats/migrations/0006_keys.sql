-- Whose key signed a release: a key that another has followed signs no more.
ALTER TABLE release ADD COLUMN signing_key text;
UPDATE release SET signing_key = convert_from(content, 'UTF8')::jsonb ->> 'signing_key';
ALTER TABLE release ALTER COLUMN signing_key SET NOT NULL;

-- Keys that somebody has said were never ours.
CREATE TABLE stranger_key (public text PRIMARY KEY);
