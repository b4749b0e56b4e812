delete from @projections@ where type = $1::text and fingerprint = $2::text
