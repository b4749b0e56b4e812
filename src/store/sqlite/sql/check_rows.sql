-- Every saved row, and whether the event it was made up to is the one at its position.
SELECT p.type, p.fingerprint, p.id, p.state, p.data, p.position, p.latest_event_id, p.created_at, p.updated_at,
  EXISTS (SELECT 1 FROM {events} e WHERE e.position = p.position AND e.id = p.latest_event_id) AS has_event
FROM {projections} p
ORDER BY p.type, p.fingerprint, p.id;
