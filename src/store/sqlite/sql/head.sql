-- The newest event.
SELECT position, id, created_at FROM {events} ORDER BY position DESC LIMIT 1;
