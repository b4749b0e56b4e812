SELECT value FROM annal_meta WHERE key = ?1;
