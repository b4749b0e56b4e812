-- The same behind a pooler: the mark ($10, see orphan.c), and what session.sql sets in a session of our own ($11 lock_timeout), for this
-- transaction, from before the append does anything.
select @append_one@($1, $2, $3, $4, $5, $6, $7, $8, $9)
  from (select pg_catalog.pg_advisory_xact_lock_shared(@mark_class@, $10), pg_catalog.set_config('lock_timeout', $11, true),
               pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true), pg_catalog.set_config('jit', 'off', true),
               pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_bitmapscan', 'off', true)
         offset 0) m
