-- Makes a new session ours. $1 statement_timeout and $2 lock_timeout in milliseconds, $3 read-only, $4 plan_cache_mode. Plans by
-- sequential or bitmap scan, good on the empty table for which they are made, would stay until the statistics change. The writer's
-- plans are generic: PL/pgSQL would plan some statements of the append anew in each call.
select set_config('default_transaction_isolation', 'read committed', false),
       set_config('statement_timeout', $1, false),
       set_config('lock_timeout', $2, false),
       set_config('idle_in_transaction_session_timeout', $1, false),
       set_config('default_transaction_read_only', $3, false),
       set_config('standard_conforming_strings', 'on', false),
       set_config('client_min_messages', 'warning', false),
       set_config('plan_cache_mode', $4, false),
       set_config('jit', 'off', false),
       set_config('enable_seqscan', 'off', false),
       set_config('enable_bitmapscan', 'off', false)
