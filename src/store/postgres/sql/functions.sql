-- The functions of annal's in the schema $1: name, body, whether this role may make them anew, and whether it may call them.
select p.proname::text, p.prosrc, pg_has_role(p.proowner, 'usage') and has_schema_privilege(n.oid, 'create'),
       has_function_privilege(p.oid, 'execute')
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where n.nspname = $1::text and p.proname in ('annal_append_1', 'annal_append_rows_1', 'annal_append_one_1', 'annal_append_new_1', 'annal_newers_1', 'annal_newer_1', 'annal_matches_1')
