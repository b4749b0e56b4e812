/* What a backend gives to store.c. Role: the seam between the neutral half of the store (locations, checks, resolving ids, the
 * queue of saves) and SQLite or PostgreSQL. A backend's struct begins with `struct store`, so that a store * is its self.
 *
 * The neutral half has done, before a backend is called: checks of streams and fields (store_check_streams, …), `misuse` for
 * writing on a read-only store, ids that come twice in one save, resolving of after_id and before_id of reads into positions
 * (after and before of the selection and of its streams are then set, the ids NULL). */
#ifndef STORE_BACKEND_H
#define STORE_BACKEND_H

#include "store/kept_backend.h"
#include "store/order.h"
#include "store/store.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

/* One save in a batch, with its own answer. */
typedef struct store_entry {
  store_save *save;
  int result; /* out: 0 or the code in error */
  annal_error error;
} store_entry;

/* What an answer must contain to count. The connections of a handle may reach different servers (several hosts, a balancer of replicas),
 * and one may lag behind what another has shown. Positions are the order of commits and have no gaps, on each of them: so a snapshot
 * that contains one event contains all below it. A store on one file can ignore it. */
typedef struct store_reach {
  store_head_info seen;  /* an event that was read before: at this position stands this id. Position 0: none was */
  store_head_info up_to; /* a head that was taken, likewise; an empty id: whichever event. Position 0: none */
  bool patient;          /* waits for a server that lags; else `unavailable` at once, for a caller that waits by itself */
} store_reach;

/* What there is of an event that was read before. */
typedef enum store_sight {
  STORE_SAME,
  STORE_REPLACED, /* another one stands at its position: its history has ended */
  STORE_BEHIND    /* nothing stands there yet, by this server */
} store_sight;

/* A backend's half of a transaction of the caller's (session.h). */
typedef struct store_session store_session;

/* A query of rows that is checked and prepared (find_rows.c). */
typedef struct store_sought {
  const store_query *query;
  const order_range *ranges; /* as many as the query has */
  const order_place *after;  /* where the row `after` stands in the order; of no meaning without them */
  bool along_order;          /* the index of the field that it is ordered by gives the first rows at once */
  bool by_order;             /* that, or the index of a range */
  bool by_value;             /* a declared field is to have a value */
} store_sought;

typedef struct store_backend {
  const char *name; /* "sqlite" or "postgresql" */
  void (*close)(store *s);
  void (*interrupt)(store *s); /* async-signal-safe */
  /* Appends a batch, in order, later saves seeing earlier ones: each entry gets its result, none blocks another. Within the
   * limits LIMIT_BATCH_*, or a single save of any size. Called by any thread; one call at a time. */
  void (*append)(store *s, store_entry *entries, size_t count);
  int (*head)(store *s, store_head_info *head, annal_error *error);
  int (*position_of)(store *s, const char *id, int64_t *position, annal_error *error);
  int (*find)(store *s, const char *id, store_head_info *head, int64_t *position, annal_error *error);
  /* By halves. *whole is false when the search came upon a position without an event, behind *position. */
  int (*position_at_time)(store *s, int64_t time, int64_t *position, bool *whole, annal_error *error);
  /* `reach` may be NULL. What it speaks of, and later what the cursor has handed out, every page contains, or is asked for again;
   * `unavailable` where no server has it in time, or another history has taken its place. */
  int (*read)(store *s, const annal_selection *selection, const store_reach *reach, store_cursor **cursor, annal_error *error);
  int (*read_correlated)(store *s, const annal_selection *selection, const char *correlation_id, const store_reach *reach,
                         store_cursor **cursor, annal_error *error);
  /* *cursor is set where *sight is STORE_SAME. */
  int (*read_on)(store *s, const annal_stream *streams, size_t count, const store_head_info *place, const store_reach *reach,
                 store_sight *sight, store_cursor **cursor, annal_error *error);
  int (*read_row)(store *s, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                  size_t stream_count, const store_reach *reach, store_row *row, store_cursor **cursor, annal_error *error);
  /* NULL where there can be no table of the original's. */
  int (*read_foreign)(store *s, const char *table, uint64_t *total, store_cursor **cursor, annal_error *error);
  /* The head, and what there is of an event (STORE_SAME for position 0), in one snapshot. */
  int (*probe)(store *s, const store_head_info *place, store_head_info *head, store_sight *sight, annal_error *error);
  int (*watch_open)(store *s, store_watch **watch, annal_error *error);
  /* Returns when something may have been committed since the last return (or the open), at the latest at `deadline`. Hints may be
   * lost or late: it returns often enough by itself that nobody waits long for one. Errors: unavailable (interrupted). */
  int (*watch_wait)(store_watch *watch, int64_t deadline, annal_error *error);
  void (*watch_close)(store_watch *watch);
  const store_kept_backend *kept;
  int (*put_rows)(store *s, const store_row *rows, size_t count, store_status *statuses, annal_error *error);
  int (*query_rows)(store *s, const store_sought *sought, store_each_row *each, void *context, annal_error *error);
  /* Begins a transaction of the caller's; nothing is sent yet. */
  int (*session)(store *s, store_session **session, annal_error *error);
  /* What check.c, which reads all events by `read`, cannot see: the file's own integrity, indexes and tables as declared, rows
   * whose position and latest_event_id are of no event, rows whose JSON is not canonical (store_check_row). */
  int (*check)(store *s, store_finding *finding, void *context, uint64_t *findings, annal_error *error);
} store_backend;

struct store_queue; /* saves that wait for their turn, queue.c */

struct store {
  const store_backend *backend;
  const base_env *env;
  const annal_options *options;
  struct store_queue *queue; /* store.c's */
  pid_t owner;               /* the process that opened it; store.c's */
  unsigned char *own_page;   /* says the same (store.c); NULL: ask for the owner */
  atomic_uint interrupts;    /* how often store_interrupt was called */
  store_fields event_fields; /* the backend fills them while it opens, by store_add_field, and frees them at its end */
  store_fields view_fields;
};

/* Sorts a location (location.c): *postgres, and what the backend is to get. `misuse` for one that is none; it is not repeated. */
int store_parse_location(const char *location, bool *postgres, const char **rest, annal_error *error);

/* What is refused of a save before it is queued or staged (store.c). */
int store_check_save(store *s, const store_save *save, annal_error *error);

/* For a backend the guards of a save are streams of its condition, behind the caller's own (store.c). */
typedef struct store_guarded {
  const annal_condition *own; /* the caller's, or NULL */
  annal_condition all;
  annal_stream *streams; /* owned */
} store_guarded;
/* Puts the whole of it in the place of save->condition, until store_unguard. */
int store_guard_save(store *s, store_save *save, store_guarded *guarded, annal_error *error);
/* Says whether the save was overtaken; accepts one that is zeroed. `result`: of the append. */
void store_unguard(store *s, store_save *save, store_guarded *guarded, int result);

int store_add_field(store *s, store_fields *fields, const char *name, annal_error *error);
void store_free_fields(store *s);

/* A backend's struct begins with `struct store_cursor`. */
typedef struct store_cursor_backend {
  int (*next)(store_cursor *cursor, store_page *page, annal_error *error);
  void (*close)(store_cursor *cursor);
} store_cursor_backend;

struct store_cursor {
  const store_cursor_backend *backend;
  const store *home; /* store.c's */
};

/* ---- What both backends say and do alike (check.c) ------------------------------------------------------------------------ */

/* The tables' version that this program makes, and the oldest program that may use what it makes. A program of version p opens
 * tables whose oldest_program <= p. */
#define STORE_TABLES_VERSION 1
#define STORE_OLDEST_PROGRAM 1

/* `place` names the store in messages: a path, or host and database without password. */
int store_fail_newer(annal_error *error, const char *place, int64_t version, int64_t oldest);             /* misuse */
int store_fail_foreign(annal_error *error, const char *place, const char *table);                         /* corrupt */
int store_fail_names(annal_error *error, const char *place, const char *events, const char *projections); /* misuse: has these */
int store_fail_missing(annal_error *error, const char *place); /* not_found: no store there */

/* not_found: an id in after or before that no event bears. */
int store_fail_no_event(annal_error *error, const char *id);

/* Answers of a save. `number` is the place of the event or stream in its list, `count` the length of that list. */
int store_fail_duplicate(annal_error *error, const annal_event *event, size_t number, size_t count, int64_t position);
int store_fail_partly_stored(annal_error *error, const annal_event *stored, size_t number, const annal_event *missing);
int store_fail_conflict(annal_error *error, const annal_condition *condition, size_t number, const char *newer_id,
                        int64_t newer_position);
int store_fail_conflict_missing(annal_error *error, const annal_condition *condition, size_t number);
/* invalid: the table took the event without an error, and does not have it. `place` names the store. */
int store_fail_dropped(annal_error *error, const char *place, const annal_event *event);
/* The id that stands for stream `number` of a condition: its own, or latest_event_id; NULL: no match may exist. */
const char *store_condition_id(const annal_condition *condition, size_t number);
/* keep_created_at: `invalid` where the time steps back or lies in the future. */
int store_check_time(annal_error *error, const annal_event *event, size_t number, size_t count, int64_t previous, int64_t now);

/* A deep copy in one block, for cursors, which outlive the call they were made in; base_free gives it back. NULL: no memory. */
annal_stream *store_copy_streams(const base_env *env, const annal_stream *streams, size_t count);

/* Reports a row whose state or data is not canonical JSON. `scratch` is used and left; it is `failed` where there was no memory. */
void store_check_row(const store_row *row, base_buf *scratch, store_finding *finding, void *context, uint64_t *findings);
/* Formats one finding and counts it. */
void store_report(store_finding *finding, void *context, uint64_t *findings, const char *format, ...) ANNAL_PRINTF(4, 5);

/* The two there are; store.c chooses by location. `location` is what stands behind the scheme for SQLite, the whole conninfo
 * for PostgreSQL. */
int sqlite_open(const base_env *env, const char *path, const annal_options *options, store **out, annal_error *error);
int sqlite_ddl(const base_env *env, const annal_options *options, base_buf *out, annal_error *error);
int postgres_open(const base_env *env, const char *conninfo, const annal_options *options, store **out, annal_error *error);
int postgres_ddl(const base_env *env, const annal_options *options, base_buf *out, annal_error *error);

#endif
