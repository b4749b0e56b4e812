DELETE FROM annal_parked WHERE type = ?1 AND fingerprint = ?2;
