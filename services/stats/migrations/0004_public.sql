-- A release is asked for by its digest, which its address has.
CREATE UNIQUE INDEX release_digest ON release (digest);
