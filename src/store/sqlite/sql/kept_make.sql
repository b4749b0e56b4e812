-- A set that begins at the first event, unless it is there.
INSERT OR IGNORE INTO annal_checkpoints (type, fingerprint, position, event_id, updated_at) VALUES (?1, ?2, 0, NULL, ?3);
