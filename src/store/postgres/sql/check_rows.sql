-- Rows above the key ($1, $2, $3), and whether the event that each was made from is stored.
select p.type, p.fingerprint, p.id, p.state, p.data, p.position, p.latest_event_id, p.created_at, p.updated_at,
       exists (select from @events@ e where e.position = p.position and e.id = p.latest_event_id)
  from @projections@ p
 where (p.type, p.fingerprint, p.id) > ($1::text, $2::text, $3::text)
 order by p.type, p.fingerprint, p.id limit 1000
