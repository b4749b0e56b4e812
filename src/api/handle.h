/* The handle: one open store, its options, the generation in force. Role: what the C face (api/c_*.c) and the Lua face
 * (api/lua_*.c) share, so that both do the same thing in the same way. */
#ifndef API_HANDLE_H
#define API_HANDLE_H

#include "base/ulid.h"
#include "fold/fold.h"
#include "script/script.h"
#include "store/store.h"
#include <pthread.h>

struct annal_store {
  base_env env;
  annal_options options; /* owned copy, every default filled in */
  char *location;
  store *store;
  base_ulid ulid;
  pthread_mutex_t app_lock;
  script_app *app; /* the generation in force, under app_lock; NULL without scripts */
};

int handle_open(const char *location, const annal_options *or_null, annal_store **out, annal_error *error);
void handle_close(annal_store *handle);
int handle_load(annal_store *handle, const char *directory, annal_error *error);

/* The generation in force, retained for the caller, who releases it; NULL without scripts. A call takes it once. */
script_app *handle_app(annal_store *handle);

/* Events on their way in: checked against limits and declarations, made canonical, given ids. Owned by the caller. */
typedef struct handle_batch {
  const base_env *env;
  annal_event *events;
  size_t count;
  void *memory;
} handle_batch;

/* Copies and checks; nothing is stored. Errors name the event ("events[2].data.quantity"), a single event without the index. */
int handle_prepare(annal_store *handle, const annal_event *events, size_t count, handle_batch *batch, annal_error *error);
/* Stores what was prepared: positions and times are filled in. */
int handle_store(annal_store *handle, handle_batch *batch, const annal_condition *or_null, annal_error *error);
void handle_free_batch(handle_batch *batch);

/* Rows saved by hand: `misuse` for a type that the app declares; not_found when latest_event_id is not stored. */
int handle_save_row(annal_store *handle, const char *type, const char *id, const char *data, size_t size,
                    const char *latest_event_id, store_status *status, annal_error *error);

/* Rows of a type by the loaded code, or those saved by hand where the app does not declare it. */
int handle_query(annal_store *handle, const annal_query *query, const char *id_or_null, store_each_row *each, void *context,
                 annal_error *error);

#endif
