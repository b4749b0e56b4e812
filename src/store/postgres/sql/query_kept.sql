-- The rows of type $1 in the set of fingerprint $2, which is kept; and of those whose instance stands still, at which event and why. Few
-- do: that they are looked up one by one leaves the rows to their index.
select p.id, p.data, p.position, p.latest_event_id, p.updated_at, k.event_id, k.error
  from @projections@ p
  left join lateral (
    select k.event_id, k.error from @parked@ k
     where k.type = $1::text and k.fingerprint = $2::text and k.id = p.id offset 0
  ) k on true
 where p.type = $1::text and p.fingerprint = $2::text@filter@@set_order@
