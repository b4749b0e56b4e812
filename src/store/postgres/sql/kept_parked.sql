-- The parked instances of a set above the id $3; null: all of them.
select k.id, k.event_id, k.error from @parked@ k
 where k.type = $1::text and k.fingerprint = $2::text and ($3::text is null or k.id > $3::text collate "C")
 order by k.id
 limit $4
