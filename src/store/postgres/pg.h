/* The PostgreSQL backend from the inside. Role: shared by the files of this directory and by nobody else.
 *   names.c   quoted names, the SQL templates in sql/ (embedded), the DDL
 *   conn.c    one connection: connecting, statements, waiting, what its errors mean (error.c)
 *   pool.c    the connections for reading
 *   open.c    opening, closing, interrupting; probe.c what an engine must do; schema.c tables and migrations
 *   append.c  saves; array.c their arrays; touch.c which saves of a batch may touch each other; orphan.c what a lost one left behind
 *   transaction.c  transactions of the caller's
 *   functions.c the functions of a store that exists
 *   watch.c   telling followers of commits and hearing of them
 *   foreign.c the original's table, for import
 *   read.c    cursors; rows.c rows of projections; kept.c sets of them; check.c findings
 *
 * Threads: one connection writes, under write_lock; the others are lent by the pool to one call, or one transaction of the caller's,
 * at a time. */
#ifndef STORE_POSTGRES_PG_H
#define STORE_POSTGRES_PG_H

#include "base/buf.h"
#include "base/env.h"
#include "store/backend.h"
#include "store/query.h"
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#define PG_VERSION_MIN 140000 /* 14: libpq and server have what is used here, and older ones get no fixes */
#define PG_STATEMENTS 128     /* prepared on one connection; a program has a few dozen shapes of query */
#define PG_GRACE 2000000      /* microseconds for a server to report its own timeout before it counts as lost */

/* Keys of advisory locks: (class, number). The append's second number is the oid of the events table. */
#define PG_LOCK_APPEND "1634627180"
#define PG_LOCK_MS_DEFAULT 10000 /* what append.sql sets by itself */
#define PG_LOCK_SCHEMA 1634627181
#define PG_LOCK_PROBE 1634627182
#define PG_LOCK_MARK "1634627183" /* with a handle's mark (orphan.c) */

typedef struct pg_store pg_store;

/* ---- Names and texts (names.c) ------------------------------------------------------------------------------------------- */

/* A word in a template and what stands for it. */
typedef struct pg_word {
  const char *word;
  const char *text;
} pg_word;

#define PG_WORDS 24
typedef struct pg_names {
  const char *schema, *events, *projections; /* plain, borrowed from the options */
  pg_word words[PG_WORDS];                   /* quoted, owned; ended by a NULL word */
} pg_names;

int pg_names_init(pg_names *names, const base_env *env, const annal_options *options, annal_error *error);
void pg_names_free(pg_names *names, const base_env *env);
void pg_add_name(base_buf *out, const char *name);    /* "quoted" */
void pg_add_literal(base_buf *out, const char *text); /* 'quoted' */
/* Appends the template `file`, each @word@ replaced from `own` (ended by a NULL word, may be NULL), else from names. */
void pg_render(base_buf *out, const pg_names *names, const pg_word *own, const char *file);
void pg_render_text(base_buf *out, const pg_names *names, const char *text); /* the same with a text in hand */
/* The functions, with branches for the declared identifiers; and the row of annal_meta that says of which revision they are. */
void pg_render_functions(base_buf *out, const pg_names *names, const char *const *fields, size_t count);
void pg_render_functions_row(base_buf *out, const pg_names *names);
/* Rises with every change of what they are made of, so that of two programs on one store the newer one's functions stay. */
#define PG_FUNCTIONS_REVISION 7
#define PG_FUNCTIONS_KEY "functions" /* absent: revision 1 */
/* A declared field on "events" or "projections", or on "order" for one of the latter in its order: its index and its row in
 * annal_meta; the names of both. */
void pg_render_declared(base_buf *out, const pg_names *names, const char *on, const char *field);
#define PG_INDEX_NAME_BYTES 40
void pg_index_name(const char *on, const char *field, char name[PG_INDEX_NAME_BYTES]);
#define PG_KEY_BYTES 96
void pg_field_key(const char *on, const char *field, char key[PG_KEY_BYTES]);
/* The index of correlations and its row. */
#define PG_CORRELATION_KEY "metadata_index:" QUERY_CORRELATION
void pg_render_correlation(base_buf *out, const pg_names *names);
/* An index of the user's, as one statement, and its row. */
void pg_render_own_index(base_buf *out, const pg_names *names, const annal_index *index);
void pg_render_own_index_row(base_buf *out, const pg_names *names, const annal_index *index);
void pg_own_index_key(const annal_index *index, char key[PG_KEY_BYTES]);
/* Everything of a new store but the user's indexes. */
void pg_render_store(base_buf *out, const pg_names *names, const annal_options *options);

extern const query_dialect pg_dialect;

const char *postgres_sql(const char *file, size_t *size); /* the text of a .sql file; made by the build */

/* ---- Connections (conn.c) -------------------------------------------------------------------------------------------------- */

struct pg_cursor;

typedef struct pg_conn {
  PGconn *pq;   /* NULL: not connected */
  size_t place; /* among store->cancels */
  uint64_t statements[PG_STATEMENTS];
  uint32_t names[PG_STATEMENTS];
  size_t statement_count;
  uint32_t next_name;
  int64_t usual_us;        /* how long its answers took of late */
  bool plans_once;         /* its session is set to PG_PLANS_ONCE */
  bool marked;             /* its session bears the handle's mark */
  bool submitted;          /* a statement was handed to libpq; for append.c, which sets it back */
  bool sent;               /* an answer is still to come */
  bool lent;               /* the pool's: to one call */
  bool used;               /* the caller's statements ran on it: its settings are none of annal's until pg_reset */
  struct pg_cursor *ahead; /* the pool's: the cursor whose next page is under way here, while it is not lent */
} pg_conn;

/* How a statement for reading is planned. Events are read along one index whatever the values are (store/query.h): once for all of
 * them. The server by itself would plan most such reads anew in a large log, which takes twice as long as the read. Which index is good
 * for rows is for the values to say. */
typedef enum pg_plans { PG_PLANS_ANY, PG_PLANS_ONCE, PG_PLANS_BY_VALUES } pg_plans;

typedef struct pg_params {
  const base_env *env;
  pg_plans plans; /* as the connection has it, unless it is said */
  int count, capacity;
  const char **values; /* borrowed, or numbers' 8 bytes */
  int *lengths;
  int *formats;
  Oid *types;
  char (*numbers)[8];
  bool failed;
} pg_params;

void pg_params_init(pg_params *params, const base_env *env);
void pg_params_free(pg_params *params);
void pg_params_text(pg_params *params, const char *text);                           /* NULL: SQL null */
void pg_params_int(pg_params *params, int64_t value);                               /* bigint */
void pg_params_binary(pg_params *params, Oid type, const char *bytes, size_t size); /* bytes NULL: SQL null */
void pg_params_query(pg_params *params, const query *q);                            /* those of a built query */

struct pg_store {
  store base;
  pg_names names;
  char place[256]; /* 'schema "annal" of db at host', for messages */
  char **keywords; /* of the conninfo, each with its value; ended by NULL */
  char **values;
  char *password;  /* to be kept out of messages; may be NULL */
  char role[128];  /* whom we are connected as, for GRANTs */
  int64_t timeout; /* microseconds for a call */
  int64_t lock_ms;
  bool host_clock; /* the options bring a clock, for tests */
  pthread_mutex_t write_lock;
  pg_conn writer;
  int32_t mark;     /* borne by what saves for this handle (orphan.c) */
  bool may_not_end; /* this role's own sessions */
  bool unsettled;   /* a save was lost, and what it left behind may still store something; under write_lock */
  int64_t told;     /* monotonic: when followers were told of a commit, under write_lock */
  pthread_mutex_t pool_lock;
  pthread_cond_t pool_free;
  pg_conn *readers;
  size_t reader_count;
  pg_conn *own; /* for transactions of the caller's: as many as readers, so that no one's reads wait for another's transaction */
  _Atomic(PGcancel *) *cancels; /* one a connection: readers, the writer, own; set while a statement is under way */
  PGcancel **cancel_owned;
  bool can_wait_awake;     /* there is a processor for the server beside one for who waits (wait.c) */
  atomic_bool is_awake;    /* some thread waits so */
  atomic_uint interrupts;  /* how many there were */
  atomic_int interrupting; /* interrupts being carried out, which hold on to cancels */
  char *append_sql;
  char *append_marked_sql; /* behind a pooler; else NULL */
  char *append_rows_sql;   /* the same two for saves with rows */
  char *append_rows_marked_sql;
  char *append_one_sql;
  char *append_new_sql;
  bool has_append_one, has_append_new; /* the function is there, and this role may call it; the queue's leader finds out */
  _Atomic(size_t) largest_event;       /* that this handle has met, where it matters for pages */
  atomic_bool has_large;               /* some events may be large: their table has a TOAST table that is not empty */
};

/* The host's clock, in `bytes`, which the parameter borrows; SQL null where the server's counts. */
void pg_params_clock(const pg_store *s, pg_params *params, char bytes[8]);

/* A call's bounds: when it must have answered, and how many interrupts there had been when it began. */
typedef struct pg_call {
  int64_t deadline;
  unsigned interrupts;
  bool theirs; /* the statement is the caller's: what it names is not the store's */
} pg_call;

pg_call pg_call_begin(pg_store *s);
bool pg_interrupted(const pg_store *s, const pg_call *call);
bool pg_can_wait_awake(void);
/* Until the socket is ready, or the server has something to say. False at the deadline, or when an interrupted server does not
 * answer. */
bool pg_wait(const pg_store *s, const PGconn *pq, short events, const pg_call *call);
bool pg_wait_answer(pg_store *s, pg_conn *conn, const pg_call *call);

/* Connects and makes the session ready. A connection that fails is left unconnected. */
int pg_connect(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error);
void pg_disconnect(pg_store *s, pg_conn *conn);
/* Connected, and nothing says that the server has gone. */
bool pg_alive(pg_conn *conn);
/* Was the connection lost, so that the same may be tried on another one? */
bool pg_lost(const pg_conn *conn);

/* Sends a statement (prepared once a connection, by its text); pg_receive takes the answer. */
int pg_send(pg_store *s, pg_conn *conn, const char *sql, const pg_params *params, const pg_call *call, annal_error *error);
/* *result is set when 0 is answered, and may be NULL then for an empty answer; PQclear it. */
int pg_receive(pg_store *s, pg_conn *conn, const pg_call *call, PGresult **result, annal_error *error);
int pg_query(pg_store *s, pg_conn *conn, const char *sql, const pg_params *params, const pg_call *call, PGresult **result,
             annal_error *error);
/* A statement of the caller's: values and answer as text, the types of parameters taken from the statement; not prepared. */
int pg_query_text(pg_store *s, pg_conn *conn, const char *sql, const char *const *values, int count, const pg_call *call,
                  PGresult **result, annal_error *error);
/* Undoes what the caller's statements have set. */
int pg_reset(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error);
/* Several statements in one text, without parameters; answers are thrown away. */
int pg_script(pg_store *s, pg_conn *conn, const char *sql, const pg_call *call, annal_error *error);
/* Values of binary results. */
int64_t pg_int(const PGresult *result, int row, int column);      /* int2, int4, int8; 0 for null */
int64_t pg_time(const PGresult *result, int row, int column);     /* microseconds since 1970 */
const char *pg_text(const PGresult *result, int row, int column); /* NULL for null */
#define PG_EPOCH INT64_C(946684800000000)                         /* 2000-01-01, where PostgreSQL's time begins, since 1970 */
int64_t pg_get64(const char *bytes);
void pg_put64(char bytes[8], int64_t value);
void pg_put32(char bytes[4], int64_t value);
int32_t pg_get32(const char *bytes);

/* ---- Errors (error.c) ------------------------------------------------------------------------------------------------------ */

/* Fills *error from a failed result, or from the connection where result is NULL. */
int pg_fail(pg_store *s, const pg_conn *conn, const PGresult *result, const pg_call *call, annal_error *error);
/* A message of libpq's as one line without the password. False: the password is too short to be told from other text, and stands in
 * it as a word; then the whole of it is left out, and `out` says so. */
bool pg_scrub(const pg_store *s, const char *text, char *out, size_t room);
/* The fault of what was to be stored, met when it was stored (classes 22, 23, 54, P0, and what a trigger raises under a SQLSTATE of its
 * own). */
bool pg_is_content(const annal_error *error);
/* Of the server, the session, the disk, the time: no fault of one save of a batch. Any other error may be one's own, for a trigger may
 * raise whatever it likes. */
bool pg_is_everybodys(const annal_error *error);

/* ---- The pool (pool.c) ----------------------------------------------------------------------------------------------------- */

int pg_acquire(pg_store *s, const pg_call *call, pg_conn **out, annal_error *error);
/* One of those for transactions, connected or not. */
int pg_acquire_own(pg_store *s, const pg_call *call, pg_conn **out, annal_error *error);
void pg_release(pg_store *s, pg_conn *conn);
/* Runs one statement on a lent connection, once more on a fresh one if the first was lost. For what may be repeated. */
int pg_run(pg_store *s, const char *sql, const pg_params *params, const pg_call *call, PGresult **result, annal_error *error);
/* The same; the connection that answered stays lent, to be released. NULL after an error. */
int pg_run_on(pg_store *s, const char *sql, const pg_params *params, const pg_call *call, pg_conn **conn, PGresult **result,
              annal_error *error);

/* ---- The rest -------------------------------------------------------------------------------------------------------------- */

int pg_probe(pg_store *s, pg_conn *first, pg_conn *second, const pg_call *call, annal_error *error);
/* Of the functions that are there (functions.c). */
typedef struct pg_functions {
  bool differ;      /* one is missing, or has another body than this program makes for the fields that are declared */
  bool ours;        /* this role may make them anew */
  const char *name; /* of the first that differs; static */
} pg_functions;
int pg_look_at_functions(pg_store *s, pg_conn *conn, const pg_call *call, pg_functions *found, annal_error *error);
/* Makes them anew, with a branch for each field of s->base.event_fields, and who may execute them as it was. */
int pg_make_functions(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error);
int pg_schema_prepare(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error);

void pg_append(store *base, store_entry *entries, size_t count);
/* In an open transaction, as its last statement but for its end. An error that is answered is everybody's. */
int pg_append_within(pg_store *s, pg_conn *conn, store_entry *entries, size_t count, const pg_call *call, annal_error *error);
#define PG_RETRY_FIRST_MS 10 /* between attempts to reach a lost server, doubled … */
#define PG_RETRY_MAX_MS 500  /* … up to this: a restart takes seconds */
/* Waits before the next attempt; false when the deadline or an interrupt comes first. */
bool pg_wait_before_retry(pg_store *s, const pg_call *call, int *pause_ms);
/* What a lost save may have left behind (orphan.c). The mark is made at open, and borne by the writer from before its first save. */
int pg_make_mark(pg_store *s, annal_error *error);
int pg_bear_mark(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error);
/* Returns when nothing of this handle's but `conn` can store anything any more; s->unsettled is false then. Under write_lock. */
int pg_settle_orphans(pg_store *s, pg_conn *conn, const pg_call *call, annal_error *error);
/* When a save was answered as in doubt: where this role may not end the orphan, other saves are not to stand still for it. */
void pg_leave_orphans(pg_store *s);
/* flushes[i]: save i may see, or bear an id of, an earlier save of the batch. False when it is so nowhere. */
bool pg_touches(const base_env *env, store_entry *const *entries, size_t count, bool *flushes);

/* Remembers how large events get, where it matters for the size of pages. */
void pg_note_size(pg_store *s, size_t bytes);
int pg_head(store *base, store_head_info *head, annal_error *error);
int pg_position_at_time(store *base, int64_t time, int64_t *position, bool *whole, annal_error *error);
int pg_position_of(store *base, const char *id, int64_t *position, annal_error *error);
int pg_find(store *base, const char *id, store_head_info *head, int64_t *position, annal_error *error);
int pg_read(store *base, const annal_selection *selection, const store_reach *reach, store_cursor **cursor, annal_error *error);
int pg_read_correlated(store *base, const annal_selection *selection, const char *correlation_id, const store_reach *reach,
                       store_cursor **cursor, annal_error *error);
int pg_read_on(store *base, const annal_stream *streams, size_t count, const store_head_info *place, const store_reach *reach,
               store_sight *sight, store_cursor **cursor, annal_error *error);
int pg_read_row(store *base, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                size_t stream_count, const store_reach *reach, store_row *row, store_cursor **cursor, annal_error *error);
int pg_look(store *base, const store_head_info *place, store_head_info *head, store_sight *sight,
            annal_error *error); /* watch.c */
int pg_watch_open(store *base, store_watch **watch, annal_error *error);
int pg_watch_wait(store_watch *watch, int64_t deadline, annal_error *error);
void pg_watch_close(store_watch *watch);
/* After a commit, under write_lock: tells followers, and does not wait for the answer, which pg_settle takes before the
 * connection is used again. */
void pg_tell(pg_store *s);
void pg_settle(pg_store *s, pg_conn *conn, const pg_call *call);
int pg_put_rows(store *base, const store_row *rows, size_t count, store_status *statuses, annal_error *error);
/* Binary arrays (array.c): built element by element. */
typedef struct pg_array {
  Oid type; /* of the elements */
  base_buf bytes;
  int32_t count;
  bool nulls;
} pg_array;
/* Rows of saves (save_rows.c), as the arguments behind those of the append; false when there are none, and then there are no
 * arguments either. To be freed in any case. */
enum { PG_SAVE_ROW_ARRAYS = 7 };
typedef struct pg_save_rows {
  pg_array arrays[PG_SAVE_ROW_ARRAYS];
} pg_save_rows;
bool pg_save_rows_add(pg_save_rows *rows, const base_env *env, store_entry *const *entries, size_t count, pg_params *params);
void pg_save_rows_free(pg_save_rows *rows);
int pg_put_rows_within(pg_store *s, pg_conn *conn, const store_row *rows, size_t count, store_status *statuses,
                       const pg_call *call, annal_error *error);
int pg_query_rows(store *base, const store_sought *sought, store_each_row *each, void *context, annal_error *error);
int pg_session_open(store *base, store_session **session, annal_error *error);
int pg_check(store *base, store_finding *finding, void *context, uint64_t *findings, annal_error *error);
int pg_read_foreign(store *base, const char *table, uint64_t *total, store_cursor **cursor, annal_error *error);
/* A row from a result with the columns type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at. */
void pg_row(const PGresult *result, int row, store_row *out);

void pg_array_init(pg_array *array, const base_env *env, Oid type);
void pg_array_free(pg_array *array);
void pg_array_bytes(pg_array *array, const char *bytes, size_t size); /* bytes NULL: null */
void pg_array_text(pg_array *array, const char *text);                /* NULL: null */
void pg_array_int(pg_array *array, int64_t value);                    /* int4[] */
void pg_array_int8(pg_array *array, int64_t value);                   /* int8[], timestamptz[] */
void pg_array_bool(pg_array *array, bool value);
/* Ends it and makes it the next parameter, which borrows its bytes; or makes null that parameter. */
void pg_array_param(pg_array *array, pg_params *params);
void pg_array_param_if(bool wanted, pg_array *array, pg_params *params);
/* A binary value within another; bytes NULL: null. */
typedef struct pg_value {
  const char *bytes;
  int size;
} pg_value;
/* Element `number`, from 0; false when there is none or it is null. */
bool pg_array_get(pg_value array, int64_t number, pg_value *element);

/* One event by its own function (append_one.c). Whether the save is one that it knows; fills the parameters then, which borrow from
 * the save and from `room`. */
typedef struct pg_one {
  char version[4], mark[4], lock_ms[24];
  pg_array types;
} pg_one;
bool pg_one_params(const pg_store *s, const store_save *save, pg_one *room, pg_params *params);
void pg_one_free(pg_one *room);
/* Whether a stream's one field decides alone (append.c). */
bool pg_decides_alone(const annal_stream *stream);
bool pg_is_declared(const pg_store *s, const char *name);

#define PG_BOOL 16
#define PG_INT8 20
#define PG_INT4 23
#define PG_TEXT 25
#define PG_JSON 114
#define PG_TIMESTAMPTZ 1184
#define PG_BOOL_ARRAY 1000
#define PG_INT4_ARRAY 1007
#define PG_TEXT_ARRAY 1009
#define PG_INT8_ARRAY 1016
#define PG_TIMESTAMPTZ_ARRAY 1185
#define PG_JSON_ARRAY 199

#endif
