/* Building sets of rows out of the log; see build.h. */
#include "fold/build.h"

#include "base/error.h"
#include "base/limits.h"
#include <stdlib.h>
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

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* The types of all sets, each once; false where one of them may be for any event. */
static bool gather_types(const fold_build *build, const char **types, size_t *count) {
  *count = 0;
  for (size_t i = 0; i < build->count; i++) {
    const script_projection *projection = build->sets[i].set.projection;
    if (projection->has_streams) return false;
    for (size_t t = 0; t < projection->type_count; t++) {
      bool there = false;
      for (size_t k = 0; k < *count && !there; k++) there = strcmp(types[k], projection->types[t]) == 0;
      if (!there) types[(*count)++] = projection->types[t];
    }
  }
  return *count > 0 && *count <= LIMIT_BRANCHES; /* more of them at once cost more than to read everything */
}

int build_read(fold_build *build, build_reader *reader, const store_head_info *after, const store_head_info *up_to, bool by_type,
               annal_error *error) {
  *reader = (build_reader){.up_to = *up_to, .reached = *after};
  if (after->position >= up_to->position) {
    reader->over = true;
    reader->reached = *up_to;
    return ANNAL_OK;
  }
  size_t most = 1;
  for (size_t i = 0; i < build->count; i++) most += build->sets[i].set.projection->type_count;
  const char **types = base_calloc(build->context.env, most, sizeof *types);
  if (!types) return error_memory(error);
  annal_stream stream = {0};
  annal_selection selection = {.size = sizeof selection};
  if (by_type && gather_types(build, types, &stream.type_count)) {
    stream.types = types;
    selection.streams = &stream;
    selection.stream_count = 1;
  }
  int code = store_read_known(build->context.store, &selection, after, up_to, &reader->cursor, error);
  base_free(build->context.env, (void *)types);
  return code;
}

void build_end_read(build_reader *reader) {
  store_cursor_close(reader->cursor);
  reader->cursor = NULL;
}

int build_fill(build_reader *reader, fold_chunk *chunk, size_t events, size_t bytes, annal_error *error) {
  while (!reader->over && chunk->count < events && chunk->bytes < bytes) {
    store_page page;
    int code = store_cursor_next(reader->cursor, &page, error);
    if (code) return code;
    if (page.count == 0) {
      reader->over = true;
      reader->reached = reader->up_to;
      break;
    }
    code = chunk_add(chunk, page.events, page.count, error);
    if (code) return code;
    const annal_event *last = &chunk->events[chunk->count - 1];
    reader->reached.position = last->position;
    memccpy(reader->reached.id, last->id, 0, sizeof reader->reached.id - 1);
  }
  return ANNAL_OK;
}

void build_cut(build_reader *reader, fold_chunk *chunk, size_t events) {
  const annal_event *last = &chunk->events[events - 1];
  chunk->count = events;
  reader->over = false;
  reader->reached.position = last->position;
  memccpy(reader->reached.id, last->id, 0, sizeof reader->reached.id - 1);
}

/* ---- Loading ----------------------------------------------------------------------------------------------------------- */

enum { LOAD_AT_ONCE = 500 }; /* rows between two looks at how much memory they take */

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
  size_t count = set_unknown(&set->set, unknown), limit = build->budget / build->count;
  int code = ANNAL_OK;
  for (size_t at = 0; at < count && !code; at += LOAD_AT_ONCE) {
    if (at > 0 && set->set.bytes > limit) {
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

typedef struct fold_job {
  const fold_build *build;
  fold_set *set;
  const fold_chunk *chunk;
  int64_t up_to;
  set_instance *const *instances;
} fold_job;

static bool is_interrupted(const fold_build *build) { return store_interrupts(build->context.store) != build->interrupts; }

static int fold_number(void *context, fold_bench *bench, size_t index, annal_error *error) {
  const fold_job *job = context;
  if (is_interrupted(job->build)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  return set_fold(job->set, bench, job->instances[index], job->chunk, job->up_to, error);
}

static int view_number(void *context, fold_bench *bench, size_t index, annal_error *error) {
  const fold_job *job = context;
  if (is_interrupted(job->build)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  return set_view(job->set, bench, job->instances[index], error);
}

static int fold_touched(fold_build *build, build_set *set, const fold_chunk *chunk, int64_t up_to, build_meanwhile *meanwhile,
                        void *context, annal_error *error) {
  fold_job job = {.build = build, .set = &set->set, .chunk = chunk, .up_to = up_to, .instances = set->set.touched};
  crew_start(&build->crew, fold_number, &job, set->set.touched_count);
  while (meanwhile && build->crew.size > 0 && !crew_is_done(&build->crew) && meanwhile(context)) continue;
  int code = crew_wait(&build->crew, error);
  set_count(&set->set);
  return code;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
  return strcmp((*(set_instance *const *)a)->id, (*(set_instance *const *)b)->id);
}

/* Instances that have changed, by id: in that order rows are locked by everybody. *list is the caller's to free. */
static int gather_dirty(fold_build *build, const build_set *set, set_instance ***list, size_t *count, annal_error *error) {
  *count = 0;
  *list = base_calloc(build->context.env, set->set.count + 1, sizeof **list);
  if (!*list) return error_memory(error);
  for (size_t i = 0; i < set->set.table_size; i++)
    if (set->set.table[i] && set->set.table[i]->dirty) (*list)[(*count)++] = set->set.table[i];
  qsort((void *)*list, *count, sizeof **list, by_id);
  return ANNAL_OK;
}

/* Makes rows of instances; *made is how many of them have one. */
static int make_rows(fold_build *build, build_set *set, set_instance **list, size_t count, store_row *rows, size_t *made,
                     annal_error *error) {
  fold_job job = {.build = build, .set = &set->set, .instances = list};
  crew_start(&build->crew, view_number, &job, count);
  int code = crew_wait(&build->crew, error);
  *made = 0;
  for (size_t i = 0; i < count && !code; i++)
    if (list[i]->view) set_row(&set->set, set->name, list[i], &rows[(*made)++]);
  return code;
}

static void note_written(build_set *set, set_instance **list, size_t count, size_t rows) {
  for (size_t i = 0; i < count; i++) set_written(&set->set, list[i]);
  set->written += rows;
}

enum { WRITE_AT_ONCE = 1000 }; /* rows ahead of the checkpoint: between them others come to the lock */

/* Between statements of one piece its server wants to hear of it. */
static int keep_pieces(fold_build *build, annal_error *error) {
  int64_t now = base_monotonic();
  int code = ANNAL_OK;
  if (now - build->kept_at < LIMIT_KEEP_PIECE_US) return ANNAL_OK;
  build->kept_at = now;
  for (size_t i = 0; i < build->count && !code; i++) {
    build_set *set = &build->sets[i];
    if (set->piece && !set->overtaken) code = store_piece_keep(set->piece, &set->overtaken, error);
  }
  return code;
}

/* Writes everything that has changed ahead of the checkpoint. */
static int write_ahead(fold_build *build, build_set *set, annal_error *error) {
  set_instance **list;
  size_t count, made;
  int code = gather_dirty(build, set, &list, &count, error);
  store_row *rows = code ? NULL : base_calloc(build->context.env, WRITE_AT_ONCE, sizeof *rows);
  if (!code && !rows) code = error_memory(error);
  for (size_t at = 0; at < count && !code && !set->overtaken; at += WRITE_AT_ONCE) {
    size_t some = count - at < WRITE_AT_ONCE ? count - at : WRITE_AT_ONCE;
    code = make_rows(build, set, list + at, some, rows, &made, error);
    if (!code) code = keep_pieces(build, error);
    if (!code && made && !set->overtaken) code = store_piece_put(set->piece, rows, made, &set->overtaken, error);
    if (!code && !set->overtaken) note_written(set, list + at, some, made);
  }
  base_free(build->context.env, rows);
  base_free(build->context.env, (void *)list);
  return code;
}

/* What annal_parked is to be told. */
typedef struct news {
  store_parked *parked;
  const char **resumed;
  size_t parked_count, resumed_count;
} news;

static int gather_news(fold_build *build, const build_set *set, news *n, annal_error *error) {
  const base_env *env = build->context.env;
  size_t most = set->set.count + 1;
  n->parked = base_calloc(env, most, sizeof *n->parked);
  n->resumed = base_calloc(env, most, sizeof *n->resumed);
  if (!n->parked || !n->resumed) return error_memory(error);
  for (size_t i = 0; i < set->set.table_size; i++) {
    store_parked parked;
    const set_instance *instance = set->set.table[i];
    if (!instance || !set_parking_news(instance, &parked)) continue;
    if (parked.error) n->parked[n->parked_count++] = parked;
    else n->resumed[n->resumed_count++] = parked.id;
  }
  if (set->set.was_halted && !set->set.halted) n->resumed[n->resumed_count++] = "";
  if (set->set.halted)
    n->parked[n->parked_count++] =
        (store_parked){.id = "", .event_id = set->set.halt_event, .error = set->set.halt_error.message};
  return ANNAL_OK;
}

static void settle_news(build_set *set) {
  for (size_t i = 0; i < set->set.table_size; i++)
    if (set->set.table[i]) set_settled(&set->set, set->set.table[i]);
  set->set.was_halted = set->set.halted;
}

void build_forget(build_set *set) {
  fold_set fresh = {.context = set->set.context, .projection = set->set.projection, .identifiers = set->set.identifiers};
  set->set.identifiers = NULL;
  set_close(&set->set);
  set->set = fresh;
  buf_init(&set->set.answer, fresh.context->env);
  set->overtaken = false;
}

static int commit_rows(fold_build *build, build_set *set, const store_row *rows, size_t count, bool serve, bool *serves,
                       annal_error *error) {
  news n = {0};
  store_advanced done = {0};
  int code = gather_news(build, set, &n, error);
  store_advance advance = {.place = set->place,
                           .rows = rows,
                           .row_count = count,
                           .parked = n.parked,
                           .parked_count = n.parked_count,
                           .resumed = n.resumed,
                           .resumed_count = n.resumed_count,
                           .serve = serve};
  if (!code) code = store_piece_commit(set->piece, &advance, &done, error);
  base_free(build->context.env, n.parked);
  base_free(build->context.env, (void *)n.resumed);
  set->overtaken = done.overtaken;
  *serves = done.serves;
  if (!code && !done.overtaken) settle_news(set);
  return code;
}

/* All of it in one transaction, for those who read. */
static int commit_whole(fold_build *build, build_set *set, bool serve, bool *serves, annal_error *error) {
  set_instance **list;
  size_t count, made = 0;
  int code = gather_dirty(build, set, &list, &count, error);
  store_row *rows = code ? NULL : base_calloc(build->context.env, count + 1, sizeof *rows);
  if (!code && !rows) code = error_memory(error);
  if (!code) code = make_rows(build, set, list, count, rows, &made, error);
  if (!code) code = commit_rows(build, set, rows, made, serve, serves, error);
  if (!code && !set->overtaken) note_written(set, list, count, made);
  base_free(build->context.env, rows);
  base_free(build->context.env, (void *)list);
  return code;
}

int build_commit(fold_build *build, build_set *set, bool serve, bool *serves, annal_error *error) {
  *serves = false;
  int code = set->unread ? write_ahead(build, set, error) : commit_whole(build, set, serve, serves, error);
  if (!code && set->unread && !set->overtaken) code = commit_rows(build, set, NULL, 0, serve, serves, error);
  build_give_up(set);
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
    set->place = *end;
  } else if (taken > 0) {
    set->place.position = chunk->events[taken - 1].position;
    memccpy(set->place.id, chunk->events[taken - 1].id, 0, sizeof set->place.id - 1);
  }
}

/* More is in memory than may be: what has changed is written, and half of it forgotten. */
static int make_room(fold_build *build, build_set *set, annal_error *error) {
  size_t limit = build->budget / build->count;
  if (set->set.bytes <= limit) return ANNAL_OK;
  int code = write_ahead(build, set, error);
  if (!code && !set->overtaken) set_forget(&set->set, limit / 2);
  return code;
}

int build_fold(fold_build *build, build_set *set, const fold_chunk *chunk, const store_head_info *end, build_meanwhile *meanwhile,
               void *context, annal_error *error) {
  size_t from = first_above(chunk, set->place.position), taken = from;
  int code = keep_pieces(build, error);
  while (from < chunk->count && !code && !set->overtaken && !set->set.halted) {
    code = set_take(&set->set, chunk, from, chunk->count, &build->crew.own, &taken, error);
    if (!code) code = load_states(build, set, &taken, error);
    int64_t up_to = taken == chunk->count ? end->position : taken > 0 ? chunk->events[taken - 1].position : 0;
    if (!code) code = fold_touched(build, set, chunk, up_to, meanwhile, context, error);
    if (!code) move_place(set, chunk, taken, end);
    from = taken;
    if (!set->unread) break;
    if (!code) code = make_room(build, set, error);
  }
  if (!code && from >= chunk->count && !set->set.halted && set->place.position < end->position) set->place = *end;
  return code;
}

int build_fold_entered(fold_build *build, build_set *set, annal_error *error) {
  size_t taken = 0;
  int code = load_states(build, set, &taken, error);
  for (size_t i = 0; i < set->set.touched_count; i++) {
    set->set.touched[i]->read_on = true;
    set->set.touched[i]->parking = SET_RUNS;
  }
  return code ? code : fold_touched(build, set, NULL, set->place.position, NULL, NULL, error);
}
