-- Some rows of a set that nobody has come to want, and that nobody has written to since ?5: annal_meta says ?4 under the key ?3.
DELETE FROM {projections}
WHERE rowid IN (SELECT rowid FROM {projections} WHERE type = ?1 AND fingerprint = ?2 LIMIT 1000)
  AND (SELECT value FROM annal_meta WHERE key = ?3) IS ?4
  AND NOT EXISTS (SELECT 1 FROM annal_checkpoints WHERE type = ?1 AND fingerprint = ?2 AND updated_at > ?5);
