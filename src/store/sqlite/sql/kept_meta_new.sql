INSERT OR IGNORE INTO annal_meta (key, value) VALUES (?1, ?2);
