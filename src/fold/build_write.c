/* Writing the rows of sets; see build.h. */
#include "fold/build.h"

#include "base/error.h"
#include "base/limits.h"
#include <stdlib.h>
#include <string.h>

static int by_id(const void *a, const void *b) {
  return strcmp((*(set_instance *const *)a)->id, (*(set_instance *const *)b)->id);
}

/* In this order rows are locked by everybody. */
static void sort_by_id(set_instance **list, size_t count) { qsort((void *)list, count, sizeof *list, by_id); }

/* Instances that have changed. *list is the caller's to free. */
static int gather_dirty(const fold_build *build, const build_set *set, set_instance ***list, size_t *count, annal_error *error) {
  *count = 0;
  *list = base_calloc(build->context.env, set->set.count + 1, sizeof **list);
  if (!*list) return error_memory(error);
  for (size_t i = 0; i < set->set.table_size; i++)
    if (set->set.table[i] && set->set.table[i]->dirty) (*list)[(*count)++] = set->set.table[i];
  return ANNAL_OK;
}

typedef struct view_task {
  const fold_build *build;
  fold_set *set;
  set_instance *const *instances;
} view_task;

static int view_number(void *context, fold_bench *bench, size_t index, annal_error *error) {
  const view_task *task = context;
  if (build_is_interrupted(task->build)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  return task->instances[index]->dirty ? set_view(task->set, bench, task->instances[index], error) : ANNAL_OK;
}

/* Makes rows of those instances that have changed; *made is how many have one. */
static int make_rows(fold_build *build, build_set *set, set_instance *const *list, size_t count, store_row *rows, size_t *made,
                     annal_error *error) {
  view_task task = {.build = build, .set = &set->set, .instances = list};
  crew_start(&build->crew, view_number, &task, count);
  int code = crew_wait(&build->crew, error);
  *made = 0;
  for (size_t i = 0; i < count && !code; i++)
    if (list[i]->view) set_row(&set->set, set->name, list[i], &rows[(*made)++]);
  return code;
}

static void note_written(build_set *set, set_instance *const *list, size_t count, size_t rows) {
  for (size_t i = 0; i < count; i++) set_written(&set->set, list[i]);
  set->written += rows;
}

enum { WRITE_AT_ONCE = 1000 }; /* rows ahead of the checkpoint: between them others come to the lock */

int build_keep_pieces(fold_build *build, annal_error *error) {
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

int build_write_ahead(fold_build *build, build_set *set, set_instance **list, size_t count, annal_error *error) {
  size_t made;
  int code = ANNAL_OK;
  store_row *rows = base_calloc(build->context.env, WRITE_AT_ONCE, sizeof *rows);
  if (!rows) return error_memory(error);
  sort_by_id(list, count);
  for (size_t at = 0; at < count && !code && !set->overtaken; at += WRITE_AT_ONCE) {
    size_t some = count - at < WRITE_AT_ONCE ? count - at : WRITE_AT_ONCE;
    code = make_rows(build, set, list + at, some, rows, &made, error);
    if (!code) code = build_keep_pieces(build, error);
    if (!code && made && !set->overtaken) code = store_piece_put(set->piece, rows, made, &set->overtaken, error);
    if (!code && !set->overtaken) note_written(set, list + at, some, made);
  }
  base_free(build->context.env, rows);
  return code;
}

static int write_all_ahead(fold_build *build, build_set *set, annal_error *error) {
  set_instance **list;
  size_t count;
  int code = gather_dirty(build, set, &list, &count, error);
  if (!code) code = build_write_ahead(build, set, list, count, error);
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
  if (!code) sort_by_id(list, count);
  if (!code) code = make_rows(build, set, list, count, rows, &made, error);
  if (!code) code = commit_rows(build, set, rows, made, serve, serves, error);
  if (!code && !set->overtaken) note_written(set, list, count, made);
  base_free(build->context.env, rows);
  base_free(build->context.env, (void *)list);
  return code;
}

int build_commit(fold_build *build, build_set *set, bool serve, bool *serves, annal_error *error) {
  *serves = false;
  int code = set->unread ? write_all_ahead(build, set, error) : commit_whole(build, set, serve, serves, error);
  if (!code && set->unread && !set->overtaken) code = commit_rows(build, set, NULL, 0, serve, serves, error);
  build_give_up(set);
  return code;
}
