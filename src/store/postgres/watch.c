/* Telling followers of commits, and hearing of them. Role: NOTIFY after an append, LISTEN and its fallback in a follower.
 *
 * A NOTIFY inside of the append would serialise all commits of the server, so it is sent after it, on the same connection, in a
 * transaction of its own that nobody waits for, and not more often than a follower that was woken looks by itself. It is a hint: a
 * writer may die before it sends one. So a follower looks now and then unasked, and a lost connection for hearing delays it by
 * no more than that. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/hash.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define TELL_EVERY_US 10000          /* of one process; within it a woken follower still looks by itself */
#define LOOK_AFTER_HINT_US 5000      /* once woken: every so often … */
#define LOOK_AFTER_HINT_FOR_US 50000 /* … until this long after the last hint */
#define LOOK_UNASKED_US 250000       /* while it can hear: in case nobody told */
#define LOOK_DEAF_US 20000           /* while it cannot: a standby, a pooler, a connection that is being made */
#define CONNECT_AGAIN_US 1000000
#define SLICE_US 50000 /* an interrupt is noticed after this at the latest */

/* The channel bears the names of schema and table as a hash: a store's own, whatever they are. */
static void channel_name(const pg_store *s, char name[HASH_TEXT_BYTES + 8]) {
  char names[256], hash[HASH_TEXT_BYTES];
  snprintf(names, sizeof names, "%s.%s", s->names.schema, s->names.events);
  hash_text(names, strlen(names), hash);
  snprintf(name, HASH_TEXT_BYTES + 8, "annal_%s", hash);
}

/* ---- Telling --------------------------------------------------------------------------------------------------------------- */

void pg_tell(pg_store *s) {
  pg_conn *conn = &s->writer;
  int64_t now = base_monotonic();
  if (now - s->told < TELL_EVERY_US || pg_lost(conn) || conn->sent) return;
  char channel[HASH_TEXT_BYTES + 8], sql[160];
  channel_name(s, channel);
  /* Without BEGIN the statements of one message are one transaction, which ends where an error or a late cancel ends them: a block
   * would stay open, failed, and every save after it would be refused. */
  snprintf(sql, sizeof sql, "set local synchronous_commit = off; notify %s", channel);
  s->told = now;
  /* What does not go out at once goes with the next statement; that is soon enough for a hint. */
  if (PQsendQuery(conn->pq, sql)) {
    conn->sent = true;
    PQflush(conn->pq);
  }
}

void pg_settle(pg_store *s, pg_conn *conn, const pg_call *call) {
  annal_error ignored;
  PGresult *result = NULL;
  if (!conn->sent) return;
  if (pg_receive(s, conn, call, &result, &ignored) == ANNAL_OK) PQclear(result);
}

/* ---- Hearing --------------------------------------------------------------------------------------------------------------- */

typedef enum ear { EAR_NONE, EAR_CONNECTING, EAR_ASKING, EAR_OPEN } ear;

struct store_watch {
  pg_store *s;
  PGconn *pq;
  ear state;
  PostgresPollingStatusType wants;
  int64_t connect_at;  /* monotonic: not before */
  int64_t hinted;      /* of the last hint */
  unsigned interrupts; /* there were, when it was last said */
};

static void close_ear(store_watch *w) {
  if (w->pq) PQfinish(w->pq);
  w->pq = NULL;
  w->state = EAR_NONE;
  w->connect_at = base_monotonic() + CONNECT_AGAIN_US;
}

static void drop_notice(void *context, const PGresult *result) {
  (void)context;
  (void)result;
}

/* One step towards hearing, without waiting. */
static void open_ear(store_watch *w) {
  char channel[HASH_TEXT_BYTES + 8], sql[96];
  if (w->state == EAR_NONE && base_monotonic() >= w->connect_at) {
    w->pq = PQconnectStartParams((const char *const *)w->s->keywords, (const char *const *)w->s->values, 0);
    w->state = EAR_CONNECTING;
    w->wants = PGRES_POLLING_WRITING;
    if (!w->pq || PQstatus(w->pq) == CONNECTION_BAD) close_ear(w);
    return;
  }
  if (w->state == EAR_CONNECTING) {
    w->wants = PQconnectPoll(w->pq);
    if (w->wants == PGRES_POLLING_FAILED) close_ear(w);
    if (w->wants != PGRES_POLLING_OK || !w->pq) return;
    PQsetNoticeReceiver(w->pq, drop_notice, NULL);
    channel_name(w->s, channel);
    snprintf(sql, sizeof sql, "listen %s", channel);
    if (PQsendQuery(w->pq, sql)) w->state = EAR_ASKING;
    else close_ear(w);
    return;
  }
  if (w->state == EAR_ASKING && PQconsumeInput(w->pq)) {
    while (w->state == EAR_ASKING && !PQisBusy(w->pq)) {
      PGresult *result = PQgetResult(w->pq);
      if (!result) {
        w->state = EAR_OPEN;
        w->hinted = base_monotonic(); /* what was committed before it could hear is looked for now */
      } else if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        close_ear(w);
      }
      PQclear(result);
    }
  } else if (w->state == EAR_ASKING) {
    close_ear(w);
  }
}

/* Takes in what was heard. */
static void listen(store_watch *w) {
  if (w->state != EAR_OPEN) return;
  if (!PQconsumeInput(w->pq)) {
    close_ear(w);
    return;
  }
  for (PGnotify *heard; (heard = PQnotifies(w->pq)) != NULL; PQfreemem(heard)) w->hinted = base_monotonic();
}

/* Waits until something is heard, or a step towards hearing can be made, but not beyond `moment`. */
static void wait_until(store_watch *w, int64_t moment) {
  int64_t left = moment - base_monotonic();
  if (left <= 0) return;
  if (left > SLICE_US) left = SLICE_US;
  struct pollfd waited = {.fd = w->pq ? PQsocket(w->pq) : -1, .events = POLLIN};
  if (w->state == EAR_CONNECTING && w->wants == PGRES_POLLING_WRITING) waited.events = POLLOUT;
  struct timespec limit = {.tv_sec = left / 1000000, .tv_nsec = (left % 1000000) * 1000};
  ppoll(&waited, 1, &limit, NULL);
}

int pg_watch_open(store *base, store_watch **watch, annal_error *error) {
  pg_store *s = (pg_store *)base;
  store_watch *w = base_calloc(s->base.env, 1, sizeof *w);
  if (!w) return error_memory(error);
  w->s = s;
  w->interrupts = atomic_load(&s->interrupts);
  /* LISTEN belongs to a session, which a pooler shares out, and a standby takes none. */
  w->connect_at = s->base.options->pooled || s->base.options->read_only ? INT64_MAX : 0;
  *watch = w;
  return ANNAL_OK;
}

void pg_watch_close(store_watch *w) {
  if (w->pq) PQfinish(w->pq);
  base_free(w->s->base.env, w);
}

int pg_watch_wait(store_watch *w, int64_t deadline, annal_error *error) {
  int64_t began = base_monotonic(), heard = w->hinted;
  for (;;) {
    if (atomic_load(&w->s->interrupts) != w->interrupts) {
      w->interrupts = atomic_load(&w->s->interrupts);
      return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    }
    if (w->state != EAR_OPEN) open_ear(w);
    listen(w);
    int64_t now = base_monotonic();
    int64_t pause = now - w->hinted < LOOK_AFTER_HINT_FOR_US ? LOOK_AFTER_HINT_US
                    : w->state == EAR_OPEN                   ? LOOK_UNASKED_US
                                                             : LOOK_DEAF_US;
    if (w->hinted != heard || now >= began + pause || now >= deadline) return ANNAL_OK;
    wait_until(w, began + pause < deadline ? began + pause : deadline);
  }
}

/* ---- Looking --------------------------------------------------------------------------------------------------------------- */

int pg_look(store *base, const store_head_info *place, store_head_info *head, store_sight *sight, annal_error *error) {
  pg_store *s = (pg_store *)base;
  pg_call call = pg_call_begin(s);
  base_buf sql;
  buf_init(&sql, s->base.env);
  pg_render(&sql, &s->names, NULL, "look.sql");
  *head = (store_head_info){0};
  *sight = place->position == 0 ? STORE_SAME : STORE_BEHIND;
  if (sql.failed) return error_memory(error);
  pg_params params;
  PGresult *result = NULL;
  pg_conn *conn = NULL;
  pg_params_init(&params, s->base.env);
  pg_params_int(&params, place->position);
  int code = pg_run_on(s, sql.bytes, &params, &call, &conn, &result, error);
  if (!code && PQntuples(result) == 1) {
    const char *newest = PQgetvalue(result, 0, 1), *there = pg_text(result, 0, 2);
    head->position = pg_int(result, 0, 0);
    memcpy(head->id, newest, strnlen(newest, sizeof head->id - 1));
    if (there && strcmp(there, place->id) == 0) *sight = STORE_SAME;
    else if (place->position > 0 && head->position >= place->position) *sight = STORE_REPLACED;
  }
  PQclear(result);
  /* Another connection may reach a server that does not lag. */
  if (!code && conn && *sight == STORE_BEHIND) pg_disconnect(s, conn);
  if (conn) pg_release(s, conn);
  pg_params_free(&params);
  buf_free(&sql);
  return code;
}
