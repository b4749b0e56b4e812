insert into @parked@ as k (type, fingerprint, id, event_id, error)
select $1::text, $2::text, n.id, n.event_id, n.error from unnest($3::text[], $4::text[], $5::text[]) as n (id, event_id, error)
on conflict (type, fingerprint, id) do update set event_id = excluded.event_id, error = excluded.error
