-- The functions of annal's in the schema $1: name, body, and whether this role may make them anew.
select p.proname::text, p.prosrc, pg_has_role(p.proowner, 'usage') and has_schema_privilege(n.oid, 'create')
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where n.nspname = $1::text and p.proname in ('annal_append_1', 'annal_append_rows_1', 'annal_newers_1', 'annal_newer_1', 'annal_matches_1')
