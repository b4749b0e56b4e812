-- Comes before the events of a page, out of the same snapshot: the head, and which events stand at @seen@, the one that was read last, and
-- at @up_to@, where the read ends. They take the place of an event's position, id and type; its version is 0.
select coalesce((select h.position from @events@ h order by h.position desc limit 1), 0),
       (select s.id from @events@ s where s.position = @seen@::int8), (select u.id from @events@ u where u.position = @up_to@::int8),
       0, null::json, null::json, null::timestamptz@more@
union all
