/* One connection: connecting within a deadline, statements prepared by their text, waiting for answers. Role: everything that
 * talks to libpq goes through here; nothing blocks but poll, so that a deadline and an interrupt always end a wait. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/hash.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Being interrupted --------------------------------------------------------------------------------------------------- */

/* A cancel object is visible to pg_interrupt only while a statement is under way. */
static void set_cancellable(pg_store *s, pg_conn *conn, bool on) {
  atomic_store(&s->cancels[conn->place], on ? s->cancel_owned[conn->place] : NULL);
}

static void free_cancel(pg_store *s, pg_conn *conn) {
  set_cancellable(s, conn, false);
  /* An interrupt under way on another thread may hold the object; one in a signal handler of this thread has returned. */
  while (atomic_load(&s->interrupting) > 0) poll(NULL, 0, 1);
  PQfreeCancel(s->cancel_owned[conn->place]);
  s->cancel_owned[conn->place] = NULL;
}

/* ---- Connecting ---------------------------------------------------------------------------------------------------------- */

static void drop_notice(void *context, const PGresult *result) {
  (void)context;
  (void)result;
}

/* `lent` and `ahead` are the pool's, and may be read at this moment. */
void pg_disconnect(pg_store *s, pg_conn *conn) {
  free_cancel(s, conn);
  if (conn->pq) PQfinish(conn->pq);
  conn->pq = NULL;
  conn->statement_count = 0;
  conn->next_name = 0;
  conn->sent = conn->used = conn->marked = false;
}

static int fail_connect(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  int result = pg_fail(s, conn, NULL, call, error);
  pg_disconnect(s, conn);
  return result;
}

static int poll_connect(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  while (status != PGRES_POLLING_OK) {
    if (pg_interrupted(s, call)) {
      pg_disconnect(s, conn);
      return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted while connecting to %s", s->place);
    }
    short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (!pg_wait(s, conn->pq, events, call)) {
      pg_disconnect(s, conn);
      return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s does not answer", s->place);
    }
    status = PQconnectPoll(conn->pq);
    if (status == PGRES_POLLING_FAILED) return fail_connect(s, conn, call, error);
  }
  return ANNAL_OK;
}

static int check_server(pg_store *s, pg_conn *conn, annal_error *error) {
  int version = PQserverVersion(conn->pq);
  const char *encoding = PQparameterStatus(conn->pq, "server_encoding");
  if (version < PG_VERSION_MIN)
    return error_set(error, ANNAL_MISUSE, NULL, "%s is PostgreSQL %d.%d; annal needs %d or newer", s->place, version / 10000,
                     version % 10000, PG_VERSION_MIN / 10000);
  if (encoding && strcmp(encoding, "UTF8") != 0)
    return error_set(error, ANNAL_MISUSE, NULL, "%s is encoded as %s; annal needs a database with ENCODING 'UTF8'", s->place,
                     encoding);
  return ANNAL_OK;
}

static int set_session(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  conn->plans_once = false;
  if (s->base.options->pooled) return ANNAL_OK; /* the session is shared with others: pg_probe looks at it */
  pg_params params;
  pg_params_init(&params, s->base.env);
  char timeout[24], lock[24];
  snprintf(timeout, sizeof timeout, "%lld", (long long)(s->timeout / 1000));
  snprintf(lock, sizeof lock, "%lld", (long long)s->lock_ms);
  pg_params_text(&params, timeout);
  pg_params_text(&params, lock);
  pg_params_text(&params, s->base.options->read_only ? "on" : "off");
  pg_params_text(&params, conn == &s->writer ? "force_generic_plan" : "auto");
  PGresult *result = NULL;
  int code = pg_query(s, conn, postgres_sql("session.sql", NULL), &params, call, &result, error);
  PQclear(result);
  pg_params_free(&params);
  return code;
}

int pg_connect(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  pg_disconnect(s, conn);
  conn->pq = PQconnectStartParams((const char *const *)s->keywords, (const char *const *)s->values, 0);
  if (!conn->pq) return error_memory(error);
  if (PQstatus(conn->pq) == CONNECTION_BAD) return fail_connect(s, conn, call, error);
  int result = poll_connect(s, conn, call, error);
  if (result) return result;
  PQsetNoticeReceiver(conn->pq, drop_notice, NULL);
  s->cancel_owned[conn->place] = PQgetCancel(conn->pq);
  if (PQsetnonblocking(conn->pq, 1) != 0) result = fail_connect(s, conn, call, error);
  if (!result) result = check_server(s, conn, error);
  if (!result) result = set_session(s, conn, call, error);
  if (result && conn->pq) pg_disconnect(s, conn);
  return result;
}

bool pg_lost(const pg_conn *conn) { return !conn->pq || PQstatus(conn->pq) == CONNECTION_BAD; }

bool pg_alive(pg_conn *conn) {
  if (pg_lost(conn)) return false;
  struct pollfd waited = {.fd = PQsocket(conn->pq), .events = POLLIN};
  if (conn->sent || poll(&waited, 1, 0) <= 0) return true;
  /* Between statements a server speaks only to say good-bye (or to report a setting). */
  return PQconsumeInput(conn->pq) == 1 && !pg_lost(conn);
}

/* ---- Parameters ---------------------------------------------------------------------------------------------------------- */

void pg_params_init(pg_params *params, const base_env *env) { *params = (pg_params){.env = env}; }

void pg_params_free(pg_params *params) {
  base_free(params->env, params->values);
  base_free(params->env, params->lengths);
  base_free(params->env, params->formats);
  base_free(params->env, params->types);
  base_free(params->env, params->numbers);
  pg_params_init(params, params->env);
}

static bool grow(const base_env *env, void *pointer, size_t count, size_t size) {
  void *old, *moved;
  memcpy(&old, pointer, sizeof old);
  moved = base_realloc(env, old, count * size);
  if (moved) memcpy(pointer, &moved, sizeof moved);
  return moved != NULL;
}

static bool add_param(pg_params *p, Oid type, const char *bytes, int length, int format) {
  if (p->failed) return false;
  if (p->count == p->capacity) {
    size_t capacity = p->capacity ? (size_t)p->capacity * 2 : 32;
    if (!grow(p->env, &p->values, capacity, sizeof *p->values) || !grow(p->env, &p->lengths, capacity, sizeof *p->lengths) ||
        !grow(p->env, &p->formats, capacity, sizeof *p->formats) || !grow(p->env, &p->types, capacity, sizeof *p->types) ||
        !grow(p->env, &p->numbers, capacity, sizeof *p->numbers)) {
      p->failed = true;
      return false;
    }
    p->capacity = (int)capacity;
  }
  p->values[p->count] = bytes;
  p->lengths[p->count] = length;
  p->formats[p->count] = format;
  p->types[p->count++] = type;
  return true;
}

void pg_params_text(pg_params *p, const char *text) { add_param(p, PG_TEXT, text, 0, 0); }

void pg_params_binary(pg_params *p, Oid type, const char *bytes, size_t size) {
  if (size > INT32_MAX) p->failed = true;
  else add_param(p, type, bytes, (int)size, 1);
}

/* What is sent of a number lies in `numbers`, which moves as it grows: pg_send points there. */
void pg_params_int(pg_params *p, int64_t value) {
  if (add_param(p, PG_INT8, "", 8, 2)) pg_put64(p->numbers[p->count - 1], value);
}

void pg_params_clock(const pg_store *s, pg_params *params, char bytes[8]) {
  if (s->host_clock) pg_put64(bytes, base_now(s->base.env) - PG_EPOCH);
  pg_params_binary(params, PG_TIMESTAMPTZ, s->host_clock ? bytes : NULL, 8);
}

void pg_params_query(pg_params *params, const query *q) {
  params->failed |= q->failed;
  for (size_t i = 0; i < q->count; i++) {
    if (q->params[i].text) pg_params_text(params, q->params[i].text);
    else pg_params_int(params, q->params[i].integer);
  }
}

static int finish_params(pg_params *p, annal_error *error) {
  if (p->failed) return error_memory(error);
  for (int i = 0; i < p->count; i++)
    if (p->formats[i] == 2) {
      p->values[i] = p->numbers[i];
      p->formats[i] = 1;
    }
  return ANNAL_OK;
}

/* ---- Statements ---------------------------------------------------------------------------------------------------------- */

static int flush(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  for (;;) {
    int left = PQflush(conn->pq);
    if (left == 0) return ANNAL_OK;
    if (left < 0) return pg_fail(s, conn, NULL, call, error);
    if (!pg_wait(s, conn->pq, POLLIN | POLLOUT, call)) {
      pg_disconnect(s, conn);
      return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s does not take what is sent to it", s->place);
    }
    /* A server that sends while we do must be read, or both wait for ever. */
    if (!PQconsumeInput(conn->pq)) return pg_fail(s, conn, NULL, call, error);
  }
}

/* Waits for the next result; *result NULL: the answer has ended. */
static int next_result(pg_store *s, pg_conn *conn, const pg_call *call, PGresult **result, annal_error *error) {
  pg_call late = *call; /* the server is to report its own timeout */
  late.deadline += PG_GRACE;
  while (PQisBusy(conn->pq)) {
    if (!pg_wait_answer(s, conn, &late)) {
      pg_disconnect(s, conn);
      return error_set(error, ANNAL_UNAVAILABLE, NULL,
                       pg_interrupted(s, call) ? "interrupted; %s did not confirm it" : "%s does not answer", s->place);
    }
    if (!PQconsumeInput(conn->pq)) break; /* lost: PQgetResult says so */
  }
  *result = PQgetResult(conn->pq);
  return ANNAL_OK;
}

static bool is_good(const PGresult *result) {
  ExecStatusType status = PQresultStatus(result);
  return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
}

static bool is_copy(const PGresult *result) {
  ExecStatusType status = PQresultStatus(result);
  return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* A statement has taken effect only when the server is ready again: its commit, and an error in it, come after the result. So the
 * whole answer is read, and an error anywhere in it counts. */
int pg_receive(pg_store *s, pg_conn *conn, const pg_call *call, PGresult **result, annal_error *error) {
  PGresult *good = NULL, *part = NULL;
  int code = ANNAL_OK;
  *result = NULL;
  for (;;) {
    int broken = next_result(s, conn, call, &part, error);
    if (broken) {
      PQclear(good);
      return broken;
    }
    if (!part) break;
    if (is_copy(part)) { /* libpq would answer it for ever */
      PQclear(part);
      PQclear(good);
      pg_disconnect(s, conn);
      return error_set(error, ANNAL_MISUSE, NULL, "the data of COPY travels by a way of its own; use INSERT");
    }
    if (!is_good(part)) {
      if (!code) code = pg_fail(s, conn, part, call, error);
      PQclear(part);
      if (pg_lost(conn)) break;
    } else {
      PQclear(good);
      good = part;
    }
  }
  conn->sent = false;
  set_cancellable(s, conn, false);
  if (!code && pg_lost(conn)) code = pg_fail(s, conn, NULL, call, error);
  if (code) PQclear(good);
  else *result = good;
  return code;
}

static uint64_t text_hash(const char *sql) {
  char text[HASH_TEXT_BYTES];
  uint64_t hash = 0;
  hash_text(sql, strlen(sql), text);
  for (size_t i = 0; i < 16; i++) hash = hash << 4 | (uint64_t)(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
  return hash;
}

static void statement_name(uint32_t number, char name[32]) { snprintf(name, 32, "annal_%u", number); }

/* Gives up the statement that was made first: shapes that are in use are soon prepared again. */
static int forget_oldest(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  char sql[64];
  snprintf(sql, sizeof sql, "deallocate annal_%u", conn->names[0]);
  memmove(conn->statements, conn->statements + 1, (PG_STATEMENTS - 1) * sizeof *conn->statements);
  memmove(conn->names, conn->names + 1, (PG_STATEMENTS - 1) * sizeof *conn->names);
  conn->statement_count--;
  return pg_script(s, conn, sql, call, error);
}

/* The name of the statement, prepared now if this connection has not met it. */
static int prepare(pg_store *s, pg_conn *conn, const char *sql, const pg_params *params, const pg_call *call, char name[32],
                   annal_error *error) {
  uint64_t hash = text_hash(sql);
  for (size_t i = 0; i < conn->statement_count; i++)
    if (conn->statements[i] == hash) {
      statement_name(conn->names[i], name);
      return ANNAL_OK;
    }
  int result = conn->statement_count == PG_STATEMENTS ? forget_oldest(s, conn, call, error) : ANNAL_OK;
  if (result) return result;
  uint32_t number = ++conn->next_name;
  statement_name(number, name);
  set_cancellable(s, conn, true);
  if (!PQsendPrepare(conn->pq, name, sql, params ? params->count : 0, params ? params->types : NULL))
    return pg_fail(s, conn, NULL, call, error);
  PGresult *answer = NULL;
  result = flush(s, conn, call, error);
  if (!result) result = pg_receive(s, conn, call, &answer, error);
  PQclear(answer);
  if (result) return result;
  conn->statements[conn->statement_count] = hash;
  conn->names[conn->statement_count++] = number;
  return ANNAL_OK;
}

/* Hands the statement to libpq; flush sends it. */
static int submit(pg_store *s, pg_conn *conn, const char *sql, const pg_params *params, const pg_call *call, annal_error *error) {
  static const pg_params none;
  const pg_params *p = params ? params : &none;
  if (params) {
    int failed = finish_params((pg_params *)params, error);
    if (failed) return failed;
  }
  int sent;
  if (s->base.options->pooled) {
    set_cancellable(s, conn, true);
    sent = PQsendQueryParams(conn->pq, sql, p->count, p->types, p->values, p->lengths, p->formats, 1);
  } else {
    char name[32];
    int result = prepare(s, conn, sql, params, call, name, error);
    if (result) return result;
    set_cancellable(s, conn, true);
    sent = PQsendQueryPrepared(conn->pq, name, p->count, p->values, p->lengths, p->formats, 1);
  }
  if (!sent) return pg_fail(s, conn, NULL, call, error);
  conn->sent = conn->submitted = true;
  return ANNAL_OK;
}

/* Of connections for reading alone: behind a pooler nothing is prepared, and in a transaction of the caller's it would be undone with
 * that. */
static int set_plans(pg_store *s, pg_conn *conn, pg_plans plans, const pg_call *call, annal_error *error) {
  bool once = plans == PG_PLANS_ONCE, reads = conn >= s->readers && conn < s->readers + s->reader_count;
  if (plans == PG_PLANS_ANY || once == conn->plans_once || !reads || s->base.options->pooled) return ANNAL_OK;
  int code = pg_script(s, conn, once ? "set plan_cache_mode = force_generic_plan" : "set plan_cache_mode = auto", call, error);
  if (!code) conn->plans_once = once;
  return code;
}

int pg_send(pg_store *s, pg_conn *conn, const char *sql, const pg_params *params, const pg_call *call, annal_error *error) {
  int code = params ? set_plans(s, conn, params->plans, call, error) : ANNAL_OK;
  if (!code) code = submit(s, conn, sql, params, call, error);
  return code ? code : flush(s, conn, call, error);
}

int pg_query(pg_store *s, pg_conn *conn, const char *sql, const pg_params *params, const pg_call *call, PGresult **result,
             annal_error *error) {
  *result = NULL;
  int code = pg_send(s, conn, sql, params, call, error);
  return code ? code : pg_receive(s, conn, call, result, error);
}

int pg_query_text(pg_store *s, pg_conn *conn, const char *sql, const char *const *values, int count, const pg_call *call,
                  PGresult **result, annal_error *error) {
  *result = NULL;
  set_cancellable(s, conn, true);
  if (!PQsendQueryParams(conn->pq, sql, count, NULL, values, NULL, NULL, 0)) return pg_fail(s, conn, NULL, call, error);
  conn->sent = conn->submitted = true;
  int code = flush(s, conn, call, error);
  return code ? code : pg_receive(s, conn, call, result, error);
}

int pg_reset(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error) {
  if (s->base.options->pooled) return ANNAL_OK; /* the pooler's to undo */
  int code = pg_script(s, conn, "discard all", call, error);
  conn->statement_count = 0;
  conn->used = false;
  return code ? code : set_session(s, conn, call, error);
}

int pg_script(pg_store *s, pg_conn *conn, const char *sql, const pg_call *call, annal_error *error) {
  set_cancellable(s, conn, true);
  if (!PQsendQuery(conn->pq, sql)) return pg_fail(s, conn, NULL, call, error);
  conn->sent = true;
  PGresult *result = NULL;
  int code = flush(s, conn, call, error);
  if (!code) code = pg_receive(s, conn, call, &result, error);
  PQclear(result);
  return code;
}

/* ---- Values of results --------------------------------------------------------------------------------------------------- */

int32_t pg_get32(const char *bytes) {
  const unsigned char *b = (const unsigned char *)bytes;
  return (int32_t)((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
}

int64_t pg_get64(const char *bytes) {
  return (int64_t)((uint64_t)(uint32_t)pg_get32(bytes) << 32 | (uint32_t)pg_get32(bytes + 4));
}

void pg_put64(char bytes[8], int64_t value) {
  for (int i = 7; i >= 0; i--, value >>= 8) bytes[i] = (char)(value & 255);
}

void pg_put32(char bytes[4], int64_t value) {
  for (int i = 3; i >= 0; i--, value >>= 8) bytes[i] = (char)(value & 255);
}

int64_t pg_int(const PGresult *result, int row, int column) {
  if (PQgetisnull(result, row, column)) return 0;
  const char *bytes = PQgetvalue(result, row, column);
  switch (PQgetlength(result, row, column)) {
  case 8: return pg_get64(bytes);
  case 4: return pg_get32(bytes);
  case 2: return (int16_t)((unsigned char)bytes[0] << 8 | (unsigned char)bytes[1]);
  case 1: return bytes[0];
  default: return 0;
  }
}

int64_t pg_time(const PGresult *result, int row, int column) {
  return PQgetisnull(result, row, column) ? 0 : pg_get64(PQgetvalue(result, row, column)) + PG_EPOCH;
}

const char *pg_text(const PGresult *result, int row, int column) {
  return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}
