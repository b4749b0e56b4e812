/* Server processes that a save may have left behind. Role: append.c asks for their end before it sends a save again.
 *
 * A connection that is lost during a save leaves a server process of which nobody knows what it will do: it may have committed, or
 * wait for the lock and store the events later, or not even have received the call yet. Sent again under the same ids, the save finds
 * what is stored; but what it is refused for may be over when the orphan comes to its turn: an id that its condition names is stored
 * meanwhile, a trigger changes its mind. So no answer is final while an orphan lives.
 *
 * Whatever saves for a handle bears the handle's mark, a shared advisory lock: the session of the writer, from before its first save
 * until it has ended; behind a pooler, where sessions are shared, the transaction of each save. To settle is to end all others that
 * bear it. That is done under the append lock: then an orphan has either ended its transaction, and what it stored is seen, or it has
 * not come to the lock, and will not come beyond it any more. (Otherwise the signal could also meet one that has committed and waits
 * for a synchronous standby, and what it stored would be visible before it is as durable as it is to be.)
 *
 * A role may end its own sessions, unless that was taken from it: then the orphan is waited for as long as the call has time, and the
 * answer is that it is in doubt. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include <stdio.h>
#include <sys/random.h>

int pg_make_mark(pg_store *s, annal_error *error) {
  uint32_t mark = 0;
  if (getrandom(&mark, sizeof mark, 0) != (ssize_t)sizeof mark)
    return error_set(error, ANNAL_UNAVAILABLE, NULL, "the system gives no random bytes");
  s->mark = (int32_t)(mark & 0x7FFFFFFF); /* an int4 */
  return ANNAL_OK;
}

int pg_bear_mark(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  if (conn->marked || s->base.options->pooled) return ANNAL_OK;
  char sql[96];
  snprintf(sql, sizeof sql, "select pg_advisory_lock_shared(" PG_LOCK_MARK ", %d)", (int)s->mark);
  int code = pg_script(s, conn, sql, call, error);
  conn->marked = !code;
  return code;
}

/* Signals the others, all of it under the append lock; *left: how many could not be signalled. */
static int end_others(pg_store *s, pg_conn *conn, const pg_call *call, int64_t *left, annal_error *error) {
  base_buf sql;
  char lock_ms[24];
  snprintf(lock_ms, sizeof lock_ms, "%lld", (long long)s->lock_ms);
  buf_init(&sql, s->base.env);
  pg_render(&sql, &s->names, (const pg_word[]){{"lock_ms", lock_ms}, {NULL, NULL}}, "orphans_lock.sql");
  int code = sql.failed ? error_memory(error) : pg_script(s, conn, sql.bytes, call, error);
  buf_clear(&sql);
  pg_params params;
  PGresult *result = NULL;
  pg_params_init(&params, s->base.env);
  pg_params_int(&params, s->mark);
  pg_render(&sql, &s->names, (const pg_word[]){{"end", s->may_not_end ? "false" : "pg_terminate_backend(k.pid)"}, {NULL, NULL}},
            "orphans_end.sql");
  if (!code) code = sql.failed ? error_memory(error) : pg_query(s, conn, sql.bytes, &params, call, &result, error);
  if (!code) *left = pg_int(result, 0, 0);
  PQclear(result);
  pg_params_free(&params);
  buf_free(&sql);
  annal_error ignored;
  if (pg_lost(conn)) return code;
  int ended = pg_script(s, conn, "rollback", call, code ? &ignored : error);
  if (ended) pg_disconnect(s, conn); /* it would hold the lock */
  return code ? code : ended;
}

int pg_settle_orphans(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  int pause_ms = PG_RETRY_FIRST_MS;
  while (s->unsettled) {
    int64_t left = 0;
    int code = end_others(s, conn, call, &left, error);
    if (code && !s->may_not_end && !pg_is_everybodys(error)) { /* permission denied, above all */
      s->may_not_end = true;
      continue;
    }
    if (code) return code;
    s->unsettled = left > 0;
    if (left > 0 && !pg_wait_before_retry(s, call, &pause_ms))
      return error_set(error, ANNAL_UNAVAILABLE, NULL,
                       pg_interrupted(s, call)
                           ? "interrupted"
                           : "%s: a session that a lost save has left behind does not end, and the role \"%s\" may not end it",
                       s->place, s->role);
  }
  return ANNAL_OK;
}

void pg_leave_orphans(pg_store *s) {
  if (s->may_not_end) s->unsettled = false;
}
