-- For each id without a row of the set ?2: its newest row of any other. Sets are few and found by jumping from one to the next,
-- so that a type without others costs two look-ups. Columns to order by follow at the mark, a filter and an order at the end.
SELECT p.id, p.data, p.position, p.latest_event_id, p.updated_at, 1 AS stale@order@
FROM (
  WITH RECURSIVE sets (fingerprint) AS (
    SELECT min(fingerprint) FROM {projections} WHERE type = ?1
    UNION ALL
    SELECT (SELECT min(n.fingerprint) FROM {projections} n WHERE n.type = ?1 AND n.fingerprint > sets.fingerprint)
    FROM sets
    WHERE sets.fingerprint IS NOT NULL
  )
  SELECT fingerprint FROM sets WHERE fingerprint <> ?2
) others
CROSS JOIN {projections} p
WHERE p.type = ?1 AND p.fingerprint = others.fingerprint
  AND NOT EXISTS (
    SELECT 1 FROM {projections} own WHERE own.type = ?1 AND own.fingerprint = ?2 AND own.id = p.id)
  AND NOT EXISTS (
    WITH RECURSIVE sets (fingerprint) AS (
      SELECT min(fingerprint) FROM {projections} WHERE type = ?1
      UNION ALL
      SELECT (SELECT min(n.fingerprint) FROM {projections} n WHERE n.type = ?1 AND n.fingerprint > sets.fingerprint)
      FROM sets
      WHERE sets.fingerprint IS NOT NULL
    )
    SELECT 1
    FROM sets
    CROSS JOIN {projections} newer
    WHERE sets.fingerprint <> ?2 AND newer.type = ?1 AND newer.fingerprint = sets.fingerprint AND newer.id = p.id
      AND (newer.position, newer.updated_at, newer.fingerprint) > (p.position, p.updated_at, p.fingerprint))
