/* Building sets of rows out of the log; see build.h. */
#include "fold/build.h"

#include "base/error.h"
#include "base/limits.h"
#include <string.h>

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

int build_open(fold_build *build, const fold_context *context, size_t sets, size_t jobs, size_t budget, annal_error *error) {
  *build = (fold_build){.context = *context, .budget = budget, .kept_at = base_monotonic()};
  build->interrupts = store_interrupts(context->store);
  build->sets = base_calloc(context->env, sets, sizeof *build->sets);
  return build->sets ? crew_open(&build->crew, &build->context, jobs, error) : error_memory(error);
}

void build_close(fold_build *build) {
  if (!build->context.env) return;
  crew_close(&build->crew);
  for (size_t i = 0; i < build->count; i++) {
    build_give_up(&build->sets[i]);
    set_close(&build->sets[i].set);
  }
  base_free(build->context.env, build->sets);
  *build = (fold_build){0};
}

int build_add(fold_build *build, const script_projection *projection, const char *name, build_set **added, annal_error *error) {
  build_set *set = &build->sets[build->count++];
  memccpy(set->name, name, 0, sizeof set->name - 1);
  *added = set;
  return set_open(&set->set, &build->context, projection, error);
}

int build_begin(fold_build *build, build_set *set, annal_error *error) {
  build_give_up(set);
  return store_piece_begin(build->context.store, set->set.projection->name, set->name, &set->piece, &set->found, error);
}

void build_give_up(build_set *set) {
  store_piece_end(set->piece);
  set->piece = NULL;
}

/* ---- Loading ----------------------------------------------------------------------------------------------------------- */

enum { LOAD_AT_ONCE = 500 }; /* rows between two looks at how much memory they take */

static size_t limit_of(const fold_build *build) { return build->budget / build->count; }

static int load_some(build_set *set, set_instance *const *unknown, size_t count, annal_error *error) {
  const char *ids[LOAD_AT_ONCE];
  set_loading loading = {.set = &set->set};
  for (size_t i = 0; i < count; i++) {
    ids[i] = unknown[i]->id;
    unknown[i]->known = true;
  }
  int code = store_piece_rows(set->piece, ids, count, set_load, &loading, error);
  return !code && loading.failed ? error_memory(error) : code;
}

/* Reads the rows of touched instances that are not in memory. Where memory is full what is left of the chunk waits: *taken becomes
 * smaller, but something is always done. */
static int load_states(fold_build *build, build_set *set, size_t *taken, annal_error *error) {
  set_instance **unknown = base_calloc(build->context.env, set->set.touched_count + 1, sizeof *unknown);
  if (!unknown) return error_memory(error);
  size_t count = set_unknown(&set->set, unknown);
  int code = ANNAL_OK;
  for (size_t at = 0; at < count && !code; at += LOAD_AT_ONCE) {
    if (at > 0 && set->set.bytes > limit_of(build)) {
      *taken = set_first_event(&set->set, unknown[at]);
      set_cut(&set->set, *taken);
      break;
    }
    code = load_some(set, unknown + at, count - at < LOAD_AT_ONCE ? count - at : LOAD_AT_ONCE, error);
  }
  base_free(build->context.env, (void *)unknown);
  return code;
}

/* ---- Folding ----------------------------------------------------------------------------------------------------------- */

/* The events of a chunk, for a set. */
typedef struct fold_task {
  const fold_build *build;
  build_set *set;
  const fold_chunk *chunk;
  int64_t up_to;
  build_meanwhile *meanwhile;
  void *context;
  set_instance *const *instances; /* at hand */
} fold_task;

bool build_is_interrupted(const fold_build *build) { return store_interrupts(build->context.store) != build->interrupts; }

static int fold_number(void *context, fold_bench *bench, size_t index, annal_error *error) {
  const fold_task *task = context;
  if (build_is_interrupted(task->build)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  return set_fold(&task->set->set, bench, task->instances[index], task->chunk, task->up_to, error);
}

/* Folds the last `count` of the touched instances, which are then done with. */
static int fold_last(fold_build *build, fold_task *task, size_t count, annal_error *error) {
  fold_set *set = &task->set->set;
  task->instances = set->touched + (set->touched_count - count);
  crew_start(&build->crew, fold_number, task, count);
  while (task->meanwhile && build->crew.size > 0 && !crew_is_done(&build->crew) && task->meanwhile(task->context)) continue;
  int code = crew_wait(&build->crew, error);
  set_done(set, count);
  return code;
}

/* More is in memory than may be: some of it is written, and forgotten. What the chunk still needs stays. */
static int make_room(fold_build *build, build_set *set, annal_error *error) {
  size_t limit = limit_of(build), count;
  if (set->set.bytes <= limit) return ANNAL_OK;
  set_instance **victims = base_calloc(build->context.env, set->set.count + 1, sizeof *victims);
  if (!victims) return error_memory(error);
  count = set_choose(&set->set, limit - limit / 8, victims); /* not one by one */
  int code = build_write_ahead(build, set, victims, count, error);
  if (!code && !set->overtaken) set_forget(&set->set, victims, count);
  base_free(build->context.env, (void *)victims);
  return code;
}

enum { FIRST_GROUP = 16, GROUPS = 16 }; /* of what may be in memory one group should take a part that is so small */

/* How many instances are loaded and folded between two looks at how much memory they take: by what those just now took. */
static size_t next_group(const fold_build *build, size_t count, size_t taken) {
  size_t most = count * 2 < LOAD_AT_ONCE ? count * 2 : LOAD_AT_ONCE;
  size_t fits = limit_of(build) / GROUPS / (taken / count + 1);
  return fits < 1 ? 1 : fits < most ? fits : most;
}

/* Those in memory first, then the others group by group; each that the chunk is for is loaded once at most. */
static int fold_in_groups(fold_build *build, fold_task *task, annal_error *error) {
  build_set *set = task->set;
  size_t unknown = set_known_last(&set->set), group = FIRST_GROUP;
  int code = fold_last(build, task, set->set.touched_count - unknown, error);
  while (!code && !set->overtaken) {
    code = make_room(build, set, error);
    if (code || set->overtaken || set->set.touched_count == 0) break;
    size_t count = set->set.touched_count < group ? set->set.touched_count : group, before = set->set.bytes;
    code = load_some(set, set->set.touched + (set->set.touched_count - count), count, error);
    if (!code) code = fold_last(build, task, count, error);
    group = next_group(build, count, set->set.bytes > before ? set->set.bytes - before : 0);
  }
  return code;
}

/* ---- A chunk ----------------------------------------------------------------------------------------------------------- */

static size_t first_above(const fold_chunk *chunk, int64_t position) {
  size_t low = 0, high = chunk->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (chunk->events[middle].position <= position) low = middle + 1;
    else high = middle;
  }
  return low;
}

static void move_place(build_set *set, const fold_chunk *chunk, size_t taken, const store_head_info *end) {
  if (taken == chunk->count && !set->set.halted) {
    if (set->place.position < end->position) set->place = *end;
  } else if (taken > 0 && set->place.position < chunk->events[taken - 1].position) {
    set->place.position = chunk->events[taken - 1].position;
    memccpy(set->place.id, chunk->events[taken - 1].id, 0, sizeof set->place.id - 1);
  }
}

int build_fold(fold_build *build, build_set *set, const fold_chunk *chunk, const store_head_info *end, build_meanwhile *meanwhile,
               void *context, annal_error *error) {
  size_t from = first_above(chunk, set->place.position), taken = from;
  int code = build_keep_pieces(build, error);
  if (code || set->overtaken || set->set.halted) return code;
  code = set_take(&set->set, chunk, from, chunk->count, &build->crew.own, &taken, error);
  if (!code && !set->unread) code = load_states(build, set, &taken, error);
  fold_task task = {.build = build,
                    .set = set,
                    .chunk = chunk,
                    .up_to = taken == chunk->count ? end->position
                             : taken > 0           ? chunk->events[taken - 1].position
                                                   : 0,
                    .meanwhile = meanwhile,
                    .context = context};
  if (code) return code;
  code = set->unread ? fold_in_groups(build, &task, error) : fold_last(build, &task, set->set.touched_count, error);
  if (!code && !set->overtaken) move_place(set, chunk, taken, end);
  return code;
}

int build_fold_entered(fold_build *build, build_set *set, annal_error *error) {
  size_t taken = 0;
  int code = load_states(build, set, &taken, error);
  for (size_t i = 0; i < set->set.touched_count; i++) {
    set->set.touched[i]->read_on = true;
    set->set.touched[i]->parking = SET_RUNS;
  }
  fold_task task = {.build = build, .set = set, .up_to = set->place.position};
  return code ? code : fold_last(build, &task, set->set.touched_count, error);
}
