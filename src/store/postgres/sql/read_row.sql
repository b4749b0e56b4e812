-- $1 type, $2 fingerprint, $3 id. After what the snapshot must contain, where that is asked (reach.sql), the row comes first, without a type; then, put behind by the program, the events from its
-- position on. The first of them should be the row's latest event: the reader checks.
with r as materialized (
  select p.position, p.latest_event_id, p.data, p.state, p.created_at, p.updated_at from @projections@ p
   where p.type = $1::text and p.fingerprint = $2::text and p.id = $3::text
)
@reach@select r.position, r.latest_event_id, null::text, 0, r.data, r.state, r.created_at, r.updated_at from r
union all
