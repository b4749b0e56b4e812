-- Writes rows, locking them in the order in which they come: by type, fingerprint and id. A row gives way to a higher position
-- only; one saved by hand to an equal one too. A row that is answered was written: true where there was none (a fresh version
-- of a row has no xmax, one that took the place of another has the lock on that); one that is not answered was skipped.
-- $8 is a clock for tests, or null.
with n as materialized (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::json[], $5::json[], $6::int8[], $7::text[])
         with ordinality as n (type, fingerprint, id, state, data, position, latest_event_id, number)
)
insert into @projections@ as p (type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at)
select n.type, n.fingerprint, n.id, n.state, n.data, n.position, n.latest_event_id, coalesce($8::timestamptz, statement_timestamp()),
       coalesce($8::timestamptz, statement_timestamp())
  from n order by n.number
on conflict (type, fingerprint, id) do update
   set state = excluded.state, data = excluded.data, position = excluded.position,
       latest_event_id = excluded.latest_event_id, updated_at = excluded.updated_at
 where p.position < excluded.position or (p.fingerprint = '' and p.position = excluded.position)
returning p.type, p.fingerprint, p.id, p.xmax = 0
