-- The rows of one set that is kept: ?1 type, ?2 fingerprint; and of those whose instance stands still, at which event and why. Columns to
-- order by follow at the mark, a filter and an order at the end.
SELECT p.id AS id, p.data, p.position, p.latest_event_id, p.updated_at, 0 AS stale, k.event_id, k.error@order@
FROM {projections} p
LEFT JOIN annal_parked k ON k.type = ?1 AND k.fingerprint = ?2 AND k.id = p.id
WHERE p.type = ?1 AND p.fingerprint = ?2
