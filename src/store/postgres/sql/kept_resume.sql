delete from @parked@ where type = $1::text and fingerprint = $2::text and id = any ($3::text[])
