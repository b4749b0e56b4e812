-- Somebody may be reading the set still.
UPDATE annal_checkpoints SET updated_at = ?3 WHERE type = ?1 AND fingerprint = ?2;
