/* annal_run_once: what is done in the background, by whoever lends a thread for it; see handle.h. annal starts none of its own.
 *
 * Each kind of work is a step. A step does what is due now, says whether there was something, and waits for nothing. */
#include "api/handle.h"

#include "base/error.h"
#include "base/limits.h"
#include <time.h>

typedef int run_step(annal_store *handle, bool *done, annal_error *error);

static int look_for_scripts(annal_store *handle, bool *done, annal_error *error) {
  (void)error; /* what is wrong with scripts goes to the log */
  *done = handle_look(handle);
  return ANNAL_OK;
}

/* In this order: what comes later works by the scripts as they are then. */
static run_step *const steps[] = {look_for_scripts};

static int run_steps(annal_store *handle, bool *any, annal_error *error) {
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    bool done = false;
    int code = steps[i](handle, &done, error);
    if (code) return code;
    if (done) *any = true;
  }
  return ANNAL_OK;
}

int handle_run_once(annal_store *handle, double seconds, annal_error *error) {
  if (!(seconds >= 0)) return error_set(error, ANNAL_MISUSE, NULL, "the seconds to wait must be at least 0");
  int64_t deadline = base_monotonic() + (seconds < 1e9 ? (int64_t)(seconds * 1e6) : INT64_MAX / 4);
  unsigned interrupts = atomic_load(&handle->interrupts);
  int code = store_check_own(handle->store, error);
  if (code) return code;
  for (;;) {
    bool any = false;
    code = run_steps(handle, &any, error);
    if (code) return code;
    if (atomic_load(&handle->interrupts) != interrupts) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
    int64_t left = deadline - base_monotonic();
    if (any || left <= 0) return ANNAL_OK;
    struct timespec nap = {.tv_nsec = (left < LIMIT_RUN_SLICE_US ? left : LIMIT_RUN_SLICE_US) * 1000};
    nanosleep(&nap, NULL);
  }
}
