-- Every set: its rows, how far it has come and when, its parked instances, and since when the next event waits for it.
select s.type, s.fingerprint,
       (select count(*) from @projections@ p where p.type = s.type and p.fingerprint = s.fingerprint),
       c.position, c.updated_at,
       (select count(*) from @parked@ k where k.type = s.type and k.fingerprint = s.fingerprint),
       (select e.created_at from @events@ e where e.position = c.position + 1)
  from (select distinct p.type, p.fingerprint from @projections@ p where p.fingerprint <> ''
        union
        select c.type, c.fingerprint from @checkpoints@ c) s
  left join @checkpoints@ c on c.type = s.type and c.fingerprint = s.fingerprint
 order by s.type, s.fingerprint
