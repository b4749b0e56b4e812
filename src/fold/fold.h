/* Folding: events into a state, a state into a view, rows saved and continued. Role: the way from the log to what readers see.
 *
 * Invariants:
 *  1. A view equals the fold of all events of its streams up to its position, by the scripts of one generation.
 *  2. A saved row, and a state kept in memory, is used only under its own fingerprint, and only when the event at its position still
 *     bears its id; otherwise the fold begins at the first event.
 *  3. States are kept as bytes (canonical JSON), never as Lua values, so that a continued fold and a fresh one cannot differ. */
#ifndef FOLD_FOLD_H
#define FOLD_FOLD_H

#include "fold/cache.h"
#include "script/script.h"
#include "store/store.h"

/* What a fold stands on. Borrowed: env, store and cache must outlive the instances opened over them; the generation is retained by each. */
typedef struct fold_context {
  const base_env *env;
  store *store;
  script_app *app;
  fold_cache *cache; /* or NULL: none */
} fold_context;

/* One instance of a projection, as of when it was last read. For one thread at a time. It keeps its generation alive. */
typedef struct fold_instance fold_instance;

/* use_saved: reads begin at a saved row or a state kept in memory, where there is one, and what they come to is kept; else at the first
 * event, and nothing is kept. Errors: not_found (no such projection), misuse (an id where the projection has none, an empty one where it has), invalid;
 * script and budget where the projection makes its streams by a function. */
int fold_open(const fold_context *context, const char *projection, const char *id, bool use_saved, fold_instance **out,
              annal_error *error);
void fold_close(fold_instance *instance); /* accepts NULL */

/* Reads what is new (everything, the first time) and folds it. The other calls do this at first use by themselves. Drops staged
 * events and a history laid in. When it fails the instance is as before. */
int fold_refresh(fold_instance *instance, annal_error *error);

/* The same as of a head that was taken before, from position 0 on: folds no event above it, and misses none up to it, so that several
 * instances can be read as of one head, over whatever connections. With an empty id: as of a position that was seen. Going back to an
 * earlier position reads anew. A saved row that is newer is passed over. */
int fold_refresh_at(fold_instance *instance, const store_head_info *head, annal_error *error);

/* Lays events over it that are about to be stored, as of what was read: those of its own streams alone, or where the projection says
 * itself which are (`ids`), those of these that are. They were checked, bear ids and SCRIPT_NOT_STORED_YET. *last: the last one that
 * counted, SIZE_MAX when none did. */
int fold_lay(fold_instance *instance, const annal_event *events, size_t count, size_t *last, annal_error *error);

/* The row of it, as it is with what is laid over it; position and latest_event_id are of what was read. It borrows from the instance,
 * until that changes, and from `view`, on which the view is appended. Errors: those of fold_view; invalid where a declared field of the
 * view is too long. */
int fold_row(fold_instance *instance, base_buf *view, store_row *row, annal_error *error);

/* Appends the view, canonical JSON: with `staged` events laid over the state, and checked against `shape`. */
int fold_view(fold_instance *instance, base_buf *out, annal_error *error);

/* Lays events over what was read, without storing them, as if they were stored: those that are not of this instance's streams
 * change nothing, nor do those whose position was read already. They are checked as for a save (script_check_event) unless they
 * bear a position; those of older versions by what they are upgraded to. All or none. Errors name the event
 * ("events[2].data.quantity") where there are several. */
int fold_apply(fold_instance *instance, const annal_event *events, size_t count, annal_error *error);

/* Replaces what was read by these events alone, in the order given; those that are not of this instance's streams change nothing.
 * All or none. */
int fold_from_history(fold_instance *instance, const annal_event *events, size_t count, annal_error *error);

/* Writes the row. Staged events that all bear a position are stored already: then it reads again first, so that the row holds
 * them in their places. Errors: misuse while events are staged that are not stored or a history is laid in, not_found without
 * events, invalid where a declared field of the view is too long. */
int fold_save(fold_instance *instance, store_status *status, annal_error *error);

/* Facts; they read at first use as the others do. `latest_event_id` is "" and position 0 when there is no event. */
int fold_position(fold_instance *instance, int64_t *position, const char **latest_event_id, annal_error *error);
/* The streams of this instance, borrowed. */
int fold_streams(fold_instance *instance, const annal_stream **streams, size_t *count, annal_error *error);
const char *fold_id(const fold_instance *instance);
const script_projection *fold_projection(const fold_instance *instance);

#endif
