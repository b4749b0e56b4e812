SELECT EXISTS (SELECT 1 FROM {projections} WHERE type = ?1 AND fingerprint = ?2);
