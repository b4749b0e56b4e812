-- A set that begins at the first event, unless it is there. $3 is a clock for tests, or null.
insert into @checkpoints@ (type, fingerprint, position, event_id, updated_at)
values ($1::text, $2::text, 0, null, coalesce($3::timestamptz, statement_timestamp())) on conflict (type, fingerprint) do nothing
