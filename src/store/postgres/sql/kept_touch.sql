-- Somebody may be reading the set still.
update @checkpoints@ set updated_at = coalesce($3::timestamptz, statement_timestamp())
 where type = $1::text and fingerprint = $2::text
