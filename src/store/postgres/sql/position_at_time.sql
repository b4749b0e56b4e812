-- The last position whose event was stored at $1 or before, 0 where there is none: times never step back and positions have no
-- gaps, so it is found by halves along the primary key. False in the second column: a position in between was missing.
with recursive search (low, high) as (
  select 0::int8, coalesce((select e.position from @events@ e order by e.position desc limit 1), 0)
  union all
  select case when m.is_before then m.position else s.low end, case when m.is_before then s.high else m.position - 1 end
    from search s
   cross join lateral (
     select e.position, e.created_at <= $1::timestamptz as is_before from @events@ e where e.position = (s.low + s.high + 1) / 2
   ) m
   where s.low < s.high
)
select s.low, s.low = s.high from search s order by s.high - s.low limit 1
