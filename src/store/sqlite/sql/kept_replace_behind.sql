-- The rows of ?2 whose instance has one in ?3, which is ahead, are not needed.
DELETE FROM {projections}
WHERE type = ?1 AND fingerprint = ?2
  AND EXISTS (SELECT 1 FROM {projections} o WHERE o.type = ?1 AND o.fingerprint = ?3 AND o.id = {projections}.id);
