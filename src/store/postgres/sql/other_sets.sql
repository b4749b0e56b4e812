-- Whether the type $1 has rows of other sets than $2.
select exists (select from @projections@ o where o.type = $1::text and o.fingerprint < $2::text)
       or exists (select from @projections@ o where o.type = $1::text and o.fingerprint > $2::text)
