-- The rows of $2 whose instance has one in $3, which is ahead, are not needed. They are looked up one by one: these rows are so new that
-- the server has counted none of them, and would compare each with each.
delete from @projections@ p
 where p.type = $1::text and p.fingerprint = $2::text
   and exists (select from @projections@ o where o.type = $1::text and o.fingerprint = $3::text and o.id = p.id offset 0)
