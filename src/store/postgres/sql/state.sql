-- What stands in the schema $1 under the names $2, and whether the table $3 has values that were moved out of it for their size.
select c.relname::text, c.relkind::text,
       c.relname = $3::text and coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0) > 0
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1::text and c.relname = any ($2::text[])
