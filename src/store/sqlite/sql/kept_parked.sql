-- The parked instances of a set above the id ?3; NULL: all of them.
SELECT id, event_id, error FROM annal_parked
WHERE type = ?1 AND fingerprint = ?2 AND (?3 IS NULL OR id > ?3)
ORDER BY id
LIMIT ?4;
