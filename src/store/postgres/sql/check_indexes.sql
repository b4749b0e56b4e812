-- The indexes that annal_meta speaks of: key, name, and whether it is whole (null: not there). $1 schema.
select m.key, m.name, i.indisvalid and i.indisready and i.indislive
  from (select key, case when key like 'index:%' then regexp_replace(key, '^index:[a-z]+:', '') else value end as name
          from @meta@ where key like 'data\_index:%' or key like 'projection\_index:%' or key like 'projection\_order:%' or key like 'metadata\_index:%'
             or key like 'index:%') m
  left join (pg_catalog.pg_class c
             join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = $1::text
             join pg_catalog.pg_index i on i.indexrelid = c.oid) on c.relname = m.name
 order by m.key
