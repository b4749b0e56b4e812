-- Every set: its rows, how far it has come and when, its parked instances, and since when the next event waits for it.
SELECT s.type, s.fingerprint,
  (SELECT count(*) FROM {projections} p WHERE p.type = s.type AND p.fingerprint = s.fingerprint) AS rows,
  c.position, c.updated_at,
  (SELECT count(*) FROM annal_parked k WHERE k.type = s.type AND k.fingerprint = s.fingerprint) AS parked,
  (SELECT e.created_at FROM {events} e WHERE e.position = c.position + 1) AS next_at
FROM (
  SELECT DISTINCT type, fingerprint FROM {projections} WHERE fingerprint <> ''
  UNION
  SELECT type, fingerprint FROM annal_checkpoints
) s
LEFT JOIN annal_checkpoints c ON c.type = s.type AND c.fingerprint = s.fingerprint
ORDER BY s.type, s.fingerprint;
