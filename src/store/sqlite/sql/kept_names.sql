-- The sets of a type that have rows, found by jumping from one to the next, or have come somewhere.
WITH RECURSIVE sets (fingerprint) AS (
  SELECT min(fingerprint) FROM {projections} WHERE type = ?1 AND fingerprint > ''
  UNION ALL
  SELECT (SELECT min(n.fingerprint) FROM {projections} n WHERE n.type = ?1 AND n.fingerprint > sets.fingerprint)
  FROM sets
  WHERE sets.fingerprint IS NOT NULL
)
SELECT s.fingerprint, c.updated_at
FROM (
  SELECT fingerprint FROM sets WHERE fingerprint IS NOT NULL
  UNION
  SELECT fingerprint FROM annal_checkpoints WHERE type = ?1 AND position > 0
) s
LEFT JOIN annal_checkpoints c ON c.type = ?1 AND c.fingerprint = s.fingerprint;
