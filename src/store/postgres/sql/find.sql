select e.position, e.id, (select f.position from @events@ f where f.id = $1::text) from @events@ e order by e.position desc limit 1
