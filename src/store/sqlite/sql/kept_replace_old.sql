-- The rows of ?2 that are not ahead of position ?3 give way.
DELETE FROM {projections} WHERE type = ?1 AND fingerprint = ?2 AND position <= ?3;
