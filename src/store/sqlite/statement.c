/* Statements: prepared once a connection and found again by their text, bound, stepped, ended. Role: all SQL of this backend
 * goes through here. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include <string.h>
#include <xxhash.h>

/* ---- The cache --------------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *text) { return XXH3_64bits(text, strlen(text)); }

static sqlite3_stmt *find(sqlite_conn *conn, const char *sql, uint64_t hash) {
  for (size_t i = 0; i < SQLITE_STATEMENTS; i++) {
    sqlite_statement *slot = &conn->statements[i];
    if (!slot->stmt || slot->hash != hash || strcmp(sqlite3_sql(slot->stmt), sql) != 0) continue;
    slot->used = ++conn->statement_count;
    return slot->stmt;
  }
  return NULL;
}

/* A free slot, or that of the statement which was not asked for longest. One call holds no more than a few, so that it cannot
 * lose one of its own. */
static sqlite_statement *make_room(sqlite_conn *conn) {
  sqlite_statement *oldest = conn->statements;
  for (size_t i = 0; i < SQLITE_STATEMENTS; i++) {
    sqlite_statement *slot = &conn->statements[i];
    if (!slot->stmt) return slot;
    if (slot->used < oldest->used) oldest = slot;
  }
  sqlite3_finalize(oldest->stmt);
  *oldest = (sqlite_statement){0};
  return oldest;
}

int sqlite_prepare(sqlite_conn *conn, const char *sql, sqlite3_stmt **stmt, annal_error *error) {
  uint64_t hash = hash_of(sql);
  *stmt = find(conn, sql, hash);
  if (*stmt) return ANNAL_OK;
  int code = sqlite3_prepare_v3(conn->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
  if (code != SQLITE_OK) return sqlite_fail(conn, code, error);
  *make_room(conn) = (sqlite_statement){.stmt = *stmt, .hash = hash, .used = ++conn->statement_count};
  return ANNAL_OK;
}

void sqlite_forget_statements(sqlite_conn *conn) {
  for (size_t i = 0; i < SQLITE_STATEMENTS; i++) {
    sqlite3_finalize(conn->statements[i].stmt);
    conn->statements[i] = (sqlite_statement){0};
  }
}

/* ---- Running ----------------------------------------------------------------------------------------------------------- */

void sqlite_bind(sqlite3_stmt *stmt, int number, const char *text) { sqlite3_bind_text(stmt, number, text, -1, SQLITE_STATIC); }

int sqlite_prepare_query(sqlite_conn *conn, const query *q, sqlite3_stmt **stmt, annal_error *error) {
  if (q->failed || q->sql.failed) return error_memory(error);
  int result = sqlite_prepare(conn, q->sql.bytes, stmt, error);
  for (size_t i = 0; !result && i < q->count; i++) {
    const query_param *param = &q->params[i];
    if (param->text) sqlite_bind(*stmt, (int)i + 1, param->text);
    else sqlite3_bind_int64(*stmt, (int)i + 1, param->integer);
  }
  return result;
}

void sqlite_done(sqlite3_stmt *stmt) {
  sqlite3_reset(stmt);
  sqlite3_clear_bindings(stmt);
}

/* What only reads was given nothing that it could refuse: it is the stored that is wrong. */
static bool met_damage(sqlite3_stmt *stmt, int code) {
  return (code & 0xFF) == SQLITE_ERROR && sqlite3_stmt_readonly(stmt) && sqlite3_column_count(stmt) > 0;
}

int sqlite_step(sqlite_conn *conn, sqlite3_stmt *stmt, annal_error *error) {
  /* An interruption that came between two statements has left no mark on the connection. */
  int code = sqlite_interrupted(conn) ? SQLITE_INTERRUPT : sqlite3_step(stmt);
  if (code == SQLITE_ROW) return code;
  int result = code;
  bool damaged = met_damage(stmt, code);
  if (damaged) result = sqlite_fail_damaged(conn, error);
  else if (code != SQLITE_DONE) result = sqlite_fail(conn, code, error);
  sqlite_done(stmt);
  return result;
}

int sqlite_run(sqlite_conn *conn, const char *sql, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, sql, &stmt, error);
  if (result) return result;
  do result = sqlite_step(conn, stmt, error);
  while (result == SQLITE_ROW);
  return result == SQLITE_DONE ? ANNAL_OK : result;
}

int sqlite_script(sqlite_conn *conn, const char *sql, annal_error *error) {
  int code = sqlite3_exec(conn->db, sql, NULL, NULL, NULL);
  return code == SQLITE_OK ? ANNAL_OK : sqlite_fail(conn, code, error);
}

/* ---- Transactions ------------------------------------------------------------------------------------------------------ */

int sqlite_begin(sqlite_conn *conn, annal_error *error) {
  conn->lock_until = base_monotonic() + (int64_t)(conn->store->base.options->lock_timeout * 1e6);
  return sqlite_run(conn, "BEGIN IMMEDIATE", error);
}

void sqlite_rollback(sqlite_conn *conn) {
  if (sqlite3_get_autocommit(conn->db)) return; /* SQLite has rolled back by itself */
  sqlite3_stmt *stmt;
  annal_error ignored;
  if (sqlite_prepare(conn, "ROLLBACK", &stmt, &ignored)) { /* no memory for a statement of two words: exec may still find it */
    sqlite3_exec(conn->db, "ROLLBACK", NULL, NULL, NULL);
    return;
  }
  sqlite3_step(stmt); /* not sqlite_step: an interruption must not leave the transaction open */
  sqlite_done(stmt);
}

int sqlite_commit(sqlite_conn *conn, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, "COMMIT", &stmt, error);
  if (result) {
    sqlite_rollback(conn);
    return result;
  }
  int code = sqlite3_step(stmt);
  result = code == SQLITE_DONE ? ANNAL_OK : sqlite_fail(conn, code, error);
  sqlite_done(stmt);
  if (!result) return ANNAL_OK;
  /* The frames, the last one with its mark of a commit, may lie in the log although their flush failed. The next commit writes
   * over them, but a crash before it would bring them to life. A disk that is full did not take the last frame. */
  if ((code & 0xFF) == SQLITE_IOERR) error->in_doubt = true;
  sqlite_rollback(conn);
  return result;
}
