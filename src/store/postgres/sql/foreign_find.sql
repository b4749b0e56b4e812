-- The tables that $1 may mean, those of the original's shape first: with their schema or without, and with the dot in the table's
-- own name, as the original names them. Of each the columns that it lacks (a table of annal's own has its data as json, and is
-- none), and whether $1 named the schema too, which then decides.
select n.nspname::text, c.relname::text,
       (select string_agg(w.name || ' ' || w.type, ', ')
          from (values ('id', 'text'), ('type', 'text'), ('data', 'jsonb'),
                       ('created_at', 'timestamp with time zone')) w(name, type)
         where not exists (select from pg_catalog.pg_attribute a
                            where a.attrelid = c.oid and a.attname::text = w.name and a.attnum > 0 and not a.attisdropped
                              and pg_catalog.format_type(a.atttypid, null) = w.type)) as lacks,
       n.nspname::text || '.' || c.relname::text = $1 as qualified
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f')
   and n.nspname::text not in ('pg_catalog', 'information_schema', 'pg_toast')
   and (c.relname::text = $1 or n.nspname::text || '.' || c.relname::text = $1)
 order by lacks nulls first, qualified desc, n.nspname, c.relname
 limit 10
