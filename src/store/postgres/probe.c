/* What an engine that speaks PostgreSQL's protocol must really do. Role: asked once an open, for the order of the log stands on
 * it: that an advisory lock of one session keeps out another, and that a statement sees what was committed before it began. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static int run(pg_store *s, pg_conn *conn, const char *sql, const pg_call *call, PGresult **result, annal_error *error) {
  return pg_query(s, conn, sql, NULL, call, result, error);
}

static int fail_engine(pg_store *s, const char *what, annal_error *error) {
  return error_set(error, ANNAL_MISUSE, NULL, "%s is no server for annal: %s", s->place, what);
}

/* How long a pooler may let the second session wait, beyond the grace that a server has. */
#define POOLER_WAIT_US 1000

/* The second session's part, while the first holds the lock: it must not get it, and it commits a transaction of its own. */
static int probe_second(pg_store *s, pg_conn *second, uint32_t key, const pg_call *call, char transaction[32],
                        annal_error *error) {
  char sql[160];
  PGresult *result;
  bool pooled = s->base.options->pooled;
  pg_call soon = *call;
  if (pooled) soon.deadline = base_monotonic() + POOLER_WAIT_US;
  snprintf(sql, sizeof sql, "select pg_try_advisory_xact_lock(%d, %u), pg_current_xact_id()::text", PG_LOCK_PROBE, key);
  int code = run(s, second, sql, &soon, &result, error);
  if (code && pooled && pg_lost(second)) { /* one transaction at a time: there is nobody to be kept out, nothing to be seen */
    base_log(s->base.env, "warn", "%s: the pooler has no second session to try the lock with", s->place);
    return ANNAL_OK;
  }
  if (code) return code;
  if (pg_int(result, 0, 0)) code = fail_engine(s, "an advisory lock of one session did not keep out another", error);
  snprintf(transaction, 32, "%s", PQgetvalue(result, 0, 1));
  PQclear(result);
  return code;
}

static int probe_snapshot(pg_store *s, pg_conn *first, const char *transaction, const pg_call *call, annal_error *error) {
  pg_params params;
  PGresult *result = NULL;
  pg_params_init(&params, s->base.env);
  pg_params_text(&params, transaction);
  int code =
      pg_query(s, first, "select pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot())", &params, call, &result, error);
  if (!code && !pg_int(result, 0, 0)) code = fail_engine(s, "a statement did not see what was committed before it", error);
  PQclear(result);
  pg_params_free(&params);
  return code;
}

static int probe_lock(pg_store *s, pg_conn *first, pg_conn *second, const pg_call *call, annal_error *error) {
  uint32_t key = 0;
  if (getrandom(&key, sizeof key, 0) != (ssize_t)sizeof key)
    return error_set(error, ANNAL_UNAVAILABLE, NULL, "the system gives no random bytes");
  key &= 0x7FFFFFFF; /* an int4 */
  char sql[160], transaction[32] = "";
  snprintf(sql, sizeof sql, "begin isolation level read committed; select pg_advisory_xact_lock(%d, %u), pg_current_snapshot()",
           PG_LOCK_PROBE, key);
  int code = pg_script(s, first, sql, call, error);
  if (!code) code = probe_second(s, second, key, call, transaction, error);
  if (!code && transaction[0]) code = probe_snapshot(s, first, transaction, call, error);
  annal_error ignored;
  if (pg_script(s, first, "rollback", call, code ? &ignored : error) && !code) code = error->code;
  return code;
}

/* Behind a pooler sessions are shared: what annal sets on its own ones must be the role's default. */
static int check_pooled(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  char message[600];
  PGresult *result;
  int code = run(s, conn, postgres_sql("pooled.sql", NULL), call, &result, error);
  if (code) return code;
  const char *role = PQgetvalue(result, 0, 3);
  size_t used = 0;
  static const char *const wanted[] = {"default_transaction_isolation = 'read committed'", "statement_timeout = '30s'",
                                       "idle_in_transaction_session_timeout = '30s'"};
  message[0] = 0;
  for (int i = 0; i < 3; i++)
    if (!pg_int(result, 0, i))
      used += (size_t)snprintf(message + used, sizeof message - used, "ALTER ROLE \"%.63s\" SET %s; ", role, wanted[i]);
  PQclear(result);
  if (!used) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, NULL, "%s: pooled sessions are set up by their role's defaults; run: %s", s->place,
                   message);
}

int pg_probe(pg_store *s, pg_conn *first, pg_conn *second, const pg_call *call, annal_error *error) {
  if (s->base.options->pooled) {
    int code = check_pooled(s, first, call, error);
    if (code) return code;
  }
  return s->base.options->read_only ? ANNAL_OK : probe_lock(s, first, second, call, error);
}
