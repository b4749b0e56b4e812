-- One instance of a set as it is kept: nothing where it has no row and is not parked.
SELECT p.state, p.position, p.latest_event_id,
  EXISTS (SELECT 1 FROM {events} e WHERE e.position = p.position AND e.id = p.latest_event_id) AS sound,
  k.error
FROM (SELECT 1)
LEFT JOIN {projections} p ON p.type = ?1 AND p.fingerprint = ?2 AND p.id = ?3
LEFT JOIN annal_parked k ON k.type = ?1 AND k.fingerprint = ?2 AND k.id = ?3
WHERE p.id IS NOT NULL OR k.id IS NOT NULL;
