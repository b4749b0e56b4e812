-- How far a set has come.
SELECT position, event_id FROM annal_checkpoints WHERE type = ?1 AND fingerprint = ?2;
