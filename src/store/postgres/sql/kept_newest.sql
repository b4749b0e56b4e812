select max(p.updated_at) from @projections@ p where p.type = $1::text and p.fingerprint = $2::text
