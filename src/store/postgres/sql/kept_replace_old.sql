-- The rows of $2 that are not ahead of position $3 give way.
delete from @projections@ where type = $1::text and fingerprint = $2::text and position <= $3::int8
