-- One saved row.
SELECT type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at
FROM {projections}
WHERE type = ?1 AND fingerprint = ?2 AND id = ?3;
