-- The set knows of the event $4 at position $3; at the beginning of none.
update @checkpoints@
   set position = $3::int8, event_id = $4::text, updated_at = coalesce($5::timestamptz, statement_timestamp())
 where type = $1::text and fingerprint = $2::text
