-- Who has the checkpoint has the next piece. A statement of its own: what is looked at afterwards is younger than the lock.
select c.position from @checkpoints@ c where c.type = $1::text and c.fingerprint = $2::text for update skip locked
