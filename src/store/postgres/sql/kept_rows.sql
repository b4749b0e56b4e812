-- Instances of a set as they are kept; nothing for one that has no row and is not parked. They are looked up one by one: of rows that are
-- new the server has counted none, and would read the whole set instead.
select i.id, p.state, p.position, p.latest_event_id,
       exists (select from @events@ e where e.position = p.position and e.id = p.latest_event_id),
       k.error
  from unnest($3::text[]) as i (id)
  left join lateral (
    select p.id, p.state, p.position, p.latest_event_id from @projections@ p
     where p.type = $1::text and p.fingerprint = $2::text and p.id = i.id collate "C" offset 0
  ) p on true
  left join lateral (
    select k.id, k.error from @parked@ k
     where k.type = $1::text and k.fingerprint = $2::text and k.id = i.id collate "C" offset 0
  ) k on true
 where p.id is not null or k.id is not null
