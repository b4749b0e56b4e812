select c.position, c.event_id from @checkpoints@ c where c.type = $1::text and c.fingerprint = $2::text for update
