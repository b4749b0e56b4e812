-- The rows of $2 whose instance has one in $3, which is ahead, are not needed.
delete from @projections@ p
 where p.type = $1::text and p.fingerprint = $2::text
   and exists (select from @projections@ o where o.type = $1::text and o.fingerprint = $3::text and o.id = p.id)
