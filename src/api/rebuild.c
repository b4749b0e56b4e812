/* annal_rebuild: options into those of fold/, and progress with what people want to know of it; see handle.h. */
#include "fold/rebuild.h"

#include "api/handle.h"
#include "base/error.h"
#include "base/limits.h"

typedef struct telling {
  annal_tell *tell;
  void *context;
  int64_t began, shown_at; /* monotonic */
  uint64_t first, shown;   /* events that were done at the beginning, and when it was told last */
  double rate;             /* of the last seconds */
} telling;

#define TELL_EVERY_US 100000
#define RATE_WEIGHT 0.2 /* of the newest figure: a rebuild that is resumed, or meets slow handlers, changes its pace */

static int tell(void *context, const rebuild_progress *progress) {
  telling *t = context;
  int64_t now = base_monotonic();
  bool whole = progress->done >= progress->total;
  if (t->shown_at && !whole && now - t->shown_at < TELL_EVERY_US) return 0;
  if (t->shown_at && progress->done >= t->shown && now > t->shown_at) {
    double rate = (double)(progress->done - t->shown) * 1e6 / (double)(now - t->shown_at);
    t->rate = t->rate > 0 ? t->rate + (rate - t->rate) * RATE_WEIGHT : rate;
  }
  t->shown_at = now;
  t->shown = progress->done;
  annal_progress figures = {.done = progress->done, .total = progress->total, .rows = progress->rows, .rate = t->rate};
  if (t->rate > 0 && progress->total > progress->done)
    figures.seconds_left = (double)(progress->total - progress->done) / t->rate;
  return t->tell(t->context, &figures);
}

/* Bytes of events and states in memory: twice what the handle keeps of states. One that keeps none needs them here all the same, for
 * without them each row would be written and read again for every few events. */
static size_t budget_of(const annal_store *handle) {
  size_t states = handle->cache ? handle->options.cache : LIMIT_CACHE_BYTES;
  return states < SIZE_MAX / 2 ? states * 2 : SIZE_MAX;
}

int handle_rebuild(annal_store *handle, const annal_rebuild_options *options, annal_tell *tell_or_null, void *context,
                   annal_error *error) {
  if (options->jobs < 0 || options->jobs > LIMIT_JOBS)
    return error_set(error, ANNAL_MISUSE, "jobs", "jobs must be from 0 to %d, not %d", LIMIT_JOBS, options->jobs);
  if (options->type_count > 0 && !options->types) return error_set(error, ANNAL_MISUSE, "types", "types is NULL");
  for (size_t i = 0; i < options->type_count; i++)
    if (!options->types[i]) return error_set(error, ANNAL_MISUSE, "types", "types[%zu] is NULL", i);
  script_app *app = handle_app(handle);
  if (!app) return error_set(error, ANNAL_NOT_FOUND, NULL, "there is nothing to rebuild: no scripts are loaded");
  fold_context fold = {.env = &handle->env, .store = handle->store, .app = app};
  telling t = {.tell = tell_or_null, .context = context, .began = base_monotonic()};
  rebuild_options given = {.types = options->types,
                           .type_count = options->type_count,
                           .jobs = (size_t)options->jobs,
                           .budget = budget_of(handle),
                           .lock_us = (int64_t)(handle->options.lock_timeout * 1e6),
                           .tell = tell_or_null ? tell : NULL,
                           .tell_context = &t};
  int code = fold_rebuild(&fold, &given, error);
  script_release(app);
  return code;
}
