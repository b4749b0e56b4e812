-- Only from what was seen before.
UPDATE annal_meta SET value = ?2 WHERE key = ?1 AND value = ?3;
