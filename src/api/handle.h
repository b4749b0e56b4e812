/* The handle: one open store, its options, the generation in force. Role: what the C face (api/c_*.c) and the Lua face
 * (api/lua_*.c) share, so that both do the same thing in the same way. Everything here may be called by any thread. */
#ifndef API_HANDLE_H
#define API_HANDLE_H

#include "api/lanes.h"
#include "api/turns.h"
#include "base/hash.h"
#include "base/ulid.h"
#include "fold/fold.h"
#include "fold/inline.h"
#include "fold/intake.h"
#include "fold/keeper.h"
#include "script/script.h"
#include "store/store.h"
#include "store/transaction.h"
#include <pthread.h>
#include <stdatomic.h>

/* What the reloading of scripts remembers from look to look (reload.c); under its lock, save look_at. */
typedef struct reload_state {
  pthread_mutex_t lock;         /* one thread looks, or loads; calls that find it taken go on with the generation in force */
  _Atomic int64_t look_at;      /* monotonic: before that no call looks */
  int64_t read_at;              /* monotonic: then the files are read without a hint */
  script_watch *watch;          /* NULL until the first look of a call: a short life needs none */
  bool hinted;                  /* the files are to be read at the next look */
  char seen[HASH_TEXT_BYTES];   /* the set that may still be in the middle of a change, "" when there is none */
  int64_t seen_at;              /* monotonic: when it was seen first */
  char failed[HASH_TEXT_BYTES]; /* the set that cannot be loaded; "" when the one in force is what there is */
  annal_error failure;
} reload_state;

struct annal_store {
  base_env env;
  annal_options options; /* every default filled in; what it points to lies in options_memory */
  void *options_memory;
  store *store;
  fold_cache *cache; /* NULL: none is wanted */
  base_ulid ulid;
  pthread_mutex_t app_lock;
  script_app *app; /* the generation in force, under app_lock; NULL without scripts */
  reload_state reload;
  atomic_uint interrupts; /* how often annal_interrupt was called */
  handle_turns turns;     /* of calls */
  fold_keeper *keeper;
  pthread_mutex_t watch_lock;
  store_watch *watch; /* of annal_run_once, kept from call to call; NULL: none, or a call has it */
  lanes lanes;        /* of saves that touch what is kept inline */
};

/* A selection of one stream that its caller did not call a stream (types = …, --type): the error speaks of `types` or `data.k` and
 * not of streams[1]. */
void handle_plain_where(annal_error *error);

/* Fills *out with a copy of the options, deep, every default filled in, checked (`misuse`). *memory holds what it points to. */
int handle_copy_options(const base_env *env, const annal_options *or_null, annal_options *out, void **memory, annal_error *error);

/* A struct of the public header as a caller of this or an older version filled it: `in` begins with its size, `out` gets what was
 * given and zero for the rest. `misuse`, naming `what`, for a size that cannot be. */
int handle_sized(const void *in, void *out, size_t out_size, const char *what, annal_error *error);

int handle_open(const char *location, const annal_options *or_null, annal_store **out, annal_error *error);
void handle_close(annal_store *handle);
void handle_interrupt(annal_store *handle); /* async-signal-safe */

/* ---- Generations (reload.c) -------------------------------------------------------------------------------------------- */

void reload_init(annal_store *handle);
void reload_end(annal_store *handle); /* releases the generation in force too */

/* Loads the scripts under another directory, or the same, and from then on looks for changes there. */
int handle_load(annal_store *handle, const char *directory, annal_error *error);
/* Looks for changed scripts now; *changed says whether others are in force than before. A set that failed before fails again, in
 * the same words. Nothing is done without scripts. */
int handle_reload(annal_store *handle, bool *changed, annal_error *error);
/* What calls do of themselves now and then, done now; an error goes to the log. Whether there was something to do. */
bool handle_look(annal_store *handle);

/* The generation in force, retained for the caller, who releases it; NULL without scripts. A call takes it once, and that is when
 * it looks for changed scripts. */
script_app *handle_app(annal_store *handle);

/* What folds stand on. */
fold_context handle_context(annal_store *handle, script_app *app);

/* annal_run_once (run.c). *done, if wanted: there was something to do. */
int handle_run_once(annal_store *handle, double seconds, bool *done, annal_error *error);

/* ---- Projections, events, rows ----------------------------------------------------------------------------------------- */

/* An instance of a projection by the generation in force, which it keeps alive. Closed by fold_close, before the handle.
 * Errors: those of fold_open; not_found while no scripts are loaded. */
int handle_projection(annal_store *handle, const char *projection, const char *id, bool use_saved, fold_instance **instance,
                      annal_error *error);

/* The position that `at` or `at_time` of the options mean; options without `as_of` have none (misuse). Errors: misuse, not_found beyond
 * the head. */
int handle_past(annal_store *handle, const annal_view_options *options, store_head_info *head, annal_error *error);

/* Events on their way in: checked against limits and declarations, made canonical, given ids. Owned by the caller. */
typedef struct handle_batch {
  const base_env *env;
  annal_event *events; /* they live in `intake` */
  size_t count;
  bool ids_are_new; /* all of them were made here */
  bool was_stored;  /* by an earlier save under the same ids; said by handle_store */
  script_app *app;  /* by which they were checked, retained; NULL: none */
  intake intake;
} handle_batch;

/* Copies and checks; nothing is stored. *batch needs no preparation and is to be freed on success only. Errors name the event
 * ("events[2].data.quantity"), a single event without the index; misuse without events, duplicate for an id given twice. */
int handle_prepare(annal_store *handle, const annal_event *events, size_t count, handle_batch *batch, annal_error *error);
/* The same for events that were stored elsewhere: those of older versions are taken too. Their upgraded form is checked, and they stay
 * as they are. */
int handle_prepare_import(annal_store *handle, const annal_event *events, size_t count, handle_batch *batch, annal_error *error);
/* The same by the declarations of a generation that the caller holds; NULL: by none. */
int handle_prepare_by(annal_store *handle, script_app *app, const annal_event *events, size_t count, handle_batch *batch,
                      annal_error *error);
/* Stores what was prepared: positions and times are filled in. When the outcome is unknown (error->in_doubt) the ids of the batch
 * are those to save again. */
int handle_store(annal_store *handle, handle_batch *batch, const annal_condition *or_null, annal_error *error);
/* The same for a save as a store takes it, by a generation or NULL: every save goes this way. Rows of projections that are kept inline go
 * with it; `guards` and `rows` of the save are filled in and taken back here. Errors, besides those of store_append: script, budget and
 * invalid of what is kept inline, and then nothing is stored; conflict, where it was overtaken in each of LIMIT_INLINE_TRIES. */
int handle_append(annal_store *handle, script_app *app, store_save *save, annal_error *error);
void handle_free_batch(handle_batch *batch);
/* Room for what handle_add_events adds, to be taken before the events are stored: because then there must be no way left to say that
 * they are not. */
int handle_reserve_events(base_buf *out, const handle_batch *batch, annal_error *error);
/* Appends the events as a JSON array; the ids as {"ids":[…]}. */
void handle_add_events(base_buf *out, const handle_batch *batch);
void handle_add_ids(base_buf *out, const handle_batch *batch);

/* What a transaction's saves make of projections that are kept inline (inline.c). Folds are done when a save is staged, so that they
 * hold no lock where nothing was sent yet; what is overtaken until the commit is `conflict` there. For one thread; the handle outlives
 * it. */
typedef struct handle_inline {
  annal_store *handle;
  script_app *app; /* retained; NULL: nothing is kept inline */
  fold_inline in;
} handle_inline;
void handle_inline_begin(annal_store *handle, handle_inline *kept);
void handle_inline_end(handle_inline *kept); /* accepts one that is zeroed; after the transaction's end */
/* Before the save is staged; saves come in the order in which they are staged. After an error the transaction cannot be committed. */
int handle_inline_stage(handle_inline *kept, const store_save *save, annal_error *error);
/* Right before the commit. */
int handle_inline_commit(handle_inline *kept, store_transaction *t, annal_error *error);

/* ---- Commands (call.c) ------------------------------------------------------------------------------------------------- */

typedef struct handle_request {
  const char *command;
  const char *args; /* JSON */
  size_t args_size;
  const char *id;       /* or NULL: the events get ULIDs, and the call cannot be repeated */
  const char *metadata; /* JSON, or NULL */
  size_t metadata_size;
  base_buf *room; /* or NULL: where handle_reserve_events is done before anything is stored */
} handle_request;

/* Runs a command and stores what it decided; answers the events as stored, also when they were stored by an earlier call under this
 * id. *stored is to be freed in any case: when the outcome is unknown (error->in_doubt) it has the ids of the events. Errors:
 * not_found, invalid (arguments, or an event that does not fit), rejected, conflict (after LIMIT_CALL_TRIES), and those of the
 * scripts and the store. */
int handle_call(annal_store *handle, const handle_request *request, handle_batch *stored, annal_error *error);

/* Before the next try of what was overtaken `tries` times: by chance, so that those who were overtaken together do not come back
 * together. `who` tells callers apart. */
void handle_wait_a_while(const void *who, unsigned tries);

/* Rows saved by hand: `misuse` for a type that the app declares; not_found when latest_event_id is not stored. */
int handle_save_row(annal_store *handle, const char *type, const char *id, const char *data, size_t size,
                    const char *latest_event_id, store_status *status, annal_error *error);

/* The same within a transaction: the row is staged, and latest_event_id is of an event that was stored before. */
int handle_stage_row(annal_store *handle, store_transaction *t, const char *type, const char *id, const char *data, size_t size,
                     const char *latest_event_id, annal_error *error);

/* Rows of a type by the loaded code, or those saved by hand where the app does not declare it. not_found, with an app, for a type
 * that it does not declare and of which nothing was saved by hand; one row that is looked up by its id may be missing. */
int handle_query(annal_store *handle, const annal_query *query, const char *id_or_null, store_each_row *each, void *context,
                 annal_error *error);

/* ---- Sets that are kept (kept.c) ---------------------------------------------------------------------------------------- */

/* What a query of a kept projection reads. */
typedef struct handle_kept {
  char served[STORE_SET_BYTES]; /* "": there is nothing to read, because there are no events */
  bool stale;                   /* it is not of the loaded code */
} handle_kept;
/* Waits until the served set knows of `at_least` (0: for nothing), for `timeout` seconds. Errors: unavailable. */
int handle_kept_open(annal_store *handle, const script_projection *projection, int64_t at_least, double timeout,
                     handle_kept *kept, annal_error *error);

/* annal_rebuild; `options` as handle_sized filled it. */
int handle_rebuild(annal_store *handle, const annal_rebuild_options *options, annal_tell *tell_or_null, void *context,
                   annal_error *error);
/* annal_stats. */
int handle_stats(annal_store *handle, base_buf *out, annal_error *error);

/* Waits until something may have been committed, not beyond `deadline` (run.c). */
int handle_wait(annal_store *handle, int64_t deadline, annal_error *error);

/* Appends a row as a canonical JSON object: data, id, latest_event_id, parked (where it is), position, stale, updated_at (RFC 3339). */
void handle_add_row(base_buf *out, const store_row *row);

#endif
