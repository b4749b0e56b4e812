select e.position, e.id from @events@ e order by e.position desc limit 1
