-- The set knows of the event ?4 at position ?3; at the beginning of none.
UPDATE annal_checkpoints SET position = ?3, event_id = ?4, updated_at = ?5 WHERE type = ?1 AND fingerprint = ?2;
