/* Which set of rows a query of a projection that is kept reads; see handle.h. Role: the reader's side of what the worker writes. */
#include "api/handle.h"

#include "base/error.h"
#include "base/limits.h"
#include <string.h>

/* The served set and how far it has come: *there is false as long as none is. */
static int look(annal_store *handle, const script_projection *projection, store_set *found, bool *there, annal_error *error) {
  int code = store_set_look(handle->store, projection->name, projection->fingerprint, found, error);
  *there = !code && found->kept.served[0];
  if (code || !*there || strcmp(found->kept.served, projection->fingerprint) == 0) return code;
  char served[STORE_SET_BYTES];
  memcpy(served, found->kept.served, sizeof served);
  return store_set_look(handle->store, projection->name, served, found, error);
}

static int fail_unserved(const script_projection *projection, annal_error *error) {
  error_set(error, ANNAL_UNAVAILABLE, NULL,
            "%s is kept in the background, and its rows are not complete yet: let a worker run (annal run, annal_run_once), or "
            "rebuild it (annal rebuild %s)",
            projection->name, projection->name);
  error->retryable = true;
  return error->code;
}

static int fail_behind(const script_projection *projection, const store_set *found, int64_t at_least, double timeout,
                       annal_error *error) {
  error_set(error, ANNAL_UNAVAILABLE, "at_least",
            "the rows of %s know of position %lld, and within %g s not of %lld: does a worker run (annal run, annal_run_once)?",
            projection->name, (long long)found->checkpoint.position, timeout, (long long)at_least);
  error->retryable = true;
  return error->code;
}

/* Between two looks: at first hardly any, for most often a worker is about to be done. */
#define PAUSE_FIRST_US 1000
#define PAUSE_MOST_US 20000

static int wait_for(annal_store *handle, const script_projection *projection, int64_t at_least, double timeout, store_set *found,
                    annal_error *error) {
  double seconds = timeout > 0 ? timeout : handle->options.timeout;
  int64_t deadline = base_monotonic() + (seconds < 1e9 ? (int64_t)(seconds * 1e6) : INT64_MAX / 4), pause = PAUSE_FIRST_US;
  for (;;) {
    bool there;
    int code = look(handle, projection, found, &there, error);
    if (code || (at_least == 0 && (there || found->head.position == 0))) return code;
    if (there && found->checkpoint.position >= at_least && at_least > 0) return ANNAL_OK;
    int64_t now = base_monotonic();
    if (at_least == 0 || (now >= deadline && !there)) return fail_unserved(projection, error);
    if (now >= deadline) return fail_behind(projection, found, at_least, seconds, error);
    code = handle_wait(handle, now + pause < deadline ? now + pause : deadline, error);
    if (code) return code;
    pause = pause * 2 < PAUSE_MOST_US ? pause * 2 : PAUSE_MOST_US;
  }
}

int handle_kept_open(annal_store *handle, const script_projection *projection, int64_t at_least, double timeout,
                     handle_kept *kept, annal_error *error) {
  store_set found;
  int code = wait_for(handle, projection, at_least, timeout, &found, error);
  *kept = (handle_kept){0};
  if (code) return code;
  memcpy(kept->served, found.kept.served, sizeof kept->served);
  kept->stale = strcmp(kept->served, projection->fingerprint) != 0;
  return ANNAL_OK;
}
