/* The SQLite backend's own words. Role: shared by the files of this directory and by nobody else.
 *
 * A store on a file has one connection that writes, one that checkpoints, and some that read, made when they are wanted. A
 * connection is taken by one thread for one page, one save or one row, and never while somebody else's code runs, so that a
 * callback can use the store. A store in memory has one connection for everything: SQLite offers threads no other way to share
 * such a database that is not a shared cache, with its table locks, or a file system of its own, without WAL. */
#ifndef STORE_SQLITE_SQLITE_H
#define STORE_SQLITE_SQLITE_H

#include "store/backend.h"
#include "store/query.h"
#include <sqlite3.h>
#include <stdatomic.h>

struct sqlite_store;

/* ---- Statements (statement.c) ------------------------------------------------------------------------------------------ */

typedef struct sqlite_statement {
  sqlite3_stmt *stmt; /* NULL: free */
  uint64_t hash;      /* of its text */
  uint64_t used;      /* the connection's count when it was last asked for: the least goes first */
} sqlite_statement;

#define SQLITE_STATEMENTS 96 /* a connection keeps: our own four dozen and as many shapes of selections as an app has */

/* ---- Connections (connection.c) ---------------------------------------------------------------------------------------- */

typedef struct sqlite_conn {
  struct sqlite_store *store;
  sqlite3 *db;             /* NULL: not open yet. For who has taken the connection */
  _Atomic(sqlite3 *) live; /* the same once it is configured, until the store is closed: for interruptions */
  bool taken;              /* under the store's lock */
  bool writes;
  unsigned interrupts; /* the store's count when it was taken: more by now means that this call is to end */
  int64_t deadline;    /* monotonic: where its statements are ended; 0: never */
  int64_t lock_until;  /* monotonic: how long to wait for another program's lock */
  sqlite_statement statements[SQLITE_STATEMENTS];
  uint64_t statement_count; /* asked for, so far */
} sqlite_conn;

/* The files of sql/ with the names of tables put in; made once at open. */
enum {
  SQL_CHECK_INDEXES,
  SQL_CHECK_ROWS,
  SQL_EVENT_BY_ID,
  SQL_FIND,
  SQL_HEAD,
  SQL_INSERT_EVENT,
  SQL_INSERT_ROW,
  SQL_KEPT_ADVANCE,
  SQL_KEPT_CHECKPOINT,
  SQL_KEPT_DROP_PARKED,
  SQL_KEPT_DROP_ROWS,
  SQL_KEPT_HAS_ROWS,
  SQL_KEPT_LOOK,
  SQL_KEPT_MAKE,
  SQL_KEPT_META_GET,
  SQL_KEPT_META_NEW,
  SQL_KEPT_META_SWAP,
  SQL_KEPT_NAMES,
  SQL_KEPT_NEWEST,
  SQL_KEPT_PARK,
  SQL_KEPT_PARKED,
  SQL_KEPT_PUT_ROW,
  SQL_KEPT_REMOVE_ROWS,
  SQL_KEPT_REPLACE_BEHIND,
  SQL_KEPT_REPLACE_OLD,
  SQL_KEPT_REPLACE_PARKED,
  SQL_KEPT_REPLACE_ROWS,
  SQL_KEPT_RESUME,
  SQL_KEPT_ROW,
  SQL_KEPT_SETS,
  SQL_KEPT_TOUCH,
  SQL_LOOK,
  SQL_META,
  SQL_OTHER_SETS,
  SQL_POSITION_AT_TIME,
  SQL_POSITION_OF,
  SQL_PROBE,
  SQL_PUT_META,
  SQL_QUERY_KEPT,
  SQL_QUERY_OWN,
  SQL_QUERY_ROWS,
  SQL_QUERY_STALE_ROWS,
  SQL_ROW,
  SQL_ROW_POSITION,
  SQL_UPDATE_ROW,
  SQL_COUNT
};

typedef struct sqlite_store {
  store base; /* first: a store * is this */
  char *path; /* as given, for messages */
  char *file; /* absolute: what later connections open, wherever the program has gone since */
  bool memory;
  char *sql[SQL_COUNT];
  char *events; /* quoted */
  char store_id[65];
  atomic_uint interrupts;
  pthread_mutex_t lock; /* of `taken`; nothing is done under it */
  pthread_cond_t freed;
  bool held;        /* under the lock: a transaction of the caller's has the writer … */
  pthread_t holder; /* … on this thread, which may read over it where there is no other connection */
  unsigned nested;  /* how often it does so now; that thread's alone */
  sqlite_conn writer;
  sqlite_conn checkpointer;
  sqlite_conn *readers;
  size_t reader_count;
  int wal_frames;     /* in the log after the last commit of ours; the writer's */
  int wal_checkpoint; /* a checkpoint is tried at so many */
} sqlite_store;

/* Opens and configures the connection; `flags` of sqlite3_open_v2. */
int sqlite_connect(sqlite_conn *conn, const char *file, int flags, annal_error *error);
void sqlite_disconnect(sqlite_conn *conn);

/* A connection for this thread alone, until it is given back. `busy` when none is free in time. */
int sqlite_take_reader(sqlite_store *s, sqlite_conn **conn, annal_error *error);
int sqlite_take_writer(sqlite_store *s, sqlite_conn **conn, annal_error *error);
void sqlite_give_back(sqlite_conn *conn);

/* Turns SQLite's code, with the connection's last message, into an error. */
int sqlite_fail(sqlite_conn *conn, int code, annal_error *error);
/* Whether the code tells of what was to be stored, and not of the disk, the memory, the locks. */
bool sqlite_is_content(int code);
bool sqlite_interrupted(const sqlite_conn *conn);

/* Gives the connection what its statements call (order.c); answers SQLite's code. */
#define SQLITE_ORDER_FUNCTION "annal_order"
int sqlite_add_functions(sqlite3 *db, const base_env *env);

/* ---- Running SQL (statement.c) ----------------------------------------------------------------------------------------- */

/* The statement of this text, from the connection's cache, reset and without values. */
int sqlite_prepare(sqlite_conn *conn, const char *sql, sqlite3_stmt **stmt, annal_error *error);
/* A query's text and parameters, which stay borrowed until sqlite_done. */
int sqlite_prepare_query(sqlite_conn *conn, const query *q, sqlite3_stmt **stmt, annal_error *error);
void sqlite_bind(sqlite3_stmt *stmt, int number, const char *text); /* NULL is NULL; borrowed until sqlite_done */
/* SQLITE_ROW, SQLITE_DONE, or a negative code of annal's with its error. After anything but a row the statement is done with. */
int sqlite_step(sqlite_conn *conn, sqlite3_stmt *stmt, annal_error *error);
void sqlite_done(sqlite3_stmt *stmt);
/* Runs one of the store's texts or any other that gives no rows. */
int sqlite_run(sqlite_conn *conn, const char *sql, annal_error *error);
/* Runs a script of several statements, uncached. */
int sqlite_script(sqlite_conn *conn, const char *sql, annal_error *error);
void sqlite_forget_statements(sqlite_conn *conn);

/* BEGIN IMMEDIATE, waiting for another program's lock up to lock_timeout: `busy`. */
int sqlite_begin(sqlite_conn *conn, annal_error *error);
void sqlite_rollback(sqlite_conn *conn); /* harmless where the transaction is over */
/* On failure nothing is stored, but for an I/O error at the flush: then `in_doubt`. */
int sqlite_commit(sqlite_conn *conn, annal_error *error);

/* ---- Tables (schema.c) ------------------------------------------------------------------------------------------------- */

extern const query_dialect sqlite_dialect;

/* The embedded file of sql/, NUL-terminated. Generated. */
const char *sqlite_sql(const char *path, size_t *size);

/* One `{name}` of an embedded text and what it stands for. */
typedef struct sqlite_token {
  const char *name;
  const char *text;
} sqlite_token;

/* Appends `text` with every token replaced. A name in braces that is no token is a mistake of ours and fails the buffer. */
void sqlite_expand(base_buf *out, const char *text, const sqlite_token *tokens, size_t count);
/* Appends a name as SQL quotes it. */
void sqlite_quote(base_buf *out, const char *name, char quote);

/* Fills s->sql and s->events from the options. */
int sqlite_load_sql(sqlite_store *s, annal_error *error);
/* Finds the store in the file, makes or migrates it, adds what indexes the options declare beyond it. */
int sqlite_prepare_store(sqlite_store *s, sqlite_conn *conn, annal_error *error);

/* ---- The work ---------------------------------------------------------------------------------------------------------- */

void sqlite_append(store *s, store_entry *entries, size_t count); /* append.c */
/* The same on a connection with a transaction open, which is the caller's to end. An error that is answered is everybody's. */
int sqlite_append_within(sqlite_store *s, sqlite_conn *conn, store_entry *entries, size_t count, annal_error *error);
int sqlite_head(store *s, store_head_info *head, annal_error *error); /* read.c */
int sqlite_position_at_time(store *s, int64_t time, int64_t *position, bool *whole, annal_error *error);
int sqlite_position_of(store *s, const char *id, int64_t *position, annal_error *error);
int sqlite_read_correlated(store *s, const annal_selection *selection, const char *correlation_id, const store_reach *reach,
                           store_cursor **cursor, annal_error *error);
int sqlite_find(store *s, const char *id, store_head_info *head, int64_t *position, annal_error *error);
int sqlite_probe(store *s, const store_head_info *place, store_head_info *head, store_sight *sight, annal_error *error);
int sqlite_read(store *s, const annal_selection *selection, const store_reach *reach, store_cursor **cursor, annal_error *error);
int sqlite_read_on(store *s, const annal_stream *streams, size_t count, const store_head_info *place, const store_reach *reach,
                   store_sight *sight, store_cursor **cursor, annal_error *error);
int sqlite_read_row(store *s, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                    size_t stream_count, const store_reach *reach, store_row *row, store_cursor **cursor, annal_error *error);
int sqlite_put_rows(store *s, const store_row *rows, size_t count, store_status *statuses, annal_error *error); /* rows.c */
/* In an open transaction: a row that is newer than any other of its instance. */
int sqlite_put_newest_row(sqlite_store *s, sqlite_conn *conn, const store_row *row, annal_error *error);
int sqlite_put_rows_within(sqlite_store *s, sqlite_conn *conn, const store_row *rows, size_t count, store_status *statuses,
                           annal_error *error);
int sqlite_query_rows(store *s, const store_sought *sought, store_each_row *each, void *context, annal_error *error);
/* corrupt: a stored row stopped the statement that ran last, which only reads; names the first event or row that is no JSON
 * (inspect.c). */
int sqlite_fail_damaged(sqlite_conn *conn, annal_error *error);
int sqlite_check(store *s, store_finding *finding, void *context, uint64_t *findings, annal_error *error); /* inspect.c */

int sqlite_session_open(store *s, store_session **session, annal_error *error); /* transaction.c */

int sqlite_watch_open(store *s, store_watch **watch, annal_error *error); /* watch.c */
int sqlite_watch_wait(store_watch *watch, int64_t deadline, annal_error *error);
void sqlite_watch_close(store_watch *watch);

/* Columns type … updated_at of a statement on rows into a struct; borrowed from the statement. False: no memory. rows.c */
bool sqlite_get_row(sqlite3_stmt *stmt, store_row *row);

/* Moves the log into the database while nobody can commit (checkpoint.c). Called by who has the writer, outside of any
 * transaction; what fails is tried again later, for no event depends on it. */
void sqlite_checkpoint(sqlite_store *s, sqlite_conn *writer, int lock_wait_ms);
/* Counts the pages in the log from now on. */
void sqlite_watch_log(sqlite_store *s, sqlite_conn *writer);
/* After a commit: a checkpoint when the log has grown long. */
void sqlite_checkpoint_when_long(sqlite_store *s, sqlite_conn *writer);

#endif
