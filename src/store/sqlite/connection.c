/* Connections: opened, configured, taken and given back, interrupted; SQLite's codes as annal's errors. Role: everything about a
 * sqlite3 * that is not its SQL. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

/* ---- Errors ------------------------------------------------------------------------------------------------------------ */

bool sqlite_interrupted(const sqlite_conn *conn) { return atomic_load(&conn->store->interrupts) != conn->interrupts; }

bool sqlite_is_content(int code) {
  switch (code & 0xFF) {
  case SQLITE_ERROR: /* an expression of an index or a trigger of the user's own */
  case SQLITE_CONSTRAINT:
  case SQLITE_TOOBIG:
  case SQLITE_MISMATCH: return true;
  default: return false;
  }
}

static int fail_interrupted(const sqlite_conn *conn, annal_error *error) {
  if (sqlite_interrupted(conn)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: the call took longer than the timeout of %g s", conn->store->path,
                   conn->store->base.options->timeout);
}

static int fail_io(const sqlite_conn *conn, annal_error *error) {
  int number = conn->db ? sqlite3_system_errno(conn->db) : 0;
  if (number == ENOSPC) return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: the disk is full", conn->store->path);
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: the disk fails: %s", conn->store->path,
                   number ? strerrordesc_np(number) : "input/output error");
}

int sqlite_fail(sqlite_conn *conn, int code, annal_error *error) {
  const char *path = conn->store->path, *message = conn->db ? sqlite3_errmsg(conn->db) : sqlite3_errstr(code);
  switch (code & 0xFF) {
  case SQLITE_INTERRUPT: return fail_interrupted(conn, error);
  case SQLITE_NOMEM: return error_memory(error);
  case SQLITE_IOERR: return code == SQLITE_IOERR_NOMEM ? error_memory(error) : fail_io(conn, error);
  case SQLITE_FULL: return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: the disk is full", path);
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    if (sqlite_interrupted(conn)) return fail_interrupted(conn, error);
    return error_set(error, ANNAL_BUSY, NULL, "%s: another program has held the lock for longer than %g s", path,
                     conn->store->base.options->lock_timeout);
  case SQLITE_READONLY:
    return error_set(error, ANNAL_UNAVAILABLE, NULL,
                     "%s cannot be written (%s); change its permissions, or open it with read_only", path, message);
  case SQLITE_CANTOPEN:
  case SQLITE_PERM:
  case SQLITE_AUTH: {
    int number = conn->db ? sqlite3_system_errno(conn->db) : 0;
    if (conn->store->base.options->read_only)
      return error_set(error, ANNAL_UNAVAILABLE, NULL,
                       "%s cannot be opened: %s; to be read it needs its -wal and -shm files, or a directory that can be written",
                       path, number ? strerrordesc_np(number) : message);
    return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s cannot be opened: %s", path, number ? strerrordesc_np(number) : message);
  }
  case SQLITE_NOTADB: return error_set(error, ANNAL_CORRUPT, NULL, "%s is no SQLite database; it was left as it is", path);
  case SQLITE_CORRUPT:
    return error_set(error, ANNAL_CORRUPT, NULL,
                     "%s is damaged (%s); keep a copy, then restore a backup or try sqlite3's .recover", path, message);
  default: break;
  }
  if (sqlite_is_content(code)) return error_set(error, ANNAL_INVALID, NULL, "%s refuses this: %s", path, message);
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: %s (SQLite's code %d)", path, message, code);
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------------- */

/* SQLite asks, again and again, while another program has the lock. Its own handler would sleep through an interruption. */
static int wait_for_lock(void *context, int times) {
  const sqlite_conn *conn = context;
  int64_t left = conn->lock_until - base_monotonic();
  if (left <= 0 || sqlite_interrupted(conn)) return 0;
  int64_t sleep = times < 5 ? 500 << times : 16000; /* microseconds */
  if (sleep > left) sleep = left;
  struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)sleep * 1000};
  nanosleep(&pause, NULL);
  return 1;
}

/* SQLite asks every so many instructions of its machine whether to go on. */
#define INSTRUCTIONS_BETWEEN_LOOKS 100000 /* a few ms */

static int time_is_up(void *context) {
  const sqlite_conn *conn = context;
  return sqlite_interrupted(conn) || (conn->deadline && base_monotonic() > conn->deadline);
}

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

/* A checkpoint may run only while nobody can commit (checkpoint.c), so SQLite is to start none by itself. */
static const char configuration[] = "PRAGMA mmap_size = 0; PRAGMA synchronous = FULL;"
                                    "PRAGMA wal_autocheckpoint = 0; PRAGMA recursive_triggers = OFF;";

/* What a file's schema may call is only what SQLite calls innocuous. Its JSON functions are, but releases such as 3.40 forgot to
 * mark them so and would refuse the indexes of declared fields; there the schema is trusted, which reaches SQLite's own functions
 * and no others: the one that annal adds (order.c) is for its statements alone. */
static int distrust_schema(sqlite3 *db) {
  sqlite3_stmt *stmt = NULL;
  int code =
      sqlite3_prepare_v2(db, "SELECT 1 FROM pragma_function_list WHERE name = 'json_type' AND flags & 0x200000", -1, &stmt, NULL);
  if (code != SQLITE_OK) return code;
  code = sqlite3_step(stmt);
  sqlite3_finalize(stmt);
  if (code == SQLITE_ROW) return sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int configure(sqlite_conn *conn, sqlite3 *db) {
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_handler(db, wait_for_lock, conn);
  sqlite3_progress_handler(db, INSTRUCTIONS_BETWEEN_LOOKS, time_is_up, conn);
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL); /* a misspelt name in double quotes is no text */
  sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
  int code = distrust_schema(db);
  if (code == SQLITE_OK) code = sqlite_add_functions(db, conn->store->base.env);
  if (code == SQLITE_OK) code = sqlite3_exec(db, configuration, NULL, NULL, NULL);
  if (code == SQLITE_OK && !conn->writes) code = sqlite3_exec(db, "PRAGMA query_only = ON", NULL, NULL, NULL);
  return code;
}

int sqlite_connect(sqlite_conn *conn, const char *file, int flags, annal_error *error) {
  sqlite3 *db = NULL;
  conn->lock_until = base_monotonic() + (int64_t)(conn->store->base.options->lock_timeout * 1e6);
  int code = sqlite3_open_v2(file, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
  if (code == SQLITE_OK) code = configure(conn, db);
  if (!db) return error_memory(error);
  conn->db = db;
  if (code == SQLITE_OK) return ANNAL_OK;
  int result = sqlite_fail(conn, code, error);
  sqlite_disconnect(conn);
  return result;
}

void sqlite_disconnect(sqlite_conn *conn) {
  atomic_store(&conn->live, NULL);
  sqlite_forget_statements(conn);
  sqlite3_close(conn->db);
  conn->db = NULL;
}

/* A reader opened later must see the store that was opened first, not a file that has taken its place. */
static int check_same_store(sqlite_store *s, sqlite_conn *conn, annal_error *error) {
  sqlite3_stmt *stmt;
  int result = sqlite_prepare(conn, "SELECT value FROM annal_meta WHERE key = 'store_id'", &stmt, error);
  if (result == ANNAL_INVALID) result = SQLITE_DONE; /* no such table: nothing there of annal's */
  else if (!result) result = sqlite_step(conn, stmt, error);
  if (result < 0) return result;
  bool same = result == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(stmt, 0), s->store_id) == 0;
  if (result == SQLITE_ROW) sqlite_done(stmt);
  if (same) return ANNAL_OK;
  return error_set(error, ANNAL_CORRUPT, NULL, "%s is another file than the one that was opened; open it anew", s->path);
}

static int open_reader(sqlite_store *s, sqlite_conn *conn, annal_error *error) {
  int flags = s->base.options->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  int result = sqlite_connect(conn, s->file, flags, error);
  if (result) return result;
  result = check_same_store(s, conn, error);
  if (result) sqlite_disconnect(conn);
  else atomic_store(&conn->live, conn->db);
  return result;
}

/* ---- Taking and giving back -------------------------------------------------------------------------------------------- */

/* A condition waits in slices, for a signal handler cannot wake it. */
#define WAIT_SLICE_NS 50000000

static void wait_for_freed(sqlite_store *s) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += WAIT_SLICE_NS;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_cond_timedwait(&s->freed, &s->lock, &until);
}

/* A free one of `count`, an open one if there is one. Under the lock. */
static sqlite_conn *find_free(sqlite_conn *conns, size_t count) {
  sqlite_conn *closed = NULL;
  for (size_t i = 0; i < count; i++) {
    if (conns[i].taken) continue;
    if (conns[i].db) return &conns[i];
    if (!closed) closed = &conns[i];
  }
  return closed;
}

static int take(sqlite_store *s, sqlite_conn *conns, size_t count, double seconds, sqlite_conn **out, annal_error *error) {
  unsigned interrupts = atomic_load(&s->interrupts);
  int64_t until = 0;
  pthread_mutex_lock(&s->lock);
  sqlite_conn *conn = find_free(conns, count);
  while (!conn) {
    int64_t now = base_monotonic();
    if (!until) until = now + (int64_t)(seconds * 1e6);
    if (now >= until || atomic_load(&s->interrupts) != interrupts) break;
    wait_for_freed(s);
    conn = find_free(conns, count);
  }
  if (conn) conn->taken = true;
  pthread_mutex_unlock(&s->lock);
  *out = conn;
  if (!conn && atomic_load(&s->interrupts) != interrupts) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  if (!conn)
    return error_set(error, ANNAL_BUSY, NULL, "%s: none of the %zu connections to it was free within %g s", s->path, count,
                     seconds);
  conn->interrupts = interrupts;
  conn->deadline = base_monotonic() + (int64_t)(s->base.options->timeout * 1e6);
  conn->lock_until = conn->deadline;
  return ANNAL_OK;
}

int sqlite_take_writer(sqlite_store *s, sqlite_conn **conn, annal_error *error) {
  return take(s, &s->writer, 1, s->base.options->lock_timeout, conn, error);
}

/* The one connection of a store in memory, where this thread has it already for a transaction. */
static bool take_again(sqlite_store *s, sqlite_conn **conn) {
  if (!s->memory) return false;
  pthread_mutex_lock(&s->lock);
  bool mine = s->held && pthread_equal(s->holder, pthread_self());
  pthread_mutex_unlock(&s->lock);
  if (!mine) return false;
  s->nested++;
  *conn = &s->writer;
  s->writer.interrupts = atomic_load(&s->interrupts);
  s->writer.deadline = base_monotonic() + (int64_t)(s->base.options->timeout * 1e6);
  return true;
}

int sqlite_take_reader(sqlite_store *s, sqlite_conn **conn, annal_error *error) {
  if (take_again(s, conn)) return ANNAL_OK;
  double seconds = s->base.options->timeout;
  int result =
      s->memory ? take(s, &s->writer, 1, seconds, conn, error) : take(s, s->readers, s->reader_count, seconds, conn, error);
  if (result) return result;
  assert(*conn); /* whoever gets no error has one */
  if ((*conn)->db) return ANNAL_OK;
  result = open_reader(s, *conn, error);
  if (result) sqlite_give_back(*conn);
  return result;
}

void sqlite_give_back(sqlite_conn *conn) {
  sqlite_store *s = conn->store;
  if (conn == &s->writer && s->nested > 0) {
    s->nested--;
    return;
  }
  pthread_mutex_lock(&s->lock);
  conn->taken = false;
  pthread_cond_broadcast(&s->freed);
  pthread_mutex_unlock(&s->lock);
}
