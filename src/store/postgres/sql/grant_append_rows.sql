-- Whoever may append may do it with rows, and one event alone: a store that was made before there were those functions knows only the
-- one.
do $grant$
declare
  role_name name;
begin
  for role_name in
    select r.rolname from pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a, pg_catalog.pg_roles r
     where p.oid = '@append@'::regproc and a.privilege_type = 'EXECUTE' and r.oid = a.grantee and r.oid <> p.proowner
  loop
    execute format('grant execute on function @append_rows@, @append_one@, @append_new@ to %I', role_name);
  end loop;
end
$grant$;
