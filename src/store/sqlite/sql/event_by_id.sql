-- What is stored under an id, to be compared with what is to be saved under it.
SELECT position, created_at, type, version, data, metadata FROM {events} WHERE id = ?1;
