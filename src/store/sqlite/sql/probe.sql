-- The newest event, and the id of the event at a position, in one snapshot.
SELECT position, id, (SELECT id FROM {events} WHERE position = ?1) FROM {events} ORDER BY position DESC LIMIT 1;
