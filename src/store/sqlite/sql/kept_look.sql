-- A set and its surroundings, in one snapshot: ?1 type, ?2 set, ?3 the key of the type in annal_meta.
SELECT m.value, c.position, c.event_id, c.updated_at,
  c.position = 0 OR EXISTS (SELECT 1 FROM {events} e WHERE e.position = c.position AND e.id = c.event_id) AS sound,
  h.position, h.id
FROM (SELECT 1)
LEFT JOIN annal_meta m ON m.key = ?3
LEFT JOIN annal_checkpoints c ON c.type = ?1 AND c.fingerprint = ?2
LEFT JOIN (SELECT position, id FROM {events} ORDER BY position DESC LIMIT 1) h;
