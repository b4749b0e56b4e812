-- Some rows of a set that nobody has come to want, and that nobody has written to since $5: annal_meta says $4 under the key $3.
delete from @projections@
 where ctid = any (array(select p.ctid from @projections@ p where p.type = $1::text and p.fingerprint = $2::text limit 10000))
   and (select m.value from @meta@ m where m.key = $3::text) is not distinct from $4::text
   and not exists (select from @checkpoints@ c
                    where c.type = $1::text and c.fingerprint = $2::text and c.updated_at > $5::timestamptz)
