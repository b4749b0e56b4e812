select e.position from @events@ e where e.id = $1::text
