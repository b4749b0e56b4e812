UPDATE annal_parked SET fingerprint = ?3 WHERE type = ?1 AND fingerprint = ?2;
