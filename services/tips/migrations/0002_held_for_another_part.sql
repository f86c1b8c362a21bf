-- Holds a number on this branch only: the merger deletes this file for the migration of another part.
SELECT 1;
