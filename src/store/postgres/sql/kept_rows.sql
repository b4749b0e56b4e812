-- Instances of a set as they are kept; nothing for one that has no row and is not parked.
select i.id, p.state, p.position, p.latest_event_id,
       exists (select from @events@ e where e.position = p.position and e.id = p.latest_event_id),
       k.error
  from unnest($3::text[]) as i (id)
  left join @projections@ p on p.type = $1::text and p.fingerprint = $2::text and p.id = i.id collate "C"
  left join @parked@ k on k.type = $1::text and k.fingerprint = $2::text and k.id = i.id collate "C"
 where p.id is not null or k.id is not null
