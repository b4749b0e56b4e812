-- Whether the type ?1 has rows of other sets than ?2.
SELECT EXISTS (SELECT 1 FROM {projections} p WHERE p.type = ?1 AND p.fingerprint < ?2)
  OR EXISTS (SELECT 1 FROM {projections} p WHERE p.type = ?1 AND p.fingerprint > ?2);
