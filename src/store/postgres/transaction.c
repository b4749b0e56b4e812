/* Transactions of the caller's: a connection to themselves from the first statement to the end, so that other saves go on. Role:
 * session of the backend; see store/transaction.h. The append lock is taken by the last statement before COMMIT. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include "base/text.h"
#include "store/session.h"
#include "json/json.h"
#include "json/json_scan.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct pg_session {
  store_session base;
  pg_store *s;
  pg_conn *conn; /* NULL: not begun */
  bool open;     /* a transaction is under way on it */
  bool ran;      /* it holds more than saves, so that constraints may wait to be checked */
  pg_call call;
} pg_session;

/* ---- Beginning --------------------------------------------------------------------------------------------------------- */

/* What annal sets for its own statements on a store's small set of plans is no good for others: back to the role's settings. */
static const char own_settings[] = "reset jit; reset enable_seqscan; reset enable_bitmapscan; reset client_min_messages";

/* A connection as it was made, whatever was done on it last: by a transaction, or by a piece of annal's own (kept.c). */
static int make_ready(pg_session *t, annal_error *error) {
  pg_store *s = t->s;
  int code = ANNAL_OK;
  if (!pg_alive(t->conn)) code = pg_connect(s, t->conn, &t->call, error);
  else if (t->conn->used) code = pg_reset(s, t->conn, &t->call, error);
  if (!code && !s->base.options->pooled) code = pg_script(s, t->conn, own_settings, &t->call, error);
  if (!code) t->conn->used = true;
  return code;
}

/* Nothing depends on it yet, so it is tried once more when the connection proves lost. */
static int open_transaction(pg_session *t, annal_error *error) {
  int code = ANNAL_OK;
  for (int attempt = 0; attempt < 2; attempt++) {
    code = make_ready(t, error);
    if (!code) code = pg_script(t->s, t->conn, "begin isolation level read committed", &t->call, error);
    if (!code || !pg_lost(t->conn) || pg_interrupted(t->s, &t->call)) break;
  }
  t->open = !code;
  return code;
}

/* Each statement has the whole timeout; an interruption ends all of it. */
static int begin(pg_session *t, annal_error *error) {
  t->call.deadline = base_monotonic() + t->s->timeout;
  if (t->open) return ANNAL_OK;
  int code = pg_acquire_own(t->s, &t->call, &t->conn, error);
  if (code) {
    t->conn = NULL;
    return code;
  }
  return open_transaction(t, error);
}

static void roll_back(pg_session *t) {
  annal_error ignored;
  pg_call call = pg_call_begin(t->s); /* what has ended the transaction is not to end this */
  if (t->open && !pg_lost(t->conn) && pg_script(t->s, t->conn, "rollback", &call, &ignored)) pg_disconnect(t->s, t->conn);
  t->open = false;
}

/* ---- Statements -------------------------------------------------------------------------------------------------------- */

#define NUMBER_BYTES JSON_DOUBLE_BYTES

/* A value as PostgreSQL reads it, in `room` where it is none yet. */
static const char *value_text(const store_value *value, char room[NUMBER_BYTES]) {
  switch (value->kind) {
  case STORE_TEXT: return value->text;
  case STORE_INTEGER: snprintf(room, NUMBER_BYTES, "%lld", (long long)value->integer); return room;
  case STORE_BOOLEAN: return value->integer ? "true" : "false";
  case STORE_FLOAT: {
    size_t size = json_double_text(value->number, room);
    if (size > 2 && strcmp(room + size - 2, ".0") == 0) room[size - 2] = 0; /* 2.0 is an integer where one is wanted */
    return room;
  }
  case STORE_NULL: break;
  }
  return NULL;
}

static bool read_float(const char *text, size_t size, double *number) {
  if (strcmp(text, "NaN") == 0) *number = NAN;
  else if (strcmp(text, "Infinity") == 0) *number = INFINITY;
  else if (strcmp(text, "-Infinity") == 0) *number = -INFINITY;
  else return json_read_double(text, text + size, number);
  return true;
}

enum { TYPE_FLOAT4 = 700, TYPE_FLOAT8 = 701, TYPE_INT2 = 21, TYPE_OID = 26 };

static store_value read_value(const PGresult *result, int row, int column) {
  if (PQgetisnull(result, row, column)) return (store_value){.kind = STORE_NULL};
  const char *text = PQgetvalue(result, row, column);
  store_value value = {.kind = STORE_TEXT, .text = text, .size = (size_t)PQgetlength(result, row, column)};
  switch (PQftype(result, column)) {
  case PG_BOOL:
    value.kind = STORE_BOOLEAN;
    value.integer = text[0] == 't';
    break;
  case PG_INT4:
  case PG_INT8:
  case TYPE_INT2:
  case TYPE_OID:
    if (text_to_int(text, &value.integer)) value.kind = STORE_INTEGER;
    break;
  case TYPE_FLOAT4:
  case TYPE_FLOAT8:
    if (read_float(text, value.size, &value.number)) value.kind = STORE_FLOAT;
    break;
  default: break;
  }
  return value;
}

static int take_result(PGresult *from, result_builder *result, annal_error *error) {
  if (!from || PQresultStatus(from) == PGRES_EMPTY_QUERY)
    return error_set(error, ANNAL_MISUSE, "sql", "there is no statement in it");
  for (int i = 0; i < PQnfields(from); i++) result_column(result, PQfname(from, i));
  result->result.has_rows = PQresultStatus(from) == PGRES_TUPLES_OK;
  for (int row = 0; row < PQntuples(from); row++)
    for (int i = 0; i < PQnfields(from); i++) {
      store_value value = read_value(from, row, i);
      result_add(result, &value);
    }
  if (!text_to_int(PQcmdTuples(from), &result->result.changed)) result->result.changed = 0;
  return ANNAL_OK;
}

/* What the server says of the caller's own tables and words must not sound as if it were of annal's. */
static int run_theirs(pg_session *t, const char *sql, const char *const *values, size_t count, PGresult **result,
                      annal_error *error) {
  pg_call call = t->call;
  call.theirs = true;
  int code = pg_query_text(t->s, t->conn, sql, values, (int)count, &call, result, error);
  if (code || PQtransactionStatus(t->conn->pq) == PQTRANS_INTRANS) return code;
  t->open = false;
  PQclear(*result);
  *result = NULL;
  return error_set(error, ANNAL_MISUSE, "sql", "the statement ended the transaction");
}

static int session_execute(store_session *session, const char *sql, const store_value *params, size_t count,
                           result_builder *result, bool *fails, annal_error *error) {
  pg_session *t = (pg_session *)session;
  const base_env *env = t->s->base.env;
  if (count > 65535) {
    *fails = false;
    return error_set(error, ANNAL_MISUSE, "params", "%zu values; a statement takes at most 65535", count);
  }
  const char **values = base_calloc(env, count ? count : 1, sizeof *values);
  char(*numbers)[NUMBER_BYTES] = base_calloc(env, count ? count : 1, sizeof *numbers);
  PGresult *answer = NULL;
  for (size_t i = 0; values && numbers && i < count; i++) values[i] = value_text(&params[i], numbers[i]);
  int code = values && numbers ? begin(t, error) : error_memory(error);
  if (!code) {
    t->ran = true;
    code = run_theirs(t, sql, values, count, &answer, error);
  }
  if (!code) code = take_result(answer, result, error);
  PQclear(answer);
  base_free(env, values);
  base_free(env, numbers);
  return code;
}

/* ---- Ending ------------------------------------------------------------------------------------------------------------ */

/* Everything but COMMIT, the append last. */
static int write_all(pg_session *t, store_entry *entries, size_t count, const store_row *rows, size_t row_count,
                     store_status *statuses, bool *was_stored, annal_error *error) {
  int code = begin(t, error);
  if (!code && row_count) code = pg_put_rows_within(t->s, t->conn, rows, row_count, statuses, &t->call, error);
  if (!code && (t->ran || row_count)) {
    pg_call call = t->call;
    call.theirs = true;
    code = pg_script(t->s, t->conn, "set constraints all immediate", &call, error);
  }
  if (!code && count) code = pg_append_within(t->s, t->conn, entries, count, &t->call, error);
  return code ? code : store_judge_entries(entries, count, was_stored, error);
}

/* *unknown: it was sent, and the connection lost before the answer came. */
static int commit(pg_session *t, bool *unknown, annal_error *error) {
  PGresult *result = NULL;
  pg_call call = t->call;
  call.theirs = true; /* deferred triggers are the caller's */
  t->conn->submitted = false;
  int code = pg_query_text(t->s, t->conn, "commit", NULL, 0, &call, &result, error);
  *unknown = code && t->conn->submitted && pg_lost(t->conn);
  t->open = false;
  if (!code && strcmp(PQcmdStatus(result), "COMMIT") != 0)
    code = error_set(error, ANNAL_UNAVAILABLE, NULL, "%s rolled the transaction back", t->s->place);
  PQclear(result);
  return code;
}

/* One try: appends the same saves again, and rolls back. Answered only under the append lock, which the lost COMMIT held until its
 * end. The connection it went over is gone. */
static int ask(pg_session *t, store_entry *entries, size_t count, bool *was_stored, annal_error *error) {
  int code = open_transaction(t, error);
  if (!code) code = pg_append_within(t->s, t->conn, entries, count, &t->call, error);
  roll_back(t);
  annal_error ignored;
  if (!code) store_judge_entries(entries, count, was_stored, &ignored); /* an error of one says that they are not stored */
  return code;
}

static int settle(pg_session *t, store_entry *entries, size_t count, bool *was_stored, annal_error *error) {
  annal_error problem = *error;
  int pause_ms = PG_RETRY_FIRST_MS, code;
  t->call.deadline = base_monotonic() + t->s->timeout;
  while (count > 0 && !pg_interrupted(t->s, &t->call)) {
    code = ask(t, entries, count, was_stored, &problem);
    if (!code && *was_stored) return ANNAL_OK;
    if (!code) {
      error_set(error, ANNAL_UNAVAILABLE, NULL,
                "%s: the connection was lost at the end of the transaction, which was rolled back", t->s->place);
      return error->code;
    }
    if (!problem.retryable || !pg_wait_before_retry(t->s, &t->call, &pause_ms)) break;
  }
  char state[sizeof problem.sqlstate];
  memcpy(state, problem.sqlstate, sizeof state);
  error_set(error, ANNAL_UNAVAILABLE, NULL, "it is not known whether the transaction was committed%s (%.600s)",
            count > 0 ? "; run it again, its events under the same ids" : "", problem.message);
  memcpy(error->sqlstate, state, sizeof state);
  error->in_doubt = true;
  return error->code;
}

static int session_commit(store_session *session, store_entry *entries, size_t count, const store_row *rows, size_t row_count,
                          store_status *statuses, bool *was_stored, annal_error *error) {
  pg_session *t = (pg_session *)session;
  bool unknown = false;
  if (!t->open && count == 0 && row_count == 0) return ANNAL_OK;
  int code = write_all(t, entries, count, rows, row_count, statuses, was_stored, error);
  if (code || *was_stored) {
    roll_back(t);
    return code;
  }
  code = commit(t, &unknown, error);
  if (unknown) {
    bool stored = false;
    code = settle(t, entries, count, &stored, error);
  }
  if (code || count == 0) return code;
  /* Whoever has the writer tells followers when done with it. */
  if (pthread_mutex_trylock(&t->s->write_lock) == 0) {
    pg_tell(t->s);
    pthread_mutex_unlock(&t->s->write_lock);
  }
  return ANNAL_OK;
}

static void session_close(store_session *session) {
  pg_session *t = (pg_session *)session;
  if (t->conn) {
    roll_back(t);
    pg_release(t->s, t->conn);
  }
  base_free(t->s->base.env, t);
}

static const store_session_backend session_backend = {
    .execute = session_execute, .commit = session_commit, .close = session_close};

int pg_session_open(store *base, store_session **session, annal_error *error) {
  pg_session *t = base_calloc(base->env, 1, sizeof *t);
  if (!t) return error_memory(error);
  t->base.backend = &session_backend;
  t->s = (pg_store *)base;
  t->call = pg_call_begin(t->s);
  *session = &t->base;
  return ANNAL_OK;
}
