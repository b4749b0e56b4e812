-- What differs from the tables and functions as annal makes them, one line each. $1 schema, $2 events, $3 projections.
with wanted (relation, col, kind, required) as (values
  ($2::text, 'position', 'bigint', true), ($2, 'id', 'text', true), ($2, 'type', 'text', true), ($2, 'version', 'integer', true),
  ($2, 'data', 'json', true), ($2, 'metadata', 'json', false), ($2, 'created_at', 'timestamp with time zone', true),
  ($3::text, 'type', 'text', true), ($3, 'fingerprint', 'text', true), ($3, 'id', 'text', true), ($3, 'state', 'json', false),
  ($3, 'data', 'json', true), ($3, 'position', 'bigint', true), ($3, 'latest_event_id', 'text', true),
  ($3, 'created_at', 'timestamp with time zone', true), ($3, 'updated_at', 'timestamp with time zone', true)
), relations as (
  select c.oid, c.relname::text as relation from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where n.nspname = $1::text
)
select format('the column %s of the table "%s" is not as annal made it', w.col, w.relation)
  from wanted w join relations r using (relation)
  left join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attname = w.col and not a.attisdropped
 where a.attnum is null or format_type(a.atttypid, null) <> w.kind or a.attnotnull <> w.required
    or (w.kind = 'text' and a.attcollation <> 'pg_catalog."C"'::regcollation)
union all
select format('the table "%s" lacks its primary key, or the uniqueness of its ids', r.relation)
  from relations r
 where r.relation in ($2, $3)
   and (not exists (select from pg_catalog.pg_index i where i.indrelid = r.oid and i.indisprimary and i.indisvalid)
        or (r.relation = $2
            and not exists (select from pg_catalog.pg_index i
                             join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum = i.indkey[0]
                             where i.indrelid = r.oid and i.indisunique and i.indisvalid and i.indnkeyatts = 1 and a.attname = 'id')))
union all
select format('the function %s is missing, or not as annal made it', f.name)
  from (values ('annal_append_1', true), ('annal_append_rows_1', false), ('annal_append_one_1', true), ('annal_append_new_1', true), ('annal_newers_1', false), ('annal_newer_1', false), ('annal_matches_1', false)) as f (name, definer)
 where not exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                    where n.nspname = $1 and p.proname = f.name and p.prosecdef = f.definer)
union all
select format('everybody may append: revoke all on function %I.%I from public', $1, p.proname)
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as g
 where n.nspname = $1 and p.proname in ('annal_append_1', 'annal_append_one_1', 'annal_append_new_1') and g.grantee = 0
