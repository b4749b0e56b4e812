select e.position, e.id, (select o.id from @events@ o where o.position = $1) from @events@ e order by e.position desc limit 1
