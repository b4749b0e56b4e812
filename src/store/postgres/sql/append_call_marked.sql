-- The same behind a pooler: the mark ($21, see orphan.c) is borne by the transaction, from before the append does anything.
select @append@($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
  from (select pg_catalog.pg_advisory_xact_lock_shared(@mark_class@, $21) offset 0) m
