-- Ends the other server processes that bear the mark $1, as far as this role may, and counts them. They are this role's own, but for
-- programs that change their role after they have connected: then they are waited for.
select count(*), count(pg_terminate_backend(k.pid)) filter (where pg_has_role(a.usesysid, 'usage'))
  from pg_catalog.pg_locks k join pg_catalog.pg_stat_activity a on a.pid = k.pid
 where k.locktype = 'advisory' and k.classid = @mark_class@ and k.objid = $1::int8::oid and k.objsubid = 2
   and k.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
   and k.pid <> pg_backend_pid()
