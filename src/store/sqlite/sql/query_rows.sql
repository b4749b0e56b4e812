-- The rows of one set: ?1 type, ?2 fingerprint. Columns to order by follow at the mark, a filter and an order at the end.
SELECT p.id, p.data, p.position, p.latest_event_id, p.updated_at, 0 AS stale@order@
FROM {projections} p
WHERE p.type = ?1 AND p.fingerprint = ?2
