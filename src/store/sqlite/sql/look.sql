-- Which of the names that annal would use are taken, and by what: ?1 events, ?2 projections.
SELECT name, type
FROM sqlite_schema
WHERE name COLLATE NOCASE IN (?1, ?2, 'annal_meta', 'annal_checkpoints', 'annal_parked')
ORDER BY name COLLATE NOCASE = 'annal_meta' DESC, name;
