-- The rows of type $1 that were saved by hand.
select p.type, p.fingerprint, p.id, p.state, p.data, p.position, p.latest_event_id, p.created_at, p.updated_at
  from @projections@ p where p.type = $1::text and p.fingerprint = ''@filter@
 order by p.id
