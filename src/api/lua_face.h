/* The Lua face: what its files (api/lua_*.c) share. Role: `require "annal"` in anybody's Lua 5.4, and annal_push.
 *
 * How memory is kept safe. Any Lua call marked m or e may leave its C function by longjmp, so nothing allocated here is owned by
 * a C variable: what a call needs for itself is userdata kept in a table on the stack (face_scratch); what belongs to a store is
 * a child of it (face_child), ended by its finalizer or by the closing of the store, whichever comes first. Conversions use raw
 * access only, so no metamethod runs in the middle of one; a finalizer may, but it cannot close what a call is using, because
 * calls are counted (face_guard).
 *
 * Metatables and the like are kept in the registry under addresses of this copy of the library, never under names: the module
 * and the library may both be in one process.
 *
 * Stack effects as in the Lua manual: [-popped, +pushed, raises: - never, m memory only, e an error of ours]. */
#ifndef API_LUA_FACE_H
#define API_LUA_FACE_H

#include "api/handle.h"
#include <lua.h>

/* ---- Errors (lua_error.c) ---------------------------------------------------------------------------------------------- */

/* [-0, +1, m] The table { code, message, where, retryable, sqlstate, in_doubt } that is raised for `error`. */
void face_push_error(lua_State *L, const annal_error *error);
/* What is marked so does not return; and has a type for the sake of `return face_raise(…)`. */
#define FACE_RAISES __attribute__((__noreturn__))

/* [-0, +0, e] Raises it. */
FACE_RAISES int face_raise(lua_State *L, const annal_error *error);
/* [-0, +0, e] Raises `misuse`; `where` is the path of the argument or "". */
FACE_RAISES int face_misuse(lua_State *L, const char *where, const char *format, ...) ANNAL_PRINTF(3, 4);
/* [-0, +0, e] Likewise, with the place as the subject of the sentence: face_wrong(L, "limit", "must be …"). */
FACE_RAISES int face_wrong(lua_State *L, const char *where, const char *format, ...) ANNAL_PRINTF(3, 4);
/* [-0, +0, m] */
void face_open_errors(lua_State *L);

/* ---- Values (lua_values.c) --------------------------------------------------------------------------------------------- */

#define FACE_WHERE_BYTES 192 /* a path of arguments, cut beyond */
#define FACE_SHOW_BYTES 112

/* Owner of what one call needs: a table at `anchor` that keeps strings and blocks alive. */
typedef struct face_scratch {
  lua_State *L;
  int anchor;
  lua_Integer kept;
  bool plain; /* the selection that was read is of one stream that is not called so: see handle_plain_where */
} face_scratch;

/* [-0, +1, m] */
face_scratch face_scratch_open(lua_State *L);
/* [-1, +0, m] Keeps the value on top alive as long as the scratch. */
void face_keep(face_scratch *scratch);
/* [-0, +0, m] A zeroed block that lives as long as the scratch. */
void *face_room(face_scratch *scratch, size_t count, size_t size);
/* [-0, +0, m] An empty buffer that lives as long as the scratch. */
base_buf *face_buffer(face_scratch *scratch);

/* [-0, +0, -] The value at `index` as it is shown in messages: "a table", 5, "text". */
const char *face_show(lua_State *L, int index, char out[FACE_SHOW_BYTES]);
/* [-0, +0, -] "where.name" and "where[number]". */
void face_path(char out[FACE_WHERE_BYTES], const char *where, const char *name);
void face_path_at(char out[FACE_WHERE_BYTES], const char *where, lua_Integer number);

/* [-0, +0, e] The table at `index` has no other keys than `keys` (ended by NULL); `what` names it: "option of store:events". */
/* [-0, +0, e] Refuses the table if it has a metatable, unless it is annal.array's: everything is read raw. */
void face_plain_table(lua_State *L, int index, const char *where);
void face_check_keys(lua_State *L, int index, const char *where, const char *what, const char *const *keys);
/* [-0, +0, e] The key is none: says so, with a hint where another name is near, else with those that there are. */
FACE_RAISES int face_unknown(lua_State *L, const char *where, const char *what, const char *key, const char *const *keys);
/* [-0, +1, -] The raw field; answers its type. */
int face_field(lua_State *L, int index, const char *key);
/* [-0, +0, e] Length of the list at `index`: keys exactly 1..n, n at least 1. */
lua_Integer face_list(lua_State *L, int index, const char *where, const char *of_what);
/* [-0, +0, e] The string at `index`, valid UTF-8 without U+0000; alive as long as it is on the stack or in its table. */
const char *face_text(lua_State *L, int index, const char *where);
/* [-0, +0, e] Likewise, not empty. */
const char *face_name(lua_State *L, int index, const char *where);
/* [-0, +0, e] An integer, or a float that is one, not below `least`. */
lua_Integer face_integer(lua_State *L, int index, const char *where, lua_Integer least);
/* [-0, +0, e] */
bool face_boolean(lua_State *L, int index, const char *where);
/* [-0, +0, e] Text of a field of an options table, kept; NULL when it is absent. */
const char *face_text_field(face_scratch *scratch, int index, const char *where, const char *key);

/* ---- Selections (lua_selection.c) -------------------------------------------------------------------------------------- */

/* [-0, +0, e] A filter { field = value | { values } }. */
const annal_field *face_fields(face_scratch *scratch, int index, const char *where, size_t *count);
/* [-0, +0, e] A list of streams { types, data, after, all }; in a condition `after` is an event id and nothing else. */
const annal_stream *face_streams(face_scratch *scratch, int index, const char *where, bool condition, size_t *count);
/* [-0, +0, e] The table of store:events; an absent one (nil) selects all. */
void face_selection(face_scratch *scratch, int index, annal_selection *selection);
/* [-0, +0, e] The table of store:follow; *idle_seconds is negative where nothing was said. */
void face_follow_selection(face_scratch *scratch, int index, annal_selection *selection, double *idle_seconds);
/* [-0, +0, e] The arguments of get_event_stream: types at `types`, options at `options`, either may be nil. */
void face_stream_selection(face_scratch *scratch, int types, int options, bool latest, annal_selection *selection);
/* [-0, +1, m] Streams as a list that face_streams reads. */
void face_push_streams(lua_State *L, const annal_stream *streams, size_t count);

/* ---- The store object (lua_store.c) ------------------------------------------------------------------------------------ */

typedef struct face_child face_child;

typedef struct face_store {
  annal_store *handle; /* NULL once closed */
  face_child *children;
  int calls;  /* of its methods and its children's that are under way: it is not closed beneath them */
  bool owned; /* opened by annal.open: closing the object closes the handle */
  bool in_transaction;
} face_store;

/* Head of every userdata that holds something of a store's. */
struct face_child {
  face_store *store; /* NULL once ended */
  face_child *next;
  face_child **link;
  void (*end)(face_child *child); /* gives back what it holds; called once; must not touch Lua */
  int calls;
};

/* A kind of object: what its metatable is made of. Its address is the metatable's key in the registry. */
typedef struct face_method {
  const char *name;
  lua_CFunction body; /* called with self at 1 and exactly `most` arguments after it (nil where absent) */
  int most;
} face_method;

typedef struct face_class {
  const char *name;           /* "store", as it is called in messages */
  const face_method *methods; /* ended by a NULL name */
  const char *const *fields;  /* read by `get`; ended by NULL; may be NULL */
  lua_CFunction get;          /* called with self at 1 and the field's name at 2 */
  lua_CFunction call;         /* __call; may be NULL */
  lua_CFunction close;        /* __gc, __close and :close(): works on an ended object too */
  lua_CFunction text;         /* __tostring */
  bool is_child;
} face_class;

extern const face_class face_store_class, face_cursor_class, face_batch_class, face_projection_class, face_follower_class,
    face_transaction_class;

/* [-0, +0, m] Makes everything a Lua state needs, once. `env` is copied. */
void face_open(lua_State *L, const base_env *env);
/* [-0, +0, -] What face_open was given. */
const base_env *face_env(lua_State *L);
/* [-0, +0, m] */
void face_open_class(lua_State *L, const face_class *class);
/* [-1, +1, -] Makes the userdata on top one of a class. */
void face_set_class(lua_State *L, const face_class *class);
/* [-0, +0, -] The object at `index` if it is one of that class, else NULL. */
void *face_to(lua_State *L, int index, const face_class *class);
/* [-0, +0, e] The open store of a method's self at 1. */
face_store *face_self(lua_State *L);
/* [-0, +1, m] A zeroed child of the store at `index`, with its head filled in. Its user value 1 is the store, 2 is the class's own. */
void *face_new_child(lua_State *L, int index, size_t size, const face_class *class, void (*end)(face_child *child));
/* [-0, +0, -] Ends it now; harmless when repeated. */
void face_end_child(face_child *child);
/* [-0, +0, e] Body of __gc, __close and :close() of a child's class. */
int face_close_child(lua_State *L, const face_class *class);
/* [-0, +1, m] A store object over `handle`, which may be NULL until annal.open has it. */
face_store *face_new_store(lua_State *L, annal_store *handle, bool owned);
/* [-2, +1, e] annal.open(location, options) */
int face_open_store(lua_State *L);

/* ---- Events (lua_events.c) --------------------------------------------------------------------------------------------- */

/* [-0, +1, e] The event as a table; one without position, which is not stored yet, has no created_at either. */
void face_push_event(lua_State *L, const annal_event *event);
/* [-0, +0, e] Reads one event or a list of them (*is_list) at `index`. `stored`: position and created_at may be there. */
annal_event *face_events(face_scratch *scratch, int index, const char *where, bool stored, size_t *count, bool *is_list);
/* Events that were made ready to be saved: a child of the store. */
typedef struct face_batch {
  face_child head;
  handle_batch batch;
  bool is_list; /* they came as a list, and are answered as one */
} face_batch;

void face_batch_end(face_child *child); /* gives back what a batch holds */
/* [-0, +0, e] Raises why its save failed; who is in doubt is told the ids that settle it. */
FACE_RAISES void face_raise_save(lua_State *L, const face_batch *batch, const annal_error *error);
/* [-0, +1, e] Makes ready what stands at `index`. `owner` is the index of the store object. */
face_batch *face_prepare(lua_State *L, int owner, int index);
/* [-0, +1, e] Its events: an event for an event, a list for a list. */
void face_push_batch(lua_State *L, const face_batch *batch);
/* [-0, +1, e] Saves what stands at `index` and pushes what was stored. `owner` is the index of the store object, or of a transaction's,
 * in which it is staged. */
void face_save(lua_State *L, int owner, int index, const annal_condition *or_null);

/* Bodies of methods: [-arguments, +results, e] */
int face_save_event(lua_State *L);
int face_save_events(lua_State *L);
int face_save_validated(lua_State *L);
int face_get_latest_event(lua_State *L);
int face_get_event_stream(lua_State *L);
int face_get_event_streams(lua_State *L);
int face_events_iterator(lua_State *L);

int face_follow(lua_State *L); /* lua_follow.c */

/* ---- Commands (lua_call.c) --------------------------------------------------------------------------------------------- */

int face_call(lua_State *L);
int face_caused_by(lua_State *L); /* annal.caused_by: [-arguments, +1, e] */

/* ---- Transactions (lua_transaction.c) ---------------------------------------------------------------------------------- */

int face_transaction(lua_State *L);
/* [-0, +1, e] Stages what stands at `index` in the transaction at `owner` and pushes it. */
void face_stage(lua_State *L, int owner, int index, const annal_condition *or_null);
/* [-0, +0, e] While a transaction is under way, what is no read goes over it and not over the store and its projections. */
void face_check_transaction(lua_State *L, const face_class *class, const char *method);

/* ---- Projections (lua_projection.c) and their rows (lua_rows.c) -------------------------------------------------------- */

int face_projection(lua_State *L);
int face_view(lua_State *L);
int face_save_projection(lua_State *L);
int face_get_projection(lua_State *L);
int face_query_projections(lua_State *L);
int face_rebuild(lua_State *L); /* lua_rebuild.c */
int face_stats(lua_State *L);
/* [-0, +1, e] Stages the row at `index` in a transaction of the store's, and pushes it. */
void face_stage_row(lua_State *L, int index, annal_store *handle, store_transaction *t);
/* [-0, +1, e] What saving a row answers: { type, id, data, latest_event_id, status }; without status as long as it is staged. */
void face_push_saved_row(lua_State *L, const char *type, const char *id, const base_buf *data, const char *latest_event_id,
                         const store_status *status_or_null);

#endif
