/* The handle: opening, closing, instances of projections; see handle.h. */
#include "api/handle.h"

#include "base/error.h"
#include "base/text.h"

#define CACHE_LEAST 2 /* bytes; 1 says that there is to be no cache, for 0 is the default */

int handle_open(const char *location, const annal_options *or_null, annal_store **out, annal_error *error) {
  *out = NULL;
  annal_options given = {.size = sizeof given};
  base_env env;
  if (!location || !*location)
    return error_set(error, ANNAL_MISUSE, NULL,
                     "the location is missing: a path, \"sqlite:path\", \":memory:\" or \"postgresql://...\"");
  int code = or_null ? handle_sized(or_null, &given, sizeof given, "annal_options", error) : ANNAL_OK;
  if (code) return code;
  base_env_init(&env, &given);
  annal_store *handle = base_calloc(&env, 1, sizeof *handle);
  if (!handle) return error_memory(error);
  handle->env = env;
  ulid_init(&handle->ulid);
  reload_init(handle);
  turns_init(&handle->turns);
  pthread_mutex_init(&handle->watch_lock, NULL);
  lanes_init(&handle->lanes);
  code = handle_copy_options(&handle->env, &given, &handle->options, &handle->options_memory, error);
  if (!code) code = store_open(&handle->env, location, &handle->options, &handle->store, error);
  if (!code && handle->options.cache >= CACHE_LEAST) {
    handle->cache = cache_new(&handle->env, handle->options.cache);
    if (!handle->cache) code = error_memory(error);
  }
  if (!code) code = keeper_new(&handle->env, handle->store, &handle->keeper, error);
  if (!code && handle->options.app) code = handle_load(handle, handle->options.app, error);
  if (code) {
    handle_close(handle);
    return code;
  }
  *out = handle;
  return ANNAL_OK;
}

void handle_close(annal_store *handle) {
  if (!handle) return;
  keeper_free(handle->keeper);
  reload_end(handle);
  if (handle->watch) store_watch_close(handle->store, handle->watch);
  cache_free(handle->cache);
  if (handle->store) store_close(handle->store);
  ulid_destroy(&handle->ulid);
  turns_destroy(&handle->turns);
  pthread_mutex_destroy(&handle->watch_lock);
  lanes_destroy(&handle->lanes);
  base_env env = handle->env;
  base_free(&env, handle->options_memory);
  base_free(&env, handle);
}

void handle_interrupt(annal_store *handle) {
  atomic_fetch_add(&handle->interrupts, 1);
  store_interrupt(handle->store);
}

fold_context handle_context(annal_store *handle, script_app *app) {
  return (fold_context){.env = &handle->env, .store = handle->store, .app = app, .cache = handle->cache};
}

int handle_projection(annal_store *handle, const char *projection, const char *id, bool use_saved, fold_instance **instance,
                      annal_error *error) {
  char shown[96];
  *instance = NULL;
  if (!projection || !*projection) return error_set(error, ANNAL_MISUSE, NULL, "the name of the projection is missing");
  script_app *app = handle_app(handle);
  if (!app)
    return error_set(error, ANNAL_NOT_FOUND, NULL,
                     "there is no projection \"%s\": no scripts are loaded; open with an app, or load one",
                     text_show(projection, shown));
  fold_context context = handle_context(handle, app);
  int code = fold_open(&context, projection, id ? id : "", use_saved, instance, error);
  script_release(app);
  return code;
}
