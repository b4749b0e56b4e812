/* Rows that go with saves; see inline.h. */
#include "fold/inline.h"

#include "base/error.h"
#include "fold/belong.h"
#include <stdlib.h>
#include <string.h>

bool fold_inline_any(const script_app *app) {
  size_t count;
  const script_projection *projections = script_projections(app, &count);
  for (size_t i = 0; i < count; i++)
    if (projections[i].keep == SCRIPT_KEEP_INLINE) return true;
  return false;
}

void fold_inline_init(fold_inline *in, const fold_context *context) { *in = (fold_inline){.context = *context}; }

static void free_instance(const base_env *env, inline_instance *instance) {
  if (!instance) return;
  fold_close(instance->fold);
  buf_free(&instance->view);
  base_free(env, instance);
}

void fold_inline_free(fold_inline *in) {
  const base_env *env = in->context.env;
  if (!env) return;
  for (size_t i = 0; i < in->count; i++) free_instance(env, in->instances[i]);
  base_free(env, (void *)in->instances);
  base_free(env, in->guards);
  base_free(env, in->rows);
  *in = (fold_inline){0};
}

/* ---- Which instances ----------------------------------------------------------------------------------------------------- */

/* What one pass over the events has found, not in order yet. */
typedef struct found {
  const script_projection *projection;
  size_t id; /* where it begins in the ids */
  size_t event;
} found;

typedef struct finding {
  const fold_inline *in;
  script_state *state;
  base_buf ids, scratch, list; /* list: of found */
} finding;

static int find_for(finding *f, const script_projection *projection, const annal_event *event, size_t number,
                    annal_error *error) {
  size_t at = f->ids.size, count;
  int code = fold_belong(f->state, projection, event, &f->scratch, &f->ids, &count, error);
  for (size_t i = 0; i < count && !code; i++) {
    found one = {.projection = projection, .id = at, .event = number};
    buf_add(&f->list, &one, sizeof one);
    at += strlen(f->ids.bytes + at) + 1;
    if (f->list.failed) code = error_memory(error);
  }
  return code;
}

static int find_all(finding *f, const annal_event *events, size_t count, annal_error *error) {
  size_t projection_count;
  const script_projection *projections = script_projections(f->in->context.app, &projection_count);
  for (size_t i = 0; i < projection_count; i++) {
    if (projections[i].keep != SCRIPT_KEEP_INLINE) continue;
    for (size_t j = 0; j < count; j++) {
      annal_event event = events[j];
      event.position = SCRIPT_NOT_STORED_YET;
      int code = find_for(f, &projections[i], &event, j, error);
      if (code) return code;
    }
  }
  return ANNAL_OK;
}

static int compare_keys(const script_projection *a, const char *a_id, const script_projection *b, const char *b_id) {
  int order = a == b ? 0 : strcmp(a->name, b->name);
  return order ? order : strcmp(a_id, b_id);
}

/* The place of an instance, or the one where it would stand. */
static size_t place_of(const fold_inline *in, const script_projection *projection, const char *id, bool *there) {
  size_t low = 0, high = in->count;
  *there = false;
  while (low < high && !*there) {
    size_t middle = low + (high - low) / 2;
    int order = compare_keys(in->instances[middle]->projection, in->instances[middle]->id, projection, id);
    if (order < 0) low = middle + 1;
    else high = middle;
    if (order == 0) *there = true;
  }
  return *there ? high : low;
}

static int insert_instance(fold_inline *in, const script_projection *projection, const char *id, annal_error *error) {
  const base_env *env = in->context.env;
  bool there;
  size_t place = place_of(in, projection, id, &there);
  if (there) return ANNAL_OK;
  if (in->count == in->capacity) {
    size_t capacity = in->capacity ? in->capacity * 2 : 8;
    inline_instance **more = base_realloc(env, (void *)in->instances, capacity * sizeof *more);
    if (!more) return error_memory(error);
    in->instances = more;
    in->capacity = capacity;
  }
  inline_instance *instance = base_calloc(env, 1, sizeof *instance);
  if (!instance) return error_memory(error);
  buf_init(&instance->view, env);
  instance->projection = projection;
  instance->first_save = instance->last_save = SIZE_MAX;
  int code = fold_open(&in->context, projection->name, id, true, &instance->fold, error);
  if (code) {
    free_instance(env, instance);
    return code;
  }
  instance->id = fold_id(instance->fold);
  memmove(in->instances + place + 1, in->instances + place, (in->count - place) * sizeof *in->instances);
  in->instances[place] = instance;
  in->count++;
  return ANNAL_OK;
}

static int compare_parts(const void *a, const void *b) {
  const inline_part *x = a, *y = b;
  if (x->instance != y->instance) return x->instance < y->instance ? -1 : 1;
  return (x->event > y->event) - (x->event < y->event);
}

/* Opens what is new, then says where everything stands. */
static int take_found(fold_inline *in, const finding *f, inline_part **parts, size_t *part_count, annal_error *error) {
  const found *list = (const found *)(const void *)f->list.bytes;
  size_t count = f->list.size / sizeof *list;
  int code = ANNAL_OK;
  for (size_t i = 0; i < count && !code; i++) code = insert_instance(in, list[i].projection, f->ids.bytes + list[i].id, error);
  if (code || count == 0) return code;
  inline_part *made = base_calloc(in->context.env, count, sizeof *made);
  if (!made) return error_memory(error);
  for (size_t i = 0; i < count; i++) {
    bool there;
    made[i].instance = place_of(in, list[i].projection, f->ids.bytes + list[i].id, &there);
    made[i].event = list[i].event;
  }
  qsort(made, count, sizeof *made, compare_parts);
  *parts = made;
  *part_count = count;
  return ANNAL_OK;
}

int fold_inline_find(fold_inline *in, const annal_event *events, size_t count, inline_part **parts, size_t *part_count,
                     annal_error *error) {
  finding f = {.in = in};
  *parts = NULL;
  *part_count = 0;
  buf_init(&f.ids, in->context.env);
  buf_init(&f.scratch, in->context.env);
  buf_init(&f.list, in->context.env);
  int code = script_acquire(in->context.app, &f.state, error);
  if (!code) code = find_all(&f, events, count, error);
  script_give_back(f.state);
  if (!code) code = take_found(in, &f, parts, part_count, error);
  buf_free(&f.ids);
  buf_free(&f.scratch);
  buf_free(&f.list);
  return code;
}

/* ---- Folding ------------------------------------------------------------------------------------------------------------- */

/* The events of one instance, which are those of `parts`. */
static int lay(inline_instance *instance, const annal_event *events, const inline_part *parts, size_t count, size_t save,
               annal_event *room, annal_error *error) {
  size_t last;
  for (size_t i = 0; i < count; i++) {
    room[i] = events[parts[i].event];
    room[i].position = SCRIPT_NOT_STORED_YET;
  }
  int code = fold_lay(instance->fold, room, count, &last, error);
  if (code || last == SIZE_MAX) return code;
  if (instance->first_save == SIZE_MAX) instance->first_save = save;
  instance->last_save = save;
  instance->last = parts[last].event;
  buf_clear(&instance->view);
  return fold_row(instance->fold, &instance->view, &instance->row, error);
}

int fold_inline_add(fold_inline *in, const annal_event *events, const inline_part *parts, size_t part_count, annal_error *error) {
  size_t save = in->saves++;
  if (part_count == 0) return ANNAL_OK;
  annal_event *room = base_calloc(in->context.env, part_count, sizeof *room);
  if (!room) return error_memory(error);
  int code = ANNAL_OK;
  for (size_t from = 0, to; from < part_count && !code; from = to) {
    for (to = from + 1; to < part_count && parts[to].instance == parts[from].instance;) to++;
    code = lay(in->instances[parts[from].instance], events, parts + from, to - from, save, room, error);
  }
  base_free(in->context.env, room);
  return code;
}

int fold_inline_again(fold_inline *in, annal_error *error) {
  int code = ANNAL_OK;
  in->saves = 0;
  for (size_t i = 0; i < in->count && !code; i++) {
    in->instances[i]->first_save = in->instances[i]->last_save = SIZE_MAX;
    code = fold_refresh(in->instances[i]->fold, error);
  }
  return code;
}

/* ---- What goes with a save ----------------------------------------------------------------------------------------------- */

int fold_inline_prepare(fold_inline *in, annal_error *error) {
  const base_env *env = in->context.env;
  base_free(env, in->guards);
  base_free(env, in->rows);
  in->guards = base_calloc(env, in->count + 1, sizeof *in->guards);
  in->rows = base_calloc(env, in->count + 1, sizeof *in->rows);
  return in->guards && in->rows ? ANNAL_OK : error_memory(error);
}

/* Of the instances that were for a save before this one, how many lists are taken. */
static size_t count_before(const fold_inline *in, size_t save, bool first) {
  size_t count = 0;
  for (size_t i = 0; i < in->count; i++) {
    size_t of = first ? in->instances[i]->first_save : in->instances[i]->last_save;
    count += of < save;
  }
  return count;
}

void fold_inline_give(fold_inline *in, size_t save, store_save *out) {
  store_guard *guards = in->guards + count_before(in, save, true);
  store_save_row *rows = in->rows + count_before(in, save, false);
  out->guards = guards;
  out->rows = rows;
  out->guard_count = out->row_count = 0;
  for (size_t i = 0; i < in->count; i++) {
    const inline_instance *instance = in->instances[i];
    annal_error ignored;
    int64_t position;
    const char *latest;
    store_guard guard;
    if (instance->first_save == save) {
      fold_streams(instance->fold, &guard.streams, &guard.stream_count, &ignored);
      fold_position(instance->fold, &position, &latest, &ignored); /* it was read: neither can fail */
      guard.after_id = position > 0 ? latest : NULL;
      guards[out->guard_count++] = guard;
    }
    if (instance->last_save == save) rows[out->row_count++] = (store_save_row){.row = instance->row, .last = instance->last};
  }
}
