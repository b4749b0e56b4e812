-- How far a saved row has come.
SELECT position FROM {projections} WHERE type = ?1 AND fingerprint = ?2 AND id = ?3;
