-- The same behind a pooler, as append_call_marked.sql.
select @append_rows@($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)
  from (select pg_catalog.pg_advisory_xact_lock_shared(@mark_class@, $28) offset 0) m
