INSERT INTO {projections} (type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8);
