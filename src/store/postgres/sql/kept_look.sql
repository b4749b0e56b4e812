-- A set and its surroundings, in one snapshot: $1 type, $2 set, $3 the key of the type in annal_meta.
select m.value, c.position, c.event_id, c.updated_at,
       c.position = 0 or exists (select from @events@ e where e.position = c.position and e.id = c.event_id),
       h.position, h.id
  from (select 1) one
  left join @meta@ m on m.key = $3::text
  left join @checkpoints@ c on c.type = $1::text and c.fingerprint = $2::text
  left join lateral (select e.position, e.id from @events@ e order by e.position desc limit 1) h on true
