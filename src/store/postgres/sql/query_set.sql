-- The rows of type $1 in the set of fingerprint $2.
select p.id, p.data, p.position, p.latest_event_id, p.updated_at
  from @projections@ p where p.type = $1::text and p.fingerprint = $2::text@filter@@set_order@
