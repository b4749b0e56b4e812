INSERT INTO {events} (position, id, type, version, data, metadata, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);
