-- The rows of type $1 in the set of fingerprint $2, and with each whether the type has other sets.
select p.id, p.data, p.position, p.latest_event_id, p.updated_at,
       exists (select from @projections@ o where o.type = $1::text and o.fingerprint < $2::text)
       or exists (select from @projections@ o where o.type = $1::text and o.fingerprint > $2::text)
  from @projections@ p where p.type = $1::text and p.fingerprint = $2::text@filter@@set_order@
