-- Of what was done by a signed link the unit whose link it was: there is a limit to how much one may be used.
ALTER TABLE act ADD COLUMN link_of text;
