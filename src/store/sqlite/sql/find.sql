-- The newest event, and where the event of an id lies, in one snapshot.
SELECT position, id, (SELECT position FROM {events} WHERE id = ?1) FROM {events} ORDER BY position DESC LIMIT 1;
