/* annal_run_once: what is done in the background, by whoever lends a thread for it; see handle.h. annal starts none of its own.
 *
 * Each kind of work is a step. A step does what is due now, says whether there was something, and waits for nothing. */
#include "api/handle.h"

#include "base/error.h"
#include "base/limits.h"

typedef int run_step(annal_store *handle, bool *done, annal_error *error);

static int look_for_scripts(annal_store *handle, bool *done, annal_error *error) {
  (void)error; /* what is wrong with scripts goes to the log */
  *done = handle_look(handle);
  return ANNAL_OK;
}

static int keep_projections(annal_store *handle, bool *done, annal_error *error) {
  script_app *app = handle_app(handle);
  int code = app ? keeper_step(handle->keeper, app, done, error) : ANNAL_OK;
  script_release(app);
  return code;
}

/* In this order: what comes later works by the scripts as they are then. */
static run_step *const steps[] = {look_for_scripts, keep_projections};

static int run_steps(annal_store *handle, bool *any, annal_error *error) {
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    bool done = false;
    int code = steps[i](handle, &done, error);
    if (done) *any = true;
    if (code) return code;
  }
  return ANNAL_OK;
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------------- */

/* The watch that the last call left, so that it notices what was committed since; or a new one. */
static int take_watch(annal_store *handle, store_watch **watch, bool *fresh, annal_error *error) {
  pthread_mutex_lock(&handle->watch_lock);
  *watch = handle->watch;
  handle->watch = NULL;
  pthread_mutex_unlock(&handle->watch_lock);
  *fresh = !*watch;
  return *watch ? ANNAL_OK : store_watch_open(handle->store, watch, error);
}

static void leave_watch(annal_store *handle, store_watch *watch) {
  pthread_mutex_lock(&handle->watch_lock);
  store_watch *other = handle->watch;
  handle->watch = watch;
  pthread_mutex_unlock(&handle->watch_lock);
  store_watch_close(handle->store, other);
}

/* Until something may have been committed, or it is time to look around without that. A watch that was only just opened may have
 * missed a commit, so there is no wait on it yet. */
int handle_wait(annal_store *handle, int64_t deadline, annal_error *error) {
  store_watch *watch;
  bool fresh;
  int code = take_watch(handle, &watch, &fresh, error);
  if (code) return code;
  if (!fresh) code = store_watch_wait(handle->store, watch, deadline, error);
  leave_watch(handle, watch);
  return code;
}

int handle_run_once(annal_store *handle, double seconds, bool *done, annal_error *error) {
  if (!(seconds >= 0)) return error_set(error, ANNAL_MISUSE, NULL, "the seconds to wait must be at least 0");
  int64_t deadline = base_monotonic() + (seconds < 1e9 ? (int64_t)(seconds * 1e6) : INT64_MAX / 4);
  unsigned interrupts = atomic_load(&handle->interrupts);
  int code = store_check_own(handle->store, error);
  while (!code) {
    bool any = false;
    code = run_steps(handle, &any, error);
    if (done) *done = any;
    if (!code && atomic_load(&handle->interrupts) != interrupts) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    if (code || any || base_monotonic() >= deadline) return code;
    int64_t slice = base_monotonic() + LIMIT_RUN_SLICE_US;
    code = handle_wait(handle, slice < deadline ? slice : deadline, error);
  }
  return code;
}
