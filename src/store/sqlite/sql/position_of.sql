SELECT position FROM {events} WHERE id = ?1;
