-- The sets of a type that have rows, found by jumping from one to the next, or have come somewhere.
with recursive sets (fingerprint) as (
  (select p.fingerprint from @projections@ p where p.type = $1::text and p.fingerprint > '' order by p.fingerprint limit 1)
  union all
  select (select p.fingerprint from @projections@ p where p.type = $1::text and p.fingerprint > f.fingerprint
           order by p.fingerprint limit 1)
    from sets f where f.fingerprint is not null
)
select s.fingerprint, c.updated_at
  from (select f.fingerprint from sets f where f.fingerprint is not null
        union
        select c.fingerprint from @checkpoints@ c where c.type = $1::text and c.position > 0) s
  left join @checkpoints@ c on c.type = $1::text and c.fingerprint = s.fingerprint
