/* Which set of rows a query of a projection that is kept reads; see handle.h. Role: the reader's side of what the worker writes. */
#include "api/handle.h"

#include "base/error.h"
#include "base/limits.h"
#include <stdlib.h>
#include <string.h>

/* ---- Waiting ----------------------------------------------------------------------------------------------------------- */

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

/* ---- Parked instances --------------------------------------------------------------------------------------------------- */

enum { PARKED_AT_ONCE = 1000 };

typedef struct gathering {
  handle_kept *kept;
  size_t count; /* of this page */
} gathering;

static void add_parked(void *context, const store_parked *parked) {
  gathering *g = context;
  const char *texts[] = {parked->id, parked->event_id, parked->error};
  for (size_t i = 0; i < 3; i++) buf_add(&g->kept->parked, texts[i], strlen(texts[i]) + 1);
  g->count++;
}

static const char *next_text(const char *text) { return text + strlen(text) + 1; }

/* Page by page, the next one from above the last id. */
static int gather_parked(annal_store *handle, const char *type, handle_kept *kept, annal_error *error) {
  size_t last = 0;
  gathering g = {.kept = kept};
  do {
    char *after = kept->count ? base_strdup(&handle->env, kept->parked.bytes + last) : NULL;
    if (kept->count && !after) return error_memory(error);
    size_t begin = kept->parked.size;
    g.count = 0;
    int code = store_parked_of(handle->store, type, kept->served, after, PARKED_AT_ONCE, add_parked, &g, error);
    base_free(&handle->env, after);
    if (code) return code;
    if (kept->parked.failed) return error_memory(error);
    kept->count += g.count;
    for (size_t i = 0; i < g.count; i++) {
      last = begin;
      for (int k = 0; k < 3; k++) begin += strlen(kept->parked.bytes + begin) + 1;
    }
  } while (g.count == PARKED_AT_ONCE);
  return ANNAL_OK;
}

static int index_parked(handle_kept *kept, annal_error *error) {
  if (kept->count == 0) return ANNAL_OK;
  kept->ids = base_calloc(kept->env, kept->count, sizeof *kept->ids);
  if (!kept->ids) return error_memory(error);
  const char *at = kept->parked.bytes;
  for (size_t i = 0; i < kept->count; i++) {
    kept->ids[i] = at;
    at = next_text(next_text(next_text(at)));
  }
  return ANNAL_OK;
}

/* ---- All of it ---------------------------------------------------------------------------------------------------------- */

int handle_kept_open(annal_store *handle, const script_projection *projection, int64_t at_least, double timeout,
                     handle_kept *kept, annal_error *error) {
  store_set found;
  *kept = (handle_kept){.env = &handle->env};
  buf_init(&kept->parked, &handle->env);
  int code = wait_for(handle, projection, at_least, timeout, &found, error);
  if (code) return code;
  memcpy(kept->served, found.kept.served, sizeof kept->served);
  kept->stale = strcmp(kept->served, projection->fingerprint) != 0;
  if (!kept->served[0]) return ANNAL_OK;
  code = gather_parked(handle, projection->name, kept, error);
  return code ? code : index_parked(kept, error);
}

void handle_kept_free(handle_kept *kept) {
  base_free(kept->env, (void *)kept->ids);
  if (kept->parked.env) buf_free(&kept->parked);
}

static int compare_ids(const void *id, const void *other) { return strcmp(id, *(const char *const *)other); }

void handle_kept_mark(const handle_kept *kept, store_row *row) {
  row->stale = kept->stale;
  const char *const *found =
      kept->count ? bsearch(row->id, (const void *)kept->ids, kept->count, sizeof *kept->ids, compare_ids) : NULL;
  if (!found) return;
  row->stale = true;
  row->parked_event_id = next_text(*found);
  row->parked = next_text(row->parked_event_id);
}
