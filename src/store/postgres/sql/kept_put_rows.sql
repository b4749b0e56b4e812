-- Rows of a set that is kept give way to a position that is not lower, and where their own event is not stored to any. $8 is a clock
-- for tests, or null.
insert into @projections@ as p (type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at)
select $1::text, $2::text, n.id, n.state, n.data, n.position, n.latest_event_id, coalesce($8::timestamptz, statement_timestamp()),
       coalesce($8::timestamptz, statement_timestamp())
  from unnest($3::text[], $4::json[], $5::json[], $6::int8[], $7::text[]) as n (id, state, data, position, latest_event_id)
on conflict (type, fingerprint, id) do update
   set state = excluded.state, data = excluded.data, position = excluded.position,
       latest_event_id = excluded.latest_event_id, updated_at = excluded.updated_at
 where p.position <= excluded.position
    or not exists (select from @events@ e where e.position = p.position and e.id = p.latest_event_id)
