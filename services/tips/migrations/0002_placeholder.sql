-- Held for another part; the merger puts it in this place.
SELECT 1;
