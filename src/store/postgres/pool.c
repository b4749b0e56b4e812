/* The connections for reading. Role: lends one to a call at a time; connects on demand, up to options.connections.
 *
 * A cursor that has asked for its next page gives its connection back while its caller is busy with the page before. When all
 * connections are taken so, the page of one is fetched to its cursor and the connection lent: a program that reads inside of the
 * reading of others never waits for itself. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "store/postgres/cursor.h"
#include <errno.h>
#include <time.h>

/* In order of preference: idle; not yet connected; idle but with an answer that nobody wants any more; a cursor's. */
static pg_conn *choose(pg_store *s) {
  pg_conn *fresh = NULL, *unwanted = NULL, *ahead = NULL;
  for (size_t i = 0; i < s->reader_count; i++) {
    pg_conn *conn = &s->readers[i];
    if (conn->lent) continue;
    if (conn->ahead) {
      if (!ahead) ahead = conn;
    } else if (!conn->pq) {
      if (!fresh) fresh = conn;
    } else if (conn->sent) {
      if (!unwanted) unwanted = conn;
    } else {
      return conn;
    }
  }
  return fresh ? fresh : unwanted ? unwanted : ahead;
}

/* Waits for a connection to come back, in slices, so that an interrupt and the deadline are seen. */
static bool wait_turn(pg_store *s, const pg_call *call) {
  if (pg_interrupted(s, call) || base_monotonic() >= call->deadline) return false;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 100000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_cond_timedwait(&s->pool_free, &s->pool_lock, &until);
  return true;
}

/* Throws an answer away that nobody waits for. */
static void drain(pg_store *s, pg_conn *conn, const pg_call *call) {
  annal_error ignored;
  PGresult *result;
  if (pg_receive(s, conn, call, &result, &ignored) == ANNAL_OK) PQclear(result);
}

int pg_acquire(pg_store *s, const pg_call *call, pg_conn **out, annal_error *error) {
  pg_conn *conn;
  *out = NULL;
  pthread_mutex_lock(&s->pool_lock);
  while (!(conn = choose(s))) {
    if (wait_turn(s, call)) continue;
    pthread_mutex_unlock(&s->pool_lock);
    if (pg_interrupted(s, call)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    return error_set(error, ANNAL_BUSY, NULL, "all %zu connections for reading were busy; raise connections", s->reader_count);
  }
  conn->lent = true;
  pg_cursor *owner = conn->ahead;
  conn->ahead = NULL;
  if (owner) owner->fetching = true;
  pthread_mutex_unlock(&s->pool_lock);
  if (owner) {
    pg_cursor_fetch(owner, conn);
    pthread_mutex_lock(&s->pool_lock);
    owner->fetching = false;
    pthread_cond_broadcast(&s->pool_free);
    pthread_mutex_unlock(&s->pool_lock);
  } else if (conn->sent) {
    drain(s, conn, call);
  }
  int result = pg_alive(conn) ? ANNAL_OK : pg_connect(s, conn, call, error);
  if (result) pg_release(s, conn);
  else *out = conn;
  return result;
}

int pg_acquire_own(pg_store *s, const pg_call *call, pg_conn **out, annal_error *error) {
  pg_conn *conn = NULL;
  pthread_mutex_lock(&s->pool_lock);
  do {
    for (size_t i = 0; i < s->reader_count; i++)
      if (!s->own[i].lent && (!conn || (!conn->pq && s->own[i].pq))) conn = &s->own[i];
  } while (!conn && wait_turn(s, call));
  if (conn) conn->lent = true;
  pthread_mutex_unlock(&s->pool_lock);
  *out = conn;
  if (conn) return ANNAL_OK;
  if (pg_interrupted(s, call)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  return error_set(error, ANNAL_BUSY, NULL, "%zu transactions were under way; raise connections", s->reader_count);
}

void pg_release(pg_store *s, pg_conn *conn) {
  pthread_mutex_lock(&s->pool_lock);
  conn->lent = false;
  pthread_cond_broadcast(&s->pool_free); /* who waits, waits for one of two kinds */
  pthread_mutex_unlock(&s->pool_lock);
}

/* A cancel meant for the statement before may arrive late. */
static bool was_cancelled_by_chance(const pg_store *s, const pg_call *call, const annal_error *error) {
  return error->sqlstate[0] == '5' && error->sqlstate[1] == '7' && error->sqlstate[3] == '1' && error->sqlstate[4] == '4' &&
         !pg_interrupted(s, call) && base_monotonic() + 10000 < call->deadline;
}

int pg_run_on(pg_store *s, const char *sql, const pg_params *params, const pg_call *call, pg_conn **conn, PGresult **result,
              annal_error *error) {
  int code = ANNAL_OK;
  for (int attempt = 0; attempt < 2; attempt++) {
    code = pg_acquire(s, call, conn, error);
    if (code || !*conn) return code;
    code = pg_query(s, *conn, sql, params, call, result, error);
    if (!code) return ANNAL_OK;
    bool again = (pg_lost(*conn) || was_cancelled_by_chance(s, call, error)) && !pg_interrupted(s, call);
    pg_release(s, *conn);
    *conn = NULL;
    if (!again) break;
  }
  return code;
}

int pg_run(pg_store *s, const char *sql, const pg_params *params, const pg_call *call, PGresult **result, annal_error *error) {
  pg_conn *conn = NULL;
  int code = pg_run_on(s, sql, params, call, &conn, result, error);
  if (conn) pg_release(s, conn);
  return code;
}
