-- The indexes that annal_meta speaks of, and whether the file has them.
SELECT m.key, s.name IS NOT NULL AS there
FROM annal_meta m
LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name COLLATE NOCASE = CASE
  WHEN m.key LIKE 'index:events:%' THEN substr(m.key, 14)
  WHEN m.key LIKE 'index:projections:%' THEN substr(m.key, 19)
  ELSE m.value END
WHERE m.key LIKE 'data\_index:%' ESCAPE '\' OR m.key LIKE 'projection\_index:%' ESCAPE '\'
  OR m.key LIKE 'projection\_order:%' ESCAPE '\' OR m.key LIKE 'metadata\_index:%' ESCAPE '\' OR m.key LIKE 'index:%'
ORDER BY m.key;
