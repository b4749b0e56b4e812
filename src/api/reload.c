/* The generation in force, and how another takes its place; see handle.h. Role: loading, looking for changed scripts, and every
 * call's way to the scripts (handle_app).
 *
 * What tells one set of scripts from another is the hash of their paths and bytes; that inotify or the clock says that it is time to
 * look are hints only. What was hashed is what is loaded: the files are read once for both. A set is loaded apart, in states of its
 * own, and then one pointer is swapped: a call has taken one generation or the other, and keeps it alive as long as it needs it.
 *
 * Two locks. reload.lock is held by whoever looks or loads, for as long as that takes; a call that finds it taken goes on with what
 * is in force. app_lock is held for the moment in which the pointer is taken or swapped. The pointer is swapped only under both, so
 * holding either is enough to read it. */
#include "api/handle.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

void reload_init(annal_store *handle) {
  pthread_mutexattr_t checked;
  pthread_mutexattr_init(&checked);
  pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK); /* a log callback may call back, see lock */
  pthread_mutex_init(&handle->reload.lock, &checked);
  pthread_mutexattr_destroy(&checked);
  pthread_mutex_init(&handle->app_lock, NULL);
}

void reload_end(annal_store *handle) {
  script_release(handle->app);
  script_watch_close(handle->reload.watch);
  pthread_mutex_destroy(&handle->reload.lock);
  pthread_mutex_destroy(&handle->app_lock);
}

/* A child of the process that opened the store shares its descriptor with the parent and its locks with nobody: it keeps off. */
static int lock(annal_store *handle, annal_error *error) {
  int code = store_check_own(handle->store, error);
  if (code) return code;
  if (pthread_mutex_lock(&handle->reload.lock) == 0) return ANNAL_OK;
  return error_set(error, ANNAL_MISUSE, NULL,
                   "scripts are being loaded: they cannot be loaded by what that calls, as a log callback");
}

static void unlock(annal_store *handle) { pthread_mutex_unlock(&handle->reload.lock); }

/* ---- What was found ---------------------------------------------------------------------------------------------------- */

/* A set that was read, or what stood in the way of reading it; and what tells it from others. */
typedef struct found_set {
  script_app *app; /* NULL: there is an error */
  annal_error *error;
  char key[HASH_TEXT_BYTES];
} found_set;

static void read_set(annal_store *handle, found_set *found) {
  reload_state *r = &handle->reload;
  int64_t begin = base_monotonic();
  found->app = NULL;
  r->hinted = false;
  if (script_read_again(handle->app, r->watch, &found->app, found->error)) {
    char text[sizeof(annal_error) + 16];
    int size = snprintf(text, sizeof text, "%d %s %s", found->error->code, found->error->where, found->error->message);
    hash_text(text, (size_t)size, found->key);
  } else {
    memcpy(found->key, script_hash(found->app), sizeof found->key);
  }
  int64_t end = base_monotonic();
  int64_t pause = r->watch && script_watch_is_whole(r->watch) ? LIMIT_RELOAD_DOUBT_US : LIMIT_RELOAD_POLL_US;
  int64_t share = (end - begin) * LIMIT_RELOAD_SHARE;
  r->read_at = end + (share > pause ? share : pause);
}

static bool is_in_force(const annal_store *handle, const found_set *found) {
  return found->app && strcmp(found->key, script_hash(handle->app)) == 0;
}

/* Whether it failed before and would again. Want of memory and an interruption are no faults of the scripts. */
static bool is_known_to_fail(const annal_store *handle, const found_set *found) {
  const reload_state *r = &handle->reload;
  return strcmp(found->key, r->failed) == 0 && r->failure.code != ANNAL_UNAVAILABLE;
}

/* Whether nobody is in the middle of changing it: because the last change is a while ago, or, where the clocks of this machine and
 * of the file system differ or there is nothing to ask for a time, because it was the same a while ago. */
static bool is_settled(reload_state *r, const found_set *found) {
  int64_t now = base_monotonic();
  if (found->app) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    int64_t real = (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
    if (real - script_changed_at(found->app) >= LIMIT_RELOAD_SETTLE_US) return true;
  }
  if (strcmp(found->key, r->seen) == 0) return now - r->seen_at >= LIMIT_RELOAD_SETTLE_US;
  memcpy(r->seen, found->key, sizeof r->seen);
  r->seen_at = now;
  return false;
}

static void forget(reload_state *r) { r->seen[0] = r->failed[0] = 0; }

/* Takes the generation over. Its predecessor ends with the last call that has taken it. */
static void put_in_force(annal_store *handle, script_app *app) {
  pthread_mutex_lock(&handle->app_lock);
  script_app *old = handle->app;
  handle->app = app;
  pthread_mutex_unlock(&handle->app_lock);
  script_release(old);
  forget(&handle->reload);
}

/* Makes the set the generation in force, or remembers that it cannot be. Takes the set over in any case. */
static int adopt(annal_store *handle, found_set *found) {
  reload_state *r = &handle->reload;
  int code = found->app ? script_build(found->app, found->error) : found->error->code;
  if (!code) {
    put_in_force(handle, found->app);
    return ANNAL_OK;
  }
  script_release(found->app);
  r->seen[0] = 0;
  memcpy(r->failed, found->key, sizeof r->failed);
  r->failure = *found->error;
  if (code == ANNAL_UNAVAILABLE) r->hinted = true; /* it is tried again */
  return code;
}

/* ---- Asked for --------------------------------------------------------------------------------------------------------- */

int handle_load(annal_store *handle, const char *directory, annal_error *error) {
  if (!directory || !*directory) return error_set(error, ANNAL_MISUSE, NULL, "the directory of scripts is missing");
  const store_fields *fields = store_event_fields(handle->store);
  script_options options = {.budget = handle->options.budget,
                            .memory = handle->options.memory,
                            .identifiers = (const char *const *)fields->names,
                            .identifier_count = fields->count,
                            .interrupts = &handle->interrupts};
  script_app *app;
  int code = lock(handle, error);
  if (code) return code;
  code = script_load(&handle->env, &options, directory, &app, error);
  if (!code) {
    put_in_force(handle, app);
    handle->reload.read_at = 0; /* it is not watched yet */
    atomic_store(&handle->reload.look_at, base_monotonic() + LIMIT_RELOAD_LOOK_US);
  }
  unlock(handle);
  return code;
}

/* Reads until two readings in a row are the same: so it is not half of one version and half of another that were swapped by one
 * step in between. */
static void read_steadily(annal_store *handle, found_set *found) {
  char last[HASH_TEXT_BYTES];
  read_set(handle, found);
  for (int i = 1; i < LIMIT_RELOAD_READINGS && !is_in_force(handle, found); i++) {
    memcpy(last, found->key, sizeof last);
    script_release(found->app);
    read_set(handle, found);
    if (strcmp(found->key, last) == 0) break;
  }
}

int handle_reload(annal_store *handle, bool *changed, annal_error *error) {
  *changed = false;
  int code = lock(handle, error);
  if (code) return code;
  found_set found = {.error = error};
  if (handle->app) read_steadily(handle, &found);
  if (!handle->app || is_in_force(handle, &found)) {
    forget(&handle->reload);
    script_release(found.app);
  } else if (is_known_to_fail(handle, &found)) {
    *error = handle->reload.failure;
    code = error->code;
    script_release(found.app);
  } else {
    code = adopt(handle, &found);
    *changed = !code;
  }
  unlock(handle);
  return code;
}

/* ---- Unasked ----------------------------------------------------------------------------------------------------------- */

typedef enum look_result { LOOK_NOTHING, LOOK_LOADED, LOOK_FAILED } look_result;

static look_result look_at_set(annal_store *handle, found_set *found) {
  reload_state *r = &handle->reload;
  read_set(handle, found);
  bool in_force = is_in_force(handle, found);
  if (in_force) forget(r);
  if (in_force || is_known_to_fail(handle, found)) {
    script_release(found->app);
    return LOOK_NOTHING;
  }
  if (!is_settled(r, found)) {
    r->hinted = true; /* there may be no other hint */
    script_release(found->app);
    return LOOK_NOTHING;
  }
  bool again = strcmp(found->key, r->failed) == 0;
  if (!adopt(handle, found)) return LOOK_LOADED;
  return again ? LOOK_NOTHING : LOOK_FAILED;
}

/* Under reload.lock. */
static look_result look(annal_store *handle, annal_error *error) {
  reload_state *r = &handle->reload;
  if (!handle->app) return LOOK_NOTHING;
  if (!r->watch) r->watch = script_watch_open(&handle->env);
  if (r->watch && script_watch_hint(r->watch)) r->hinted = true;
  if (!r->hinted && base_monotonic() < r->read_at) return LOOK_NOTHING;
  found_set found = {.error = error};
  return look_at_set(handle, &found);
}

bool handle_look(annal_store *handle) {
  reload_state *r = &handle->reload;
  annal_error error;
  if (handle->options.no_reload || !store_is_own(handle->store) || pthread_mutex_trylock(&r->lock)) return false;
  look_result result = look(handle, &error);
  atomic_store(&r->look_at, base_monotonic() + LIMIT_RELOAD_LOOK_US);
  unlock(handle);
  if (result == LOOK_FAILED)
    base_log(&handle->env, "error", "%s: %s%s%.600s; the scripts that were loaded before stay in force",
             annal_code_name(error.code), error.where, error.where[0] ? ": " : "", error.message);
  return result != LOOK_NOTHING;
}

script_app *handle_app(annal_store *handle) {
  if (!handle->options.no_reload && base_monotonic() >= atomic_load_explicit(&handle->reload.look_at, memory_order_relaxed))
    handle_look(handle);
  pthread_mutex_lock(&handle->app_lock);
  script_app *app = handle->app ? script_retain(handle->app) : NULL;
  pthread_mutex_unlock(&handle->app_lock);
  return app;
}
