/* Transactions of the caller's: the write connection, from the first statement to the end. Role: session of the backend; see
 * store/transaction.h. BEGIN IMMEDIATE holds the write lock throughout, so nothing is begun before it must be. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "store/session.h"
#include <stdlib.h>
#include <string.h>

typedef struct sqlite_session {
  store_session base;
  sqlite_store *s;
  sqlite_conn *conn;   /* NULL: not begun */
  unsigned interrupts; /* the store's count when the transaction was made */
} sqlite_session;

/* ---- Beginning --------------------------------------------------------------------------------------------------------- */

/* Each statement has the whole timeout; an interruption ends all of it. Reads of a store in memory, which go over the same
 * connection, have set both otherwise. */
static void renew(sqlite_session *t) {
  t->conn->interrupts = t->interrupts;
  t->conn->deadline = base_monotonic() + (int64_t)(t->s->base.options->timeout * 1e6);
}

static void hold(sqlite_store *s, bool held) {
  pthread_mutex_lock(&s->lock);
  s->held = held;
  s->holder = pthread_self();
  pthread_mutex_unlock(&s->lock);
}

static int begin(sqlite_session *t, annal_error *error) {
  if (t->conn) {
    renew(t);
    return ANNAL_OK;
  }
  int result = sqlite_take_writer(t->s, &t->conn, error);
  if (result) {
    t->conn = NULL;
    return result;
  }
  renew(t);
  /* Whoever declares a foreign key wants it kept. It cannot be switched on inside of a transaction. */
  int on = 0;
  if (sqlite3_db_config(t->conn->db, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &on) == SQLITE_OK && !on)
    sqlite3_db_config(t->conn->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
  result = sqlite_begin(t->conn, error);
  if (!result) {
    hold(t->s, true);
    return ANNAL_OK;
  }
  sqlite_give_back(t->conn);
  t->conn = NULL;
  return result;
}

/* ---- Statements -------------------------------------------------------------------------------------------------------- */

static int fail_statement(sqlite_session *t, int code, annal_error *error) {
  int result = sqlite_fail(t->conn, code, error);
  if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID)
    result = error->code = ANNAL_DUPLICATE;
  return result;
}

static int prepare(sqlite_session *t, const char *sql, sqlite3_stmt **stmt, annal_error *error) {
  const char *rest;
  *stmt = NULL;
  sqlite3 *db = t->conn->db;
  int code = sqlite3_prepare_v3(db, sql, -1, 0, stmt, &rest);
  if (code == SQLITE_ERROR)
    return error_set(error, ANNAL_MISUSE, "sql", "%s does not understand the statement: %s", t->s->path, sqlite3_errmsg(db));
  if (code != SQLITE_OK) return fail_statement(t, code, error);
  if (!*stmt) return error_set(error, ANNAL_MISUSE, "sql", "there is no statement in it");
  sqlite3_stmt *second = NULL;
  code = sqlite3_prepare_v3(db, rest, -1, 0, &second, NULL);
  if (code == SQLITE_OK && !second) return ANNAL_OK; /* blanks and comments */
  sqlite3_finalize(second);
  return error_set(error, ANNAL_MISUSE, "sql", "there are several statements in it; run each by a call of its own");
}

/* The number, from 1, of the value that stands for SQLite's placeholder `index`; 0: it is of no kind of ours. */
static int value_number(sqlite3_stmt *stmt, int index) {
  const char *name = sqlite3_bind_parameter_name(stmt, index);
  if (!name || name[0] == '?') return index;
  if (name[0] != '$' || name[1] < '1' || name[1] > '9' || strlen(name) > 6 || name[strspn(name + 1, "0123456789") + 1]) return 0;
  return atoi(name + 1);
}

static int bind_value(sqlite3_stmt *stmt, int index, const store_value *value) {
  switch (value->kind) {
  case STORE_TEXT: return sqlite3_bind_text64(stmt, index, value->text, value->size, SQLITE_STATIC, SQLITE_UTF8);
  case STORE_INTEGER:
  case STORE_BOOLEAN: return sqlite3_bind_int64(stmt, index, value->integer);
  case STORE_FLOAT: return sqlite3_bind_double(stmt, index, value->number);
  case STORE_NULL: break;
  }
  return sqlite3_bind_null(stmt, index);
}

static int bind_all(sqlite_session *t, sqlite3_stmt *stmt, const store_value *params, size_t count, annal_error *error) {
  int places = sqlite3_bind_parameter_count(stmt), needed = 0;
  for (int i = 1; i <= places; i++) {
    int number = value_number(stmt, i);
    if (number == 0)
      return error_set(error, ANNAL_MISUSE, "sql", "the placeholder %s: write $1, $2 … or ?",
                       sqlite3_bind_parameter_name(stmt, i));
    if (number > needed) needed = number;
  }
  if ((size_t)needed != count)
    return error_set(error, ANNAL_MISUSE, "sql", "the statement takes %d values, and %zu are given", needed, count);
  for (int i = 1; i <= places; i++) {
    int code = bind_value(stmt, i, &params[value_number(stmt, i) - 1]);
    if (code != SQLITE_OK) return fail_statement(t, code, error);
  }
  return ANNAL_OK;
}

static bool add_value(sqlite3_stmt *stmt, int column, result_builder *result) {
  store_value value = {0};
  switch (sqlite3_column_type(stmt, column)) {
  case SQLITE_INTEGER:
    value.kind = STORE_INTEGER;
    value.integer = sqlite3_column_int64(stmt, column);
    break;
  case SQLITE_FLOAT:
    value.kind = STORE_FLOAT;
    value.number = sqlite3_column_double(stmt, column);
    break;
  case SQLITE_NULL: break;
  default:
    value.kind = STORE_TEXT;
    value.text = (const char *)sqlite3_column_blob(stmt, column);
    value.size = (size_t)sqlite3_column_bytes(stmt, column);
    if (!value.text && value.size > 0) return false;
    if (!value.text) value.text = "";
  }
  result_add(result, &value);
  return true;
}

static int run(sqlite_session *t, sqlite3_stmt *stmt, result_builder *result, annal_error *error) {
  sqlite3 *db = t->conn->db;
  int columns = sqlite3_column_count(stmt), code;
  for (int i = 0; i < columns; i++) {
    const char *name = sqlite3_column_name(stmt, i);
    if (!name) return error_memory(error);
    result_column(result, name);
  }
  sqlite3_int64 before = sqlite3_total_changes64(db);
  while ((code = sqlite_interrupted(t->conn) ? SQLITE_INTERRUPT : sqlite3_step(stmt)) == SQLITE_ROW)
    for (int i = 0; i < columns; i++)
      if (!add_value(stmt, i, result)) return error_memory(error);
  if (code != SQLITE_DONE) return fail_statement(t, code, error);
  /* Statements that change no rows leave the last one's count. */
  result->result.changed = sqlite3_total_changes64(db) == before ? 0 : sqlite3_changes64(db);
  if (!sqlite3_get_autocommit(db)) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, "sql", "the statement ended the transaction");
}

static int session_execute(store_session *session, const char *sql, const store_value *params, size_t count,
                           result_builder *result, bool *fails, annal_error *error) {
  sqlite_session *t = (sqlite_session *)session;
  int code = begin(t, error);
  *fails = true;
  if (code) return code;
  sqlite3_stmt *stmt = NULL;
  code = prepare(t, sql, &stmt, error);
  if (!code) code = bind_all(t, stmt, params, count, error);
  if (!code) code = run(t, stmt, result, error);
  sqlite3_finalize(stmt);
  return code;
}

/* ---- Ending ------------------------------------------------------------------------------------------------------------ */

static int write_all(sqlite_session *t, store_entry *entries, size_t count, const store_row *rows, size_t row_count,
                     store_status *statuses, bool *was_stored, annal_error *error) {
  int result = row_count ? sqlite_put_rows_within(t->s, t->conn, rows, row_count, statuses, error) : ANNAL_OK;
  if (!result && count) result = sqlite_append_within(t->s, t->conn, entries, count, error);
  return result ? result : store_judge_entries(entries, count, was_stored, error);
}

static int session_commit(store_session *session, store_entry *entries, size_t count, const store_row *rows, size_t row_count,
                          store_status *statuses, bool *was_stored, annal_error *error) {
  sqlite_session *t = (sqlite_session *)session;
  if (!t->conn && count == 0 && row_count == 0) return ANNAL_OK;
  int result = begin(t, error);
  if (!result) result = write_all(t, entries, count, rows, row_count, statuses, was_stored, error);
  if (result) return result;
  if (*was_stored) {
    sqlite_rollback(t->conn);
    return ANNAL_OK;
  }
  result = sqlite_commit(t->conn, error);
  if (!result) sqlite_checkpoint_when_long(t->s, t->conn);
  return result;
}

static void session_close(store_session *session) {
  sqlite_session *t = (sqlite_session *)session;
  if (t->conn) {
    sqlite_rollback(t->conn);
    hold(t->s, false);
    sqlite_give_back(t->conn);
  }
  base_free(t->s->base.env, t);
}

static const store_session_backend session_backend = {
    .execute = session_execute, .commit = session_commit, .close = session_close};

int sqlite_session_open(store *s, store_session **session, annal_error *error) {
  sqlite_session *t = base_calloc(s->env, 1, sizeof *t);
  if (!t) return error_memory(error);
  t->base.backend = &session_backend;
  t->s = (sqlite_store *)s;
  t->interrupts = atomic_load(&t->s->interrupts);
  *session = &t->base;
  return ANNAL_OK;
}
