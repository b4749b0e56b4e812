-- The rows of type $1: for each id the row of fingerprint $2, else its newest other one. Fingerprints are few: they are found one
-- after the other along the primary key, and each set is read along the index that the filter or the order has.
with recursive prints (fingerprint) as (
  (select p.fingerprint from @projections@ p where p.type = $1::text order by p.fingerprint limit 1)
  union all
  select (select p.fingerprint from @projections@ p where p.type = $1::text and p.fingerprint > f.fingerprint
           order by p.fingerprint limit 1)
    from prints f where f.fingerprint is not null
)
select p.id, p.data, p.position, p.latest_event_id, p.updated_at, p.fingerprint <> $2::text
  from prints f
 cross join lateral (
   select p.fingerprint, p.id, p.data, p.position, p.latest_event_id, p.updated_at@columns@
     from @projections@ p
    where p.type = $1::text and p.fingerprint = f.fingerprint@filter@
      and (f.fingerprint = $2::text
           or not exists (
             select from prints g
              cross join lateral (
                select o.position, o.updated_at, o.fingerprint from @projections@ o
                 where o.type = $1::text and o.fingerprint = g.fingerprint and o.id = p.id offset 0
              ) o
              where o.fingerprint = $2::text
                 or (o.position, o.updated_at, o.fingerprint) > (p.position, p.updated_at, p.fingerprint)))
   @first@
 ) p@order@
