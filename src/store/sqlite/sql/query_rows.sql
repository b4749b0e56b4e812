-- The rows of one set: ?1 type, ?2 fingerprint. A filter and an order follow.
SELECT p.type, p.fingerprint, p.id, p.state, p.data, p.position, p.latest_event_id, p.created_at, p.updated_at, 0 AS stale
FROM {projections} p
WHERE p.type = ?1 AND p.fingerprint = ?2
