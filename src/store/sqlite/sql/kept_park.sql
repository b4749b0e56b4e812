INSERT INTO annal_parked (type, fingerprint, id, event_id, error) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (type, fingerprint, id) DO UPDATE SET event_id = excluded.event_id, error = excluded.error;
