/* annal: a Lua-scriptable event-sourcing runtime.
 *
 * This header is the manual of the C interface. JSON text is the currency for data, metadata, views and rows; UTF-8, no U+0000.
 *
 * Threads.   An annal_store may be used from any thread, by any number of threads at once. annal starts no thread of its own.
 * Errors.    Every call that can fail answers 0 (ANNAL_OK) or one of the negative codes below, and fills the caller's annal_error
 *            (which may be NULL). A failed call has changed nothing, except where `in_doubt` says that nobody can know yet.
 * Ownership. What goes in is borrowed for the length of the call. What comes out as an annal_text belongs to the caller and is
 *            given back with annal_text_free. What a callback receives is borrowed for the length of that callback.
 * Growth.    Structures that begin with `size` are filled by the caller with sizeof: zero every other field for its default.
 */
#ifndef ANNAL_H
#define ANNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ANNAL_VERSION "0.1.0"

#if defined(__GNUC__)
#define ANNAL_API __attribute__((visibility("default")))
#define ANNAL_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define ANNAL_API
#define ANNAL_PRINTF(text, first)
#endif

struct lua_State;

/* ---- Errors ------------------------------------------------------------------------------------------------------------ */

/* New codes may be added; treat an unknown one as a failure that is not retryable. annal_code_name gives the word in quotes,
 * which is also the `code` of a Lua error and what the command prints. */
enum {
  ANNAL_OK = 0,
  ANNAL_INVALID = -1,     /* "invalid": data against its schema, its validator, a limit, or a constraint or trigger of yours */
  ANNAL_CONFLICT = -2,    /* "conflict": something newer matches the append condition; nothing was stored */
  ANNAL_REJECTED = -3,    /* "rejected": a command's own refusal */
  ANNAL_NOT_FOUND = -4,   /* "not_found": no such projection, command, event id, app, or store */
  ANNAL_DUPLICATE = -5,   /* "duplicate": the id is stored with other content */
  ANNAL_SCRIPT = -6,      /* "script": a script is wrong; `where` is file:line or the path in the state */
  ANNAL_BUDGET = -7,      /* "budget": a script used up its instructions or memory */
  ANNAL_UNAVAILABLE = -8, /* "unavailable": no connection, no disk, no memory, interrupted; see `in_doubt` */
  ANNAL_BUSY = -9,        /* "busy": the lock was not to be had within lock_timeout */
  ANNAL_CORRUPT = -10,    /* "corrupt": the store's content contradicts itself, or is not annal's */
  ANNAL_MISUSE = -11      /* "misuse": the call is wrong, whatever the store holds */
};

typedef struct annal_error {
  int code;           /* one of the above; 0 while there is no error */
  bool retryable;     /* the same call may succeed later without any change */
  bool in_doubt;      /* a save whose outcome is unknown: saving the same events under the same ids settles it */
  char sqlstate[6];   /* the server's SQLSTATE, or "" */
  char where[256];    /* a path in the data ("data.items[3].price"), or file:line, or "" */
  char message[1024]; /* one line, UTF-8: what was wrong with which value, and what to do; never a password */
} annal_error;

/* "conflict" for ANNAL_CONFLICT, and so on; "unknown" for anything else. Any thread. */
ANNAL_API const char *annal_code_name(int code);

/* ---- Values ------------------------------------------------------------------------------------------------------------ */

/* A result: `bytes` is NUL-terminated, `size` does not count the NUL. Freed by annal_text_free, which accepts an empty one. */
typedef struct annal_text {
  const char *bytes;
  size_t size;
} annal_text;

/* An event. To save one, set `type` and `data`; the rest may stay zero. Positions and times are the store's to give. */
typedef struct annal_event {
  int64_t position;     /* place in the one order of the store, from 1, without gaps; 0 until stored, and in annal_save */
  int64_t created_at;   /* microseconds since 1970-01-01T00:00:00Z; 0 likewise */
  const char *id;       /* 1–64 bytes; NULL when saving: a new ULID */
  const char *type;     /* 1–128 bytes */
  const char *data;     /* a JSON object */
  const char *metadata; /* a JSON object, or NULL */
  size_t data_size;     /* bytes in data; 0 when saving: up to its NUL */
  size_t metadata_size; /* likewise */
  int version;          /* of its schema, from 1; 0 when saving: the app's current one, or 1 without an app. What is read is of
                           the version that the loaded scripts declare, for types that they do declare */
} annal_event;

/* One field of a filter: the stored value's text must be one of `values`. `1` and `"1"` are the same text, `1.0` is another. */
typedef struct annal_field {
  const char *name; /* [A-Za-z_][A-Za-z0-9_]*, at most 63 bytes */
  const char *const *values;
  size_t value_count; /* at least 1 */
} annal_field;

/* A selection of events: types are alternatives, fields must all match. Empty parts select everything only with `all`. */
typedef struct annal_stream {
  const char *const *types;
  size_t type_count;
  const annal_field *data;
  size_t data_count;
  bool all;             /* says on purpose that neither types nor data narrow this stream */
  const char *after_id; /* in a condition: the newest event its reader saw, NULL: no match may exist. In a read: begin after it */
  int64_t after;        /* in a read: begin after this position; never part of a condition */
} annal_stream;

/* What a read reads. Without streams: all events. Each event comes once, in order of position. */
typedef struct annal_selection {
  size_t size; /* sizeof(annal_selection) */
  const annal_stream *streams;
  size_t stream_count;
  int64_t after;        /* exclusive; 0: from the first */
  int64_t before;       /* exclusive; 0: up to the head as it is when the read begins */
  const char *after_id; /* the same by event id (not_found when it is not stored); not together with `after` */
  const char *before_id;
  uint64_t limit; /* 0: no limit */
  bool reverse;   /* newest first */
} annal_selection;

/* An append condition: the save is refused as `conflict` if for any stream an event that matches lies above the stream's
 * `after_id`, or that id is not stored. `latest_event_id` stands for every stream that has no `after_id` of its own. */
typedef struct annal_condition {
  size_t size; /* sizeof(annal_condition) */
  const annal_stream *streams;
  size_t stream_count; /* at least 1 */
  const char *latest_event_id;
} annal_condition;

/* ---- A store ----------------------------------------------------------------------------------------------------------- */

typedef struct annal_store annal_store;

/* pointer NULL: allocate; size 0: free and answer NULL; else resize. May answer NULL. Must be callable from any thread. */
typedef void *annal_allocate(void *context, void *pointer, size_t size);
/* level: "error", "warn", "info" or "debug"; message is one line. May be called from any thread that is inside a call, and from those
 * of a rebuild. Must not call annal_load or annal_reload of the same store. */
typedef void annal_log(void *context, const char *level, const char *message);
/* Microseconds since 1970 UTC. For tests. */
typedef int64_t annal_clock(void *context);

/* An index of one's own on one of annal's tables. `sql` is what stands between CREATE INDEX name ON table and the end:
 * "((data->>'total')) WHERE type = 'ORDER'". It is taken from the program, never from data. */
typedef struct annal_index {
  const char *name;
  const char *on; /* "events" or "projections" */
  const char *sql;
} annal_index;

typedef struct annal_options {
  size_t size;                     /* sizeof(annal_options) */
  const char *app;                 /* directory of scripts; NULL: none yet, see annal_load */
  const char *schema;              /* PostgreSQL schema; "annal". On SQLite part of no name */
  const char *events;              /* table names: "events", */
  const char *projections;         /* "projections" */
  const char *const *data_indexes; /* declared identifiers: fields of event data */
  size_t data_index_count;
  const char *const *projection_indexes; /* declared fields of views */
  size_t projection_index_count;
  const annal_index *indexes;
  size_t index_count;
  bool no_create; /* refuse to make a store where there is none */
  bool read_only;
  bool no_reload;           /* scripts stay as they were loaded, until annal_load or annal_reload */
  bool pooled;              /* PostgreSQL behind a transaction pooler */
  double timeout;           /* seconds for a call to the store; 30; at most 2,000,000 */
  double lock_timeout;      /* seconds to wait for the append lock; 10; at most 2,000,000 */
  int connections;          /* PostgreSQL connections for reading, and as many for transactions; 8 */
  int64_t budget;           /* VM instructions a handler call; 10,000,000 */
  size_t memory;            /* bytes a script state may hold; 256 MiB */
  size_t cache;             /* bytes of states kept in memory, for all threads of the handle; 64 MiB; 1: none are kept */
  annal_allocate *allocate; /* annal's and Lua's memory; the C library's by default */
  void *allocate_context;
  annal_log *log; /* NULL: no output */
  void *log_context;
  annal_clock *clock;
  void *clock_context;
} annal_options;

/* Opens a store: a path, "sqlite:path", ":memory:", "postgresql://…" or a libpq conninfo ("host=… dbname=…").
 * *store is set on success only. Errors: unavailable, corrupt, misuse, script (the app does not load), not_found. */
ANNAL_API int annal_open(const char *location, const annal_options *or_null, annal_store **store, annal_error *error);

/* Waits for nothing: no other thread may be inside a call on this store. Accepts NULL. */
ANNAL_API void annal_close(annal_store *store);

/* Loads the scripts under `directory` as one generation, all or nothing: on error the scripts loaded before stay in force. From
 * then on changes are looked for there. Errors: script, not_found, budget. */
ANNAL_API int annal_load(annal_store *store, const char *directory, annal_error *error);

/* Looks for changed scripts now, and loads them: all of the directory as a new generation, apart from the one in force, whose place
 * it takes as a whole when it has loaded without an error. Calls under way end by the scripts that they began with, and each call
 * is answered by one generation. On error the scripts that were loaded before stay in force; the same scripts are not tried again,
 * and fail the same way, until they are changed. 0 where nothing has changed, or no scripts are loaded.
 *
 * Unless `no_reload` is set, this is done without being asked too: when a call comes in, at most every 200 ms, and in
 * annal_run_once. What cannot be loaded then goes to the log, once, as an "error" with file and line, and not to the call. Files
 * that are being written are waited for until nobody has touched them for 100 ms. While one thread looks or loads, the others go
 * on by the scripts in force. Errors: script, not_found (the directory is gone), budget. */
ANNAL_API int annal_reload(annal_store *store, annal_error *error);

/* Does what is due in the background, and returns after that; where nothing is due waits for it, for up to `seconds` (0: not at
 * all): looks for changed scripts as a call does, without the pause of 200 ms, and brings the rows of projections with
 * keep = "background" up to date, one piece of each a call. Call it again and again, in any number of threads and processes. Errors:
 * unavailable (also by annal_interrupt), misuse (a read-only store). */
ANNAL_API int annal_run_once(annal_store *store, double seconds, annal_error *error);

/* Makes calls in progress on this store end with `unavailable` ("interrupted") as soon as they can, scripts that run included. Safe
 * in a signal handler. A save that still waits for others before it leaves with nothing stored; one that was sent waits for the
 * answer, if only a moment. */
ANNAL_API void annal_interrupt(annal_store *store);

/* ---- Events ------------------------------------------------------------------------------------------------------------ */

/* Saves `count` events, all or none, under `condition` if there is one. On success *stored, if wanted, is a JSON array of the
 * events as stored (id, position, type, version, data, metadata, created_at). An event whose id is stored with equal content
 * counts as saved, so a retry under the same ids is safe. When the outcome is unknown (error.in_doubt) *stored is
 * {"ids":[…]}. Errors: invalid, conflict, duplicate, busy, unavailable, script, budget, misuse (a read-only store). */
ANNAL_API int annal_save(annal_store *store, const annal_event *events, size_t count, const annal_condition *or_null,
                         annal_text *stored_or_null, annal_error *error);

/* Called for each event; a non-zero answer ends the read, which then answers 0. */
typedef int annal_each(void *context, const annal_event *event);

/* Reads events in order of position, in memory that does not grow with their number. Takes the head first and reads no further.
 * Events of older versions are upgraded by the loaded scripts, and selected by what is stored. Errors: script and budget where an
 * upcaster fails, or an event is of a newer version than the scripts declare: those before it were handed over. */
ANNAL_API int annal_read(annal_store *store, const annal_selection *selection, annal_each *each, void *context,
                         annal_error *error);

/* Reads on as events come, in order of position, each once, by whomever they are saved; wakes soon after a commit. Ends with 0 when
 * `each` answers non-zero or when nothing came for `idle_seconds` (0 or less: then it waits for ever). To go on later, give the id
 * of the last event that was dealt with as after_id. A lost connection is opened anew, and a server that lags behind what was read
 * is waited for, each for up to the store's timeout.
 * `before`, `limit` and `reverse` are misuse. Errors: not_found (after_id), unavailable (also by annal_interrupt), script and budget
 * as in annal_read, conflict: the event read last is not stored any more, as after a failover or a restore; nothing that came after
 * it was handed over. */
ANNAL_API int annal_follow(annal_store *store, const annal_selection *selection, double idle_seconds, annal_each *each,
                           void *context, annal_error *error);

/* ---- Commands ---------------------------------------------------------------------------------------------------------- */

typedef struct annal_call_options {
  size_t size;          /* sizeof(annal_call_options) */
  const char *id;       /* of the request, 1–56 bytes; NULL: none */
  const char *metadata; /* a JSON object that every event gets (its own fields go over it), and that decide sees; NULL: none */
  size_t metadata_size; /* bytes in metadata; 0: up to its NUL */
} annal_call_options;

/* Runs a command of the scripts: folds what it uses to one moment, lets it decide, and stores the events that it decided on under the
 * condition that nothing of what it used has moved. When something has, it reads what is new and decides again, up to 8 times.
 * `args` is a JSON object; NULL: {}. *stored_or_null is the events as stored, a JSON array as of annal_save; [] where nothing was
 * decided.
 *
 * With the id of a request the events bear the ids `request/1`, `request/2` …, and the call can be repeated: once they are stored,
 * `decide` is not run, and they are answered, whatever the command and the arguments are. So an id is for one request and no other.
 * Without it events get ids of their own. Rejections and empty decisions are not remembered.
 * Errors: not_found (no such command), invalid (args.…, or an event that does not fit its declaration), rejected (the message is the
 * command's reason), conflict (overtaken 8 times), duplicate (request/2 … is stored and request/1 is not), script, budget, unavailable:
 * when it is in doubt, *stored_or_null is {"ids":[…]}, and repeating the call under the same id settles it. */
ANNAL_API int annal_call(annal_store *store, const char *command, const char *args, const annal_call_options *or_null,
                         annal_text *stored_or_null, annal_error *error);

/* ---- Projections ------------------------------------------------------------------------------------------------------- */

typedef struct annal_view_options {
  size_t size;       /* sizeof(annal_view_options) */
  bool ignore_saved; /* fold from the first event even where a saved row could be used */
  bool save;         /* write the row afterwards; not_found when there is no event */
  int64_t at;      /* with `as_of`: as of this position, from 0 (no event at all) up to the store's newest; not_found beyond it */
  int64_t at_time; /* or, where it is not 0, as of this time (microseconds since 1970): by the events stored then or before */
  bool as_of;      /* the view as of the past; not together with `save` */
} annal_view_options;

/* The view of one instance by the loaded scripts, as JSON. An instance without events has its initial state.
 * Errors: not_found (no such projection), script, budget, unavailable, corrupt. */
ANNAL_API int annal_view(annal_store *store, const char *projection, const char *id, const annal_view_options *or_null,
                         annal_text *view, annal_error *error);

/* A range of a field of the view, both ends included: `min` and `max` are JSON, numbers or strings ("1.5", "\"2026-01-01\"") of one
 * kind; NULL: no end there. Only values of that kind match. */
typedef struct annal_range {
  const char *name; /* as that of annal_field */
  const char *min;
  const char *max;
} annal_range;

typedef struct annal_query {
  size_t size;             /* sizeof(annal_query) */
  const char *type;        /* a projection, or the type of rows saved by hand */
  const annal_field *data; /* fields of the view that must all match */
  size_t data_count;
  const annal_range *ranges; /* and ranges that must hold */
  size_t range_count;
  const char *order; /* a field of the view by whose value the rows come; NULL: by id */
  bool descending;   /* the same from the end; misuse without `order` */
  uint64_t limit;    /* 0: no limit */
  const char *after; /* the id of the last row of the page before: begin behind it; NULL: at the first row */
  int64_t
      at_least;   /* of a projection that is kept in the background: wait until its rows know of this position; 0: do not wait */
  double timeout; /* seconds to wait for that; 0: those of the store */
} annal_query;

/* The saved rows of one type, as a JSON array of {"id","data","latest_event_id","position","updated_at","stale"}: one snapshot.
 * Order of values: absent and null, false, true, numbers by value (integers and floats compared exactly), strings bytewise,
 * arrays, objects (by their JSON, bytewise); what is equal stands by id. Descending is this order reversed, ids too. `after` goes on
 * from where that row stands now: rows that change meanwhile may come twice or not at all, others come once.
 *
 * Of a projection that is kept in the background they are one whole set, the served one: all by the same scripts, `stale` where these
 * are others than the loaded ones. A row whose instance stands still because its handler failed is `stale` too, as of the event
 * before, and has "parked":{"error","event_id"}. `unavailable` (retryable) as long as no set is whole yet, and where the rows do not
 * come to `at_least` in time: then no worker runs (annal_run_once, annal run), or it has much to do.
 *
 * not_found where scripts are loaded, declare no such projection, and no such row was saved by hand; and for an `after` that is
 * not there. */
ANNAL_API int annal_query_projections(annal_store *store, const annal_query *query, annal_text *rows, annal_error *error);

typedef struct annal_rebuild_options {
  size_t size;              /* sizeof(annal_rebuild_options) */
  const char *const *types; /* names of projections; none: all whose instances can be told from their events */
  size_t type_count;
  int jobs; /* threads that fold beside the caller's, which reads and writes; 0: none, the caller does all of it */
} annal_rebuild_options;

typedef struct annal_progress {
  uint64_t done;       /* events of the log that were read, of … */
  uint64_t total;      /* … so many; grows while others save */
  uint64_t rows;       /* written so far */
  double rate;         /* events a second */
  double seconds_left; /* at that rate */
} annal_progress;
/* Called every few seconds or more often by the thread that called annal_rebuild; a non-zero answer interrupts it. */
typedef int annal_tell(void *context, const annal_progress *progress);

/* Makes the rows of projections anew from the log, by one read of it for as many of them as there are connections. Whoever queries
 * meanwhile reads the rows that were there, and then, of a projection that is kept in the background, all of the new ones at once;
 * writers go on, and what they save is in them. After an interruption or a crash the same call goes on where it was. Instances
 * whose handler fails are parked, as by a worker. Events and states take up to twice the handle's `cache` of memory. The one call that starts threads, `jobs` of them, which end with it.
 * Errors: not_found (no such projection), misuse (one over streams without ids; a read-only store), busy (somebody else rebuilds
 * it), conflict (other scripts' rows have come to be wanted meanwhile), script (its `ids`), unavailable. */
ANNAL_API int annal_rebuild(annal_store *store, const annal_rebuild_options *or_null, annal_tell *tell_or_null, void *context,
                            annal_error *error);

/* What is kept and how it stands, as a JSON object: "head" (of the log: id, position), and "sets", one object for each set of rows, by type and
 * fingerprint: "type", "fingerprint", "rows", "served", "wanted", "position", "lag_events", "lag_seconds" (how long the first event
 * that it does not know of has waited), "rate" (events a second just now, null where none is behind), these four null where it does
 * not follow the log, "parked" (how many instances stand still) and "problems", the first 100 of them: "id", "event_id", "error". */
ANNAL_API int annal_stats(annal_store *store, annal_text *stats, annal_error *error);

/* ---- Odds and ends ----------------------------------------------------------------------------------------------------- */

/* Any thread. Must be called before annal_close of the store the text came from. */
ANNAL_API void annal_text_free(annal_store *store, annal_text *text);

/* Writes RFC 3339 in UTC with microseconds ("2026-01-31T23:59:59.000001Z") and a NUL: 28 bytes. */
ANNAL_API void annal_time_text(int64_t microseconds, char text[28]);

/* Pushes a Lua object over this store onto the host's own state (Lua 5.4). The store must outlive it. */
ANNAL_API int annal_push(annal_store *store, struct lua_State *L);

/* The Lua module, `require "annal"`. */
ANNAL_API int luaopen_annal(struct lua_State *L);
/* What `require "annal.testing"` finds in it. */
ANNAL_API int luaopen_annal_testing(struct lua_State *L);

#ifdef __cplusplus
}
#endif

#endif
