SELECT max(updated_at) FROM {projections} WHERE type = ?1 AND fingerprint = ?2;
