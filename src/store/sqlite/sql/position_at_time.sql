-- The last position whose event was stored at ?1 or before, 0 where there is none: times never step back and positions have no
-- gaps, so it is found by halves along the primary key. False in the second column: a position in between was missing.
WITH RECURSIVE search (low, high) AS (
  SELECT 0, coalesce((SELECT max(position) FROM {events}), 0)
  UNION ALL
  SELECT CASE WHEN e.created_at <= ?1 THEN e.position ELSE s.low END, CASE WHEN e.created_at <= ?1 THEN s.high ELSE e.position - 1 END
  FROM search s
  CROSS JOIN {events} e ON e.position = (s.low + s.high + 1) / 2
  WHERE s.low < s.high
)
SELECT low, low = high FROM search ORDER BY high - low LIMIT 1;
