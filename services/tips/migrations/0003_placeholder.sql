-- Only on this branch: the number of another migration.
SELECT 1;
