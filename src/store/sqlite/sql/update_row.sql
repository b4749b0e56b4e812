UPDATE {projections}
SET state = ?4, data = ?5, position = ?6, latest_event_id = ?7, updated_at = ?8
WHERE type = ?1 AND fingerprint = ?2 AND id = ?3;
