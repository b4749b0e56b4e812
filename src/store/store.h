/* What a store must do. Role: the one face of the log towards fold/ and api/; the backends behind it stand in directories of
 * their own and are known by nobody but store.c.
 *
 * Invariants, on every backend:
 *  1. Position order is commit order, without gaps: who has read up to p has missed nothing at or below p.
 *  2. What store_append answered as stored is durable. All events of one save are stored, or none.
 *  3. A save's ids are looked at before its condition, the condition before the insert, all under the one lock.
 *  4. Rows of projections only move forward.
 * A store may be used from any thread. Strings handed up are NUL-terminated, JSON is canonical. Texts handed down were checked
 * (limits, UTF-8, no U+0000, canonical JSON) by whoever calls; streams and conditions are checked here (store_check_streams). */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/env.h"

typedef struct store store;

/* Opens by location (see annal_open). `options` has every default filled in and must outlive the store, as must `env`.
 * Makes or migrates the tables unless no_create or read_only say otherwise; adds indexes for newly declared fields. */
int store_open(const base_env *env, const char *location, const annal_options *options, store **out, annal_error *error);
/* In a child of the process that opened it: leaves everything as it is, for the parent goes on with it. All other calls on an
 * inherited store, its cursors, followers and transactions are `misuse` there. */
void store_close(store *s);

/* misuse in a child of the process that opened the store: sessions and locks are the parent's, and what a child said over them
 * would be taken for the parent's words. So a child asks nothing, and closes nothing (SQLite's close of a connection may undo, in
 * the shared index of the log, what the parent is writing): what it inherited ends with it, or with its exec. */
bool store_is_own(const store *s);
int store_check_own(const store *s, annal_error *error);

/* Fields that have an index: those of these options and those that earlier openings declared. */
typedef struct store_fields {
  char **names;
  size_t count;
} store_fields;
/* Of events' data, of rows' data. Borrowed until store_close. */
const store_fields *store_event_fields(const store *s);
const store_fields *store_view_fields(const store *s);

/* Ends what is under way with `unavailable` "interrupted". Async-signal-safe. */
void store_interrupt(store *s);
/* How often that was done: who works long between two calls, or waits for something of their own, ends when there are more. */
unsigned store_interrupts(const store *s);

/* ---- Saving ------------------------------------------------------------------------------------------------------------ */

/* One instance of a projection, as saved. */
typedef struct store_row {
  const char *type;
  const char *fingerprint; /* "" for rows saved by hand */
  const char *id;
  const char *state; /* JSON; NULL for rows saved by hand */
  size_t state_size;
  const char *data; /* JSON: the view */
  size_t data_size;
  int64_t position; /* of latest_event_id */
  const char *latest_event_id;
  int64_t created_at; /* microseconds; out only */
  int64_t updated_at;
  bool stale; /* out only: made by other code than was asked for, or not as of all events that its set knows of */
  const char *
      parked; /* out only, of sets that are kept: why its instance stands still (kept.h), and at which event; NULL: it does not */
  const char *parked_event_id;
} store_row;

/* That nothing has come since an instance was read: an event of these streams above `after_id` (NULL: any) overtakes the save. */
typedef struct store_guard {
  const annal_stream *streams;
  size_t stream_count;
  const char *after_id;
} store_guard;

/* A row that is written with a save, in its transaction: an instance as its events leave it. It takes the place of any other, for
 * under the lock of the append nothing can be newer. */
typedef struct store_save_row {
  store_row row; /* its position and latest_event_id are those of … */
  size_t last;   /* … this event of the save */
} store_save_row;

typedef struct store_save {
  annal_event *events;              /* in: id, type, version, data, metadata; out: position and created_at as stored */
  size_t count;                     /* at least 1 */
  const annal_condition *condition; /* or NULL */
  bool keep_created_at;             /* import: created_at is given, must not step back, must not lie in the future */
  bool ids_are_new;                 /* made for this save alone: none of them can be stored. A hint, which may be wrong */
  const store_guard *guards;        /* looked at after the condition; NULL: none */
  size_t guard_count;
  const store_save_row *rows; /* each instance once; NULL: none */
  size_t row_count;
  bool was_stored;       /* out: all the ids were stored before, with equal content; nothing new was written */
  size_t refused_stream; /* out, with `conflict`: which of the condition's streams, those of the guards behind them; from 0 */
  bool overtaken;        /* out, with `conflict`: it is a guard's, and the condition held */
} store_save;

/* Saves all events or none. An id that is stored with equal content (type, version, data, metadata) for all events: the stored
 * positions and times are answered, `was_stored` is set. Some of the ids stored, or one with other content: `duplicate`.
 * Errors: conflict (names the stream and the newer event), duplicate, invalid (a constraint or trigger of the user's refuses an event,
 * or drops it), busy, unavailable (in_doubt when nobody can know), misuse. */
int store_append(store *s, store_save *save, annal_error *error);

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* The newest position and its event's id ("" and 0 in an empty store). */
typedef struct store_head {
  int64_t position;
  char id[65];
} store_head_info;
int store_head(store *s, store_head_info *head, annal_error *error);

/* The position of a stored event; `not_found`, naming the id, when it is not stored. */
int store_position_of(store *s, const char *id, int64_t *position, annal_error *error);

/* The position of the last event that was stored at that time (microseconds since 1970) or before it; 0: there is none. Looks at a
 * few events only, however many there are, in one moment. `corrupt` where one of them is missing. */
int store_position_at_time(store *s, int64_t time, int64_t *position, annal_error *error);

/* The head, and the position of the event of that id (0: it is not stored), both as of one moment, in one round trip. */
int store_find(store *s, const char *id, store_head_info *head, int64_t *position, annal_error *error);

typedef struct store_cursor store_cursor;

/* Events of one page: borrowed until the next call on the cursor. */
typedef struct store_page {
  const annal_event *events;
  size_t count; /* 0: the read is over */
} store_page;

/* Begins a read; after_id and before_id are resolved first (not_found). The head is taken first and never passed. Whichever servers
 * the pages come from, each contains what was read before: one that lags is waited for, up to the timeout (unavailable). */
int store_read(store *s, const annal_selection *selection, store_cursor **cursor, annal_error *error);
/* The same within one correlation: of events whose metadata name it as their correlation_id, and of the one whose id it is. By an index
 * where the store has one (it is made when the store is next opened by somebody who may). With one stream at most. */
int store_read_correlated(store *s, const annal_selection *selection, const char *correlation_id, store_cursor **cursor,
                          annal_error *error);
/* The same up to a head that was taken before, and no further. The server that answers proves that it has that head's event, so that
 * what is read is all there is up to it, whichever server showed the head; `unavailable` where none has it in time, or another event
 * has taken its place. An empty id: whichever event stands at its position, which must have been seen. */
int store_read_up_to(store *s, const annal_selection *selection, const store_head_info *head, store_cursor **cursor,
                     annal_error *error);
/* Goes on from an event that was read before by these streams, in one round trip: *sound says whether it is still stored, under its
 * id at its position (above 0); if so the cursor reads what the streams select above it, up to that head, as above, or (NULL) all
 * there is. If not (a restore, a failover, a server that lags) there is no cursor. The streams are not checked again. */
int store_read_on(store *s, const annal_stream *streams, size_t count, const store_head_info *place,
                  const store_head_info *head_or_null, bool *sound, store_cursor **cursor, annal_error *error);
int store_cursor_next(store_cursor *cursor, store_page *page, annal_error *error);
void store_cursor_close(store_cursor *cursor); /* accepts NULL */

/* Rows of a table that the original made ("id", "type", "data", "created_at"), as events without position, in the order of their ids,
 * as the database orders them. `table` may be qualified; a dot may also be part of the table's own name. `data` is JSON as the
 * database writes it, not canonical; created_at is 0 where the row has none. *total is how many rows there are. Errors: not_found,
 * misuse (several such tables, another kind of table, a store that has no other tables beside its own). */
int store_read_foreign(store *s, const char *table, uint64_t *total, store_cursor **cursor, annal_error *error);

/* ---- Following --------------------------------------------------------------------------------------------------------- */

/* Reads on as events come: every event above its beginning that its streams select, each once, in order of position, also across
 * lost connections. It keeps position and id of the last event *read* (matching or not), and looks with every page whether that
 * event is still stored: after a failover or a restore positions are given out again, ids are not. For one thread at a time. */
typedef struct store_follower store_follower;

/* Begins after selection->after or after_id (0 and NULL: at the first event). `before`, `limit`, `reverse`, and an `after` in a
 * stream, are misuse. Errors: not_found (after_id is not stored). */
int store_follow(store *s, const annal_selection *selection, store_follower **follower, annal_error *error);

/* The next page. Waits for one until `deadline` (base_monotonic; one that is past: does not wait); page->count is 0 when it came
 * and brought nothing. Errors: conflict (another event stands where the last one read stood; the message says where its history
 * ends), unavailable (interrupted, or until `deadline` no connection, or none to a server that has the last event read): the
 * follower may be asked again. */
int store_follower_next(store_follower *follower, int64_t deadline, store_page *page, annal_error *error);

/* Where it stands: position and id of the last event read, 0 and "" before the first. Who begins there again misses nothing. */
void store_follower_place(const store_follower *follower, store_head_info *place);
void store_follower_close(store_follower *follower); /* accepts NULL */

/* ---- Rows of projections ----------------------------------------------------------------------------------------------- */

typedef enum store_status { STORE_CREATED, STORE_UPDATED, STORE_SKIPPED } store_status;
const char *store_status_name(store_status status); /* "created" … */

/* Writes rows in one transaction, locked in order of (type, fingerprint, id). A row gives way to a higher position only; with
 * fingerprint "" to an equal one too. statuses has room for `count`, may be NULL. */
int store_put_rows(store *s, const store_row *rows, size_t count, store_status *statuses, annal_error *error);

/* One snapshot, one round trip: the row of (type, fingerprint, id), if there is one, and the events of `streams` from its
 * position on (inclusive: the first should bear its latest_event_id; the caller checks), or from the first event without a row.
 * *row is zeroed (position 0) when there is none, and borrowed until the cursor is closed. `head_or_null`: the snapshot contains
 * that head, as for store_read_up_to; row and events may lie beyond it. */
int store_read_row(store *s, const char *type, const char *fingerprint, const char *id, const annal_stream *streams,
                   size_t stream_count, const store_head_info *head_or_null, store_row *row, store_cursor **cursor,
                   annal_error *error);

typedef struct store_query {
  const char *type;
  const char *fingerprint; /* the loaded code's; an id without a row of it answers with its newest other row, marked stale.
                              "" (rows saved by hand): only those */
  bool kept_set;           /* only the rows of that fingerprint, a set that is kept, and which of its instances stand still */
  const char *id;          /* or NULL: every id */
  const annal_field *data; /* fields of the view; all must match */
  size_t data_count;
  const annal_range *ranges; /* likewise */
  size_t range_count;
  const char *order; /* a field of the view, by whose values (order.h) rows come; NULL: by id, bytewise */
  bool descending;   /* the order from its end; only with `order` */
  uint64_t limit;    /* at most so many; 0: all */
  const char *after; /* the rows behind the one of this id, where that stands now; not_found when it is not there; or NULL */
} store_query;

/* Called for each row, which is borrowed during the call: without fingerprint, state and created_at, of which a query has no use.
 * The rows are one snapshot. It must not use the store, which is in the middle of answering. A non-zero answer ends the query,
 * which answers 0. */
typedef int store_each_row(void *context, const store_row *row);
int store_query_rows(store *s, const store_query *query, store_each_row *each, void *context, annal_error *error);

/* ---- Looking after it -------------------------------------------------------------------------------------------------- */

/* Called once a finding: one line. */
typedef void store_finding(void *context, const char *line);
/* Looks through the whole store: positions without gaps, ids unique, times that never step back, canonical JSON, rows that
 * point to their events, indexes as declared, the file's own integrity. Findings are counted, and are no error. */
int store_check(store *s, store_finding *finding, void *context, uint64_t *findings, annal_error *error);

/* The DDL, with grants where the backend has roles, as a person would run it. Needs no connection: the location's kind and the
 * options' names decide. */
int store_ddl(const base_env *env, const char *location, const annal_options *options, base_buf *out, annal_error *error);

/* Is it a path as it stands, without a scheme? What is none may hold a password. */
bool store_location_is_path(const char *location);

/* The rules of DESIGN "a value matches": names are names, every stream says something or `all`, no list is empty, nothing is
 * beyond its limit. `misuse` or `invalid`, naming the stream and the field. `what`: "streams", "data". */
int store_check_streams(const annal_stream *streams, size_t count, bool condition, annal_error *error);
int store_check_fields(const annal_field *fields, size_t count, const char *what, annal_error *error);

#endif
