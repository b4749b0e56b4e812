-- A page of the original's events above the id $1, in its order. An infinite time is none.
select f.id, f.type, f.data::text, case when isfinite(f.created_at) then f.created_at end
  from @table@ f
 where f.id > $1::text
 order by f.id
 limit $2
