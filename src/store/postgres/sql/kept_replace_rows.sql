update @projections@ set fingerprint = $3::text where type = $1::text and fingerprint = $2::text
