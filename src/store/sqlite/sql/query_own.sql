-- The rows of one set, ?1 type and ?2 fingerprint, and with each whether the type has other sets. Columns to order by follow at the
-- mark, a filter and an order at the end.
SELECT p.id, p.data, p.position, p.latest_event_id, p.updated_at,
  EXISTS (SELECT 1 FROM {projections} o WHERE o.type = ?1 AND o.fingerprint < ?2)
    OR EXISTS (SELECT 1 FROM {projections} o WHERE o.type = ?1 AND o.fingerprint > ?2) AS others@order@
FROM {projections} p
WHERE p.type = ?1 AND p.fingerprint = ?2
