-- A row of a set that is kept gives way to a position that is not lower, and where its own event is not stored to any.
INSERT INTO {projections} (type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
ON CONFLICT (type, fingerprint, id) DO UPDATE
SET state = excluded.state, data = excluded.data, position = excluded.position, latest_event_id = excluded.latest_event_id,
  updated_at = excluded.updated_at
WHERE position <= excluded.position
  OR NOT EXISTS (
    SELECT 1 FROM {events} e
    WHERE e.position = {projections}.position AND e.id = {projections}.latest_event_id);
