-- Ends the other server processes that bear the mark $1, as far as this role may, and counts those that it did not end.
select count(*) filter (where e.ended is not true)
  from pg_catalog.pg_locks k join pg_catalog.pg_stat_activity a on a.pid = k.pid
 cross join lateral (select case when pg_has_role(a.usesysid, 'usage') then @end@ end) e (ended)
 where k.locktype = 'advisory' and k.classid = @mark_class@ and k.objid = $1::int8::oid and k.objsubid = 2
   and k.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
   and k.pid <> pg_backend_pid()
