/* Instances of projections; see fold.h. Role: decides what is folded over what: a saved row or nothing, what the log has since,
 * events that are staged. Runs scripts by run.c alone. */
#include "fold/fold.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "fold/intake.h"
#include "fold/run.h"
#include "script/near.h"
#include <stdio.h>
#include <string.h>

struct fold_instance {
  fold_context context;
  const script_projection *projection;
  char *id;
  script_streams streams;
  bool use_saved;

  bool is_read;             /* the next four say something */
  base_buf state;           /* as of position, as bytes (state.h) */
  base_buf view;            /* its view, or empty while it is not known */
  int64_t position;         /* of the last event of the streams; 0: there is none */
  char latest_event_id[65]; /* "" at position 0 */
  bool is_history;          /* they come from fold_from_history and not from the log */

  bool is_staged;    /* `staged` holds the state with events laid over it */
  bool has_unstored; /* and one of these is not stored */
  base_buf staged;
};

/* ---- Opening ----------------------------------------------------------------------------------------------------------- */

static int unknown_projection(script_app *app, const char *name, annal_error *error) {
  char shown[96];
  size_t count;
  const script_projection *all = script_projections(app, &count);
  for (size_t i = 0; i < count; i++)
    if (near_name(name, all[i].name))
      return error_set(error, ANNAL_NOT_FOUND, NULL, "there is no projection \"%s\"; did you mean %s?", text_show(name, shown),
                       all[i].name);
  return error_set(error, ANNAL_NOT_FOUND, NULL, "there is no projection \"%s\" in %s", text_show(name, shown),
                   script_directory(app));
}

static int check_id(const script_projection *projection, const char *id, annal_error *error) {
  char shown[96];
  bool has_instances = projection->by_count > 0 || projection->has_streams;
  if (!has_instances && *id)
    return error_set(error, ANNAL_MISUSE, NULL, "%s has one instance for the whole store, its id is \"\" and not \"%s\"",
                     projection->name, text_show(id, shown));
  if (has_instances && !*id) return error_set(error, ANNAL_MISUSE, NULL, "%s needs the id of an instance", projection->name);
  return text_check(id, 0, LIMIT_VALUE_BYTES, "the instance id", error);
}

static int open_streams(fold_instance *instance, annal_error *error) {
  script_state *state;
  int code = script_acquire(instance->context.app, &state, error);
  if (code) return code;
  code = script_instance_streams(state, instance->projection, instance->id, &instance->streams, error);
  script_give_back(state);
  return code;
}

int fold_open(const fold_context *context, const char *projection, const char *id, bool use_saved, fold_instance **out,
              annal_error *error) {
  *out = NULL;
  const script_projection *found = script_find_projection(context->app, projection);
  if (!found) return unknown_projection(context->app, projection, error);
  int code = check_id(found, id, error);
  if (code) return code;
  fold_instance *instance = base_calloc(context->env, 1, sizeof *instance);
  if (!instance) return error_memory(error);
  instance->context = *context;
  script_retain(context->app);
  instance->projection = found;
  instance->use_saved = use_saved;
  buf_init(&instance->state, context->env);
  buf_init(&instance->view, context->env);
  buf_init(&instance->staged, context->env);
  instance->id = base_strdup(context->env, id);
  code = instance->id ? open_streams(instance, error) : error_memory(error);
  if (code) {
    fold_close(instance);
    return code;
  }
  *out = instance;
  return ANNAL_OK;
}

void fold_close(fold_instance *instance) {
  if (!instance) return;
  const base_env *env = instance->context.env;
  script_free_streams(env, &instance->streams);
  buf_free(&instance->state);
  buf_free(&instance->view);
  buf_free(&instance->staged);
  base_free(env, instance->id);
  script_release(instance->context.app);
  base_free(env, instance);
}

/* ---- Running ----------------------------------------------------------------------------------------------------------- */

typedef int run_function(fold_run *run, annal_error *error);

/* Runs in a state of the generation; `run` says over what. */
static int run_in_state(fold_instance *instance, run_function *function, fold_run *run, annal_error *error) {
  base_buf scratch;
  buf_init(&scratch, instance->context.env);
  run->projection = instance->projection;
  run->id = instance->id;
  run->scratch = &scratch;
  int code = script_acquire(instance->context.app, &run->state, error);
  if (!code) {
    code = function(run, error);
    script_give_back(run->state);
  }
  buf_free(&scratch);
  return code;
}

/* Puts the content of `from` in the place of that of `to`, and frees what was there. */
static void move_buffer(base_buf *to, base_buf *from) {
  base_buf old = *to;
  *to = *from;
  *from = old;
  buf_free(from);
}

static void drop_staged(fold_instance *instance) {
  buf_free(&instance->staged);
  instance->is_staged = false;
  instance->has_unstored = false;
}

/* What was read, or laid in as a history, becomes the instance's. */
static void adopt(fold_instance *instance, base_buf *state, int64_t position, const char *event_id, bool is_history) {
  move_buffer(&instance->state, state);
  buf_free(&instance->view);
  instance->position = position;
  snprintf(instance->latest_event_id, sizeof instance->latest_event_id, "%s", event_id);
  instance->is_read = true;
  instance->is_history = is_history;
  drop_staged(instance);
}

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* A state that a read continues, and the read. */
typedef struct start {
  int64_t up_to; /* no event above this position counts; FOLD_NO_BOUND: all do */
  store_cursor *cursor;
  store_page page;   /* read from the cursor and not yet folded */
  const char *bytes; /* the state; NULL: the initial one */
  size_t size;
  const char *view; /* its view, where it is known */
  size_t view_size;
  int64_t position; /* of the event that the state was made up to */
  const char *event_id;
} start;

/* The read begins at the position of the state: its first event must be the one that the state was made up to. If it is, it is
 * taken off; if not, the log is not the one that the state was made from (a restore, a failover). */
static int check_start(start *s, bool *sound, annal_error *error) {
  int code = store_cursor_next(s->cursor, &s->page, error);
  if (code) return code;
  *sound = s->page.count > 0 && s->page.events[0].position == s->position && strcmp(s->page.events[0].id, s->event_id) == 0;
  if (!*sound) return ANNAL_OK;
  s->page.events++;
  s->page.count--;
  if (s->page.count == 0) code = store_cursor_next(s->cursor, &s->page, error);
  if (code) return code;
  fold_cut(s->page.events, &s->page.count, s->up_to);
  return ANNAL_OK;
}

/* A saved row with nothing newer: it is taken as it stands and no script runs. */
static int take_row(fold_instance *instance, const start *s, annal_error *error) {
  base_buf state;
  buf_init(&state, instance->context.env);
  buf_add(&state, s->bytes, s->size);
  int code = state.failed ? error_memory(error) : ANNAL_OK;
  if (!code) {
    adopt(instance, &state, s->position, s->event_id, false);
    if (s->view) buf_add(&instance->view, s->view, s->view_size);
    if (instance->view.failed) buf_free(&instance->view); /* then it is made when it is asked for */
  }
  buf_free(&state);
  return code;
}

/* Folds what the read gives over the state of the start. */
static int fold_start(fold_instance *instance, const start *s, bool *unfit, annal_error *error) {
  if (s->bytes && s->page.count == 0) {
    if (s->bytes != instance->state.bytes) return take_row(instance, s, error);
    drop_staged(instance);
    return ANNAL_OK;
  }
  base_buf state;
  buf_init(&state, instance->context.env);
  fold_run run = {.bytes = s->bytes,
                  .size = s->size,
                  .out = &state,
                  .source = {.events = s->page.events, .count = s->page.count, .cursor = s->cursor, .up_to = s->up_to},
                  .position = s->position};
  snprintf(run.event_id, sizeof run.event_id, "%s", s->event_id ? s->event_id : "");
  int code = run_in_state(instance, fold_run_events, &run, error);
  *unfit = run.unfit;
  if (!code) adopt(instance, &state, run.position, run.event_id, false);
  buf_free(&state);
  return code;
}

/* Up to a head, or, without one, all there is. */
static int read_events(fold_instance *instance, int64_t after, const store_head_info *head, store_cursor **cursor,
                       annal_error *error) {
  annal_selection selection = {
      .size = sizeof selection, .streams = instance->streams.streams, .stream_count = instance->streams.count, .after = after};
  return head ? store_read_up_to(instance->context.store, &selection, head, cursor, error)
              : store_read(instance->context.store, &selection, cursor, error);
}

static int64_t bound_of(const store_head_info *head) { return head ? head->position : FOLD_NO_BOUND; }

static int read_from_first(fold_instance *instance, const store_head_info *head, annal_error *error) {
  start s = {.up_to = bound_of(head)};
  bool unfit = false;
  int code = read_events(instance, 0, head, &s.cursor, error);
  if (!code) code = fold_start(instance, &s, &unfit, error);
  store_cursor_close(s.cursor);
  return code;
}

/* Goes on from the start, if it is sound; *done says whether it did. The cursor is closed in any case. */
static int read_on(fold_instance *instance, start *s, bool *done, annal_error *error) {
  bool sound = false, unfit = false;
  int code = check_start(s, &sound, error);
  if (!code && sound) code = fold_start(instance, s, &unfit, error);
  *done = sound && !unfit;
  if (unfit) base_log(instance->context.env, "warn", "folding from the first event: %s", error->message);
  store_cursor_close(s->cursor);
  return unfit ? ANNAL_OK : code;
}

/* Reads for the first time: from the saved row where there is one by the same code, and none that is newer than is asked for. */
static int read_saved(fold_instance *instance, const store_head_info *head, bool *done, annal_error *error) {
  start s = {.up_to = bound_of(head)};
  store_row row;
  const script_projection *projection = instance->projection;
  int code = store_read_row(instance->context.store, projection->name, projection->fingerprint, instance->id,
                            instance->streams.streams, instance->streams.count, head, &row, &s.cursor, error);
  if (code) return code;
  if (row.position > s.up_to) {
    store_cursor_close(s.cursor);
    return ANNAL_OK;
  }
  if (row.position > 0 && row.state) {
    s.bytes = row.state;
    s.size = row.state_size;
    s.view = row.data;
    s.view_size = row.data_size;
    s.position = row.position;
    s.event_id = row.latest_event_id;
    return read_on(instance, &s, done, error);
  }
  bool unfit = false;
  code = fold_start(instance, &s, &unfit, error);
  *done = true;
  store_cursor_close(s.cursor);
  return code;
}

static int refresh(fold_instance *instance, const store_head_info *head, annal_error *error) {
  int64_t up_to = bound_of(head);
  bool done = false;
  int code = ANNAL_OK;
  bool goes_on = instance->is_read && !instance->is_history && instance->position > 0 && instance->position <= up_to;
  if (goes_on) {
    start s = {.up_to = up_to,
               .bytes = instance->state.bytes,
               .size = instance->state.size,
               .position = instance->position,
               .event_id = instance->latest_event_id};
    code = read_events(instance, instance->position - 1, head, &s.cursor, error);
    if (!code) code = read_on(instance, &s, &done, error);
  } else if (instance->use_saved) {
    code = read_saved(instance, head, &done, error);
  }
  return code || done ? code : read_from_first(instance, head, error);
}

int fold_refresh(fold_instance *instance, annal_error *error) { return refresh(instance, NULL, error); }

int fold_refresh_at(fold_instance *instance, const store_head_info *head, annal_error *error) {
  return refresh(instance, head, error);
}

static int read_once(fold_instance *instance, annal_error *error) {
  return instance->is_read ? ANNAL_OK : fold_refresh(instance, error);
}

/* ---- Events laid over it ----------------------------------------------------------------------------------------------- */

/* Checks and copies the events that count. `after`: those that bear a position up to it were read already. */
static int take_in(fold_instance *instance, const annal_event *events, size_t count, int64_t after, intake *in, bool *unstored,
                   annal_error *error) {
  script_state *state = NULL;
  int code = intake_init(in, instance->context.env, count, error);
  in->takes_older = true;
  if (!code) code = script_acquire(instance->context.app, &state, error);
  for (size_t i = 0; i < count && !code; i++) {
    if (events[i].position > 0 && events[i].position <= after) continue;
    if (events[i].position <= 0) *unstored = true;
    code = intake_add(in, state, &events[i], error);
    if (code && count > 1) {
      char prefix[48];
      snprintf(prefix, sizeof prefix, "events[%zu]", i + 1);
      error_where_prefix(error, prefix);
    }
  }
  script_give_back(state);
  return code ? code : intake_finish(in, error);
}

static int run_laid(fold_instance *instance, const intake *in, const base_buf *over, base_buf *out, fold_run *run,
                    annal_error *error) {
  *run = (fold_run){.bytes = over ? over->bytes : NULL,
                    .size = over ? over->size : 0,
                    .out = out,
                    .source = {.events = in->events, .count = in->count, .up_to = FOLD_NO_BOUND},
                    .only = instance->streams.streams,
                    .only_count = instance->streams.count};
  return run_in_state(instance, fold_run_events, run, error);
}

int fold_apply(fold_instance *instance, const annal_event *events, size_t count, annal_error *error) {
  int code = read_once(instance, error);
  if (code || count == 0) return code;
  intake in;
  base_buf state;
  fold_run run;
  bool unstored = instance->has_unstored;
  buf_init(&state, instance->context.env);
  code = take_in(instance, events, count, instance->position, &in, &unstored, error);
  if (!code) code = run_laid(instance, &in, instance->is_staged ? &instance->staged : &instance->state, &state, &run, error);
  if (!code) {
    move_buffer(&instance->staged, &state);
    instance->is_staged = true;
    instance->has_unstored = unstored;
  }
  buf_free(&state);
  intake_free(&in);
  return code;
}

int fold_lay(fold_instance *instance, const annal_event *events, size_t count, size_t *last, annal_error *error) {
  *last = SIZE_MAX;
  int code = read_once(instance, error);
  if (code) return code;
  base_buf state;
  buf_init(&state, instance->context.env);
  bool chooses = instance->projection->has_streams;
  const base_buf *over = instance->is_staged ? &instance->staged : &instance->state;
  fold_run run = {.bytes = over->bytes,
                  .size = over->size,
                  .out = &state,
                  .source = {.events = events, .count = count, .up_to = FOLD_NO_BOUND},
                  .only = chooses ? instance->streams.streams : NULL,
                  .only_count = chooses ? instance->streams.count : 0};
  code = run_in_state(instance, fold_run_events, &run, error);
  for (size_t i = 0; !code && i < count; i++)
    if (strcmp(events[i].id, run.event_id) == 0) *last = i;
  if (!code && *last != SIZE_MAX) {
    move_buffer(&instance->staged, &state);
    instance->is_staged = instance->has_unstored = true;
  }
  buf_free(&state);
  return code;
}

int fold_from_history(fold_instance *instance, const annal_event *events, size_t count, annal_error *error) {
  intake in;
  base_buf state;
  fold_run run;
  bool unstored = false;
  buf_init(&state, instance->context.env);
  int code = take_in(instance, events, count, 0, &in, &unstored, error);
  if (!code) code = run_laid(instance, &in, NULL, &state, &run, error);
  if (!code) adopt(instance, &state, run.position, run.event_id, true);
  buf_free(&state);
  intake_free(&in);
  return code;
}

/* ---- What others see --------------------------------------------------------------------------------------------------- */

int fold_view(fold_instance *instance, base_buf *out, annal_error *error) {
  int code = read_once(instance, error);
  if (code) return code;
  if (!instance->is_staged && instance->view.size > 0) {
    buf_add(out, instance->view.bytes, instance->view.size);
    return out->failed ? error_memory(error) : ANNAL_OK;
  }
  const base_buf *state = instance->is_staged ? &instance->staged : &instance->state;
  size_t begin = out->size;
  fold_run run = {.bytes = state->bytes, .size = state->size, .out = out};
  code = run_in_state(instance, fold_run_view, &run, error);
  if (!code && !instance->is_staged) {
    buf_add(&instance->view, out->bytes + begin, out->size - begin);
    if (instance->view.failed) buf_free(&instance->view); /* then it is made again next time */
  }
  return code;
}

static int check_saveable(fold_instance *instance, annal_error *error) {
  char shown[96];
  const char *name = instance->projection->name;
  if (instance->is_history)
    return error_set(error, ANNAL_MISUSE, NULL, "%s \"%s\" was made from a history and is not saved; refresh it first", name,
                     text_show(instance->id, shown));
  if (instance->has_unstored)
    return error_set(error, ANNAL_MISUSE, NULL, "%s \"%s\" has staged events that are not stored; save them and refresh first",
                     name, text_show(instance->id, shown));
  int code = instance->is_staged ? fold_refresh(instance, error) : read_once(instance, error);
  if (!code && instance->position == 0)
    code = error_set(error, ANNAL_NOT_FOUND, NULL, "%s \"%s\" has no events, so there is nothing to save", name,
                     text_show(instance->id, shown));
  return code;
}

int fold_row(fold_instance *instance, base_buf *view, store_row *row, annal_error *error) {
  size_t begin = view->size;
  int code = fold_view(instance, view, error);
  if (code) return code;
  const char *data = view->bytes + begin;
  code = declared_check(store_view_fields(instance->context.store), data, view->size - begin, error);
  if (code) error_where_prefix(error, "view");
  const base_buf *state = instance->is_staged ? &instance->staged : &instance->state;
  *row = (store_row){.type = instance->projection->name,
                     .fingerprint = instance->projection->fingerprint,
                     .id = instance->id,
                     .state = state->bytes,
                     .state_size = state->size,
                     .data = data,
                     .data_size = view->size - begin,
                     .position = instance->position,
                     .latest_event_id = instance->latest_event_id};
  return code;
}

int fold_save(fold_instance *instance, store_status *status, annal_error *error) {
  base_buf view;
  store_row row;
  buf_init(&view, instance->context.env);
  int code = check_saveable(instance, error);
  if (!code) code = fold_row(instance, &view, &row, error);
  if (!code) code = store_put_rows(instance->context.store, &row, 1, status, error);
  buf_free(&view);
  return code;
}

int fold_position(fold_instance *instance, int64_t *position, const char **latest_event_id, annal_error *error) {
  int code = read_once(instance, error);
  if (code) return code;
  *position = instance->position;
  *latest_event_id = instance->latest_event_id;
  return ANNAL_OK;
}

int fold_streams(fold_instance *instance, const annal_stream **streams, size_t *count, annal_error *error) {
  (void)error; /* they are known since the opening */
  *streams = instance->streams.streams;
  *count = instance->streams.count;
  return ANNAL_OK;
}

const char *fold_id(const fold_instance *instance) { return instance->id; }

const script_projection *fold_projection(const fold_instance *instance) { return instance->projection; }
