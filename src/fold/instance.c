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

  bool is_read;             /* the next six say something */
  const cache_entry *entry; /* held: where the state lies, and the view if it has one; NULL: in the buffers */
  base_buf state;           /* as of position, as bytes (state.h) */
  base_buf view;            /* its view, or empty while it is not known */
  bool is_fresh;            /* the cache is to have it: the state, or its view, is not there yet */
  int64_t position;         /* of the last event of the streams; 0: there is none */
  char latest_event_id[65]; /* "" at position 0 */
  bool is_history;          /* they come from fold_from_history and not from the log */

  bool is_staged;    /* `staged` holds the state with events laid over it */
  bool has_unstored; /* and one of these is not stored */
  base_buf staged;
};

/* ---- What is there ------------------------------------------------------------------------------------------------------- */

typedef struct bytes {
  const char *at; /* NULL: not known */
  size_t size;
} bytes;

static bytes of_buffer(const base_buf *buf) { return (bytes){buf->size ? buf->bytes : NULL, buf->size}; }

static bytes state_of(const fold_instance *instance) {
  return instance->entry ? (bytes){instance->entry->state, instance->entry->state_size} : of_buffer(&instance->state);
}

static bytes view_of(const fold_instance *instance) {
  bool kept = instance->entry && instance->entry->view;
  return kept ? (bytes){instance->entry->view, instance->entry->view_size} : of_buffer(&instance->view);
}

/* An id is at most so long, also one that another program has put into a row. */
static void copy_id(char out[LIMIT_ID_BYTES + 1], const char *id) {
  size_t size = strnlen(id, LIMIT_ID_BYTES);
  memcpy(out, id, size);
  out[size] = 0;
}

static cache_key key_of(const fold_instance *instance) {
  return (cache_key){
      .projection = instance->projection->name, .fingerprint = instance->projection->fingerprint, .id = instance->id};
}

/* What was read is kept once it is known together with its view, or when nobody asks for that any more. */
static void keep_in_cache(fold_instance *instance) {
  if (!instance->is_fresh) return;
  instance->is_fresh = false;
  bytes state = state_of(instance), view = view_of(instance);
  const cache_key key = key_of(instance);
  const cache_entry entry = {.state = state.at,
                             .state_size = state.size,
                             .view = view.at,
                             .view_size = view.size,
                             .position = instance->position,
                             .event_id = instance->latest_event_id};
  cache_put(instance->context.cache, &key, &entry);
}

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
  const script_app *app = instance->context.app;
  if (!instance->projection->has_streams)
    return script_plain_streams(app, instance->projection, instance->id, &instance->streams, error);
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
  keep_in_cache(instance);
  if (instance->entry) cache_release(instance->context.cache, instance->entry);
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

/* What stands where: the state itself and its view were put in place by the caller. */
static void adopt(fold_instance *instance, int64_t position, const char *event_id, bool is_history) {
  instance->position = position;
  copy_id(instance->latest_event_id, event_id);
  instance->is_read = true;
  instance->is_history = is_history;
  instance->is_fresh = instance->use_saved && instance->context.cache && position > 0 && !is_history;
  drop_staged(instance);
}

static void drop_entry(fold_instance *instance) {
  if (instance->entry) cache_release(instance->context.cache, instance->entry);
  instance->entry = NULL;
}

/* What was read, or laid in as a history, becomes the instance's. */
static void adopt_state(fold_instance *instance, base_buf *state, int64_t position, const char *event_id, bool is_history) {
  move_buffer(&instance->state, state);
  buf_free(&instance->view);
  drop_entry(instance);
  adopt(instance, position, event_id, is_history);
}

/* An entry that has proved true: it is the instance's to hold from now on. */
static void adopt_entry(fold_instance *instance, const cache_entry *entry) {
  buf_free(&instance->state);
  buf_free(&instance->view);
  drop_entry(instance);
  instance->entry = entry;
  adopt(instance, entry->position, entry->event_id, false);
  instance->is_fresh = false;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* A state that a read continues, and the read. */
typedef struct start {
  int64_t up_to; /* no event above this position counts; FOLD_NO_BOUND: all do */
  store_cursor *cursor;
  store_page page;  /* read from the cursor and not yet folded */
  bytes state;      /* nothing: the initial one */
  bytes view;       /* its view, where it is known */
  int64_t position; /* of the event that the state was made up to */
  const char *event_id;
} start;

/* A read that begins at the position of a saved row: its first event must be the one that the state was made up to. If it is, it is
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
  buf_add(&state, s->state.at, s->state.size);
  int code = state.failed ? error_memory(error) : ANNAL_OK;
  if (!code) {
    adopt_state(instance, &state, s->position, s->event_id, false);
    if (s->view.at) buf_add(&instance->view, s->view.at, s->view.size);
    if (instance->view.failed) buf_free(&instance->view); /* then it is made when it is asked for */
  }
  buf_free(&state);
  return code;
}

/* Folds what the read gives over the state of the start. */
static int fold_start(fold_instance *instance, const start *s, bool *unfit, annal_error *error) {
  base_buf state;
  buf_init(&state, instance->context.env);
  fold_run run = {.bytes = s->state.at,
                  .size = s->state.size,
                  .out = &state,
                  .source = {.events = s->page.events, .count = s->page.count, .cursor = s->cursor, .up_to = s->up_to},
                  .position = s->position};
  copy_id(run.event_id, s->event_id ? s->event_id : "");
  int code = run_in_state(instance, fold_run_events, &run, error);
  *unfit = run.unfit;
  if (run.unfit) base_log(instance->context.env, "warn", "folding from the first event: %s", error->message);
  else if (!code) adopt_state(instance, &state, run.position, run.event_id, false);
  buf_free(&state);
  return run.unfit ? ANNAL_OK : code;
}

/* Up to a head, or, without one, all there is. */
static int read_events(fold_instance *instance, const store_head_info *head, store_cursor **cursor, annal_error *error) {
  annal_selection selection = {
      .size = sizeof selection, .streams = instance->streams.streams, .stream_count = instance->streams.count};
  return head ? store_read_up_to(instance->context.store, &selection, head, cursor, error)
              : store_read(instance->context.store, &selection, cursor, error);
}

static int64_t bound_of(const store_head_info *head) { return head ? head->position : FOLD_NO_BOUND; }

static int read_from_first(fold_instance *instance, const store_head_info *head, annal_error *error) {
  start s = {.up_to = bound_of(head)};
  bool unfit = false;
  int code = read_events(instance, head, &s.cursor, error);
  if (!code) code = fold_start(instance, &s, &unfit, error);
  store_cursor_close(s.cursor);
  return code;
}

/* From a saved row, if it is sound; *done says whether it was. */
static int read_on_row(fold_instance *instance, start *s, bool *done, annal_error *error) {
  bool sound = false, unfit = false;
  int code = check_start(s, &sound, error);
  if (code || !sound) return code;
  if (s->page.count == 0) code = take_row(instance, s, error);
  else code = fold_start(instance, s, &unfit, error);
  *done = !unfit;
  return code;
}

/* From the saved row where there is one by the same code, and none that is newer than is asked for. */
static int read_saved(fold_instance *instance, const store_head_info *head, bool *done, annal_error *error) {
  start s = {.up_to = bound_of(head)};
  store_row row;
  bool unfit = false;
  const script_projection *projection = instance->projection;
  int code = store_read_row(instance->context.store, projection->name, projection->fingerprint, instance->id,
                            instance->streams.streams, instance->streams.count, head, &row, &s.cursor, error);
  if (code) return code;
  if (row.position > 0 && row.position <= s.up_to && row.state) {
    s.state = (bytes){row.state, row.state_size};
    s.view = (bytes){row.data, row.data_size};
    s.position = row.position;
    s.event_id = row.latest_event_id;
    code = read_on_row(instance, &s, done, error);
  } else if (row.position == 0) {
    code = fold_start(instance, &s, &unfit, error);
    *done = true;
  }
  store_cursor_close(s.cursor);
  return code;
}

/* From a state of this process's own: the instance's, or (`entry`) one from the cache, which is let go of or adopted. *done says
 * whether it was sound. */
static int read_on(fold_instance *instance, const cache_entry *entry, const store_head_info *head, bool *done,
                   annal_error *error) {
  start s = {.up_to = bound_of(head),
             .state = entry ? (bytes){entry->state, entry->state_size} : state_of(instance),
             .position = entry ? entry->position : instance->position,
             .event_id = entry ? entry->event_id : instance->latest_event_id};
  store_head_info place = {.position = s.position};
  bool sound = false, unfit = false;
  copy_id(place.id, s.event_id);
  int code = store_read_on(instance->context.store, instance->streams.streams, instance->streams.count, &place, head, &sound,
                           &s.cursor, error);
  if (!code && sound) code = store_cursor_next(s.cursor, &s.page, error);
  bool newer = s.page.count > 0;
  if (!code && sound && newer) code = fold_start(instance, &s, &unfit, error);
  *done = !code && sound && !unfit;
  store_cursor_close(s.cursor);
  if (entry && *done && !newer) {
    adopt_entry(instance, entry);
    return ANNAL_OK;
  }
  if (*done && !newer) drop_staged(instance);
  if (!entry) return code;
  const cache_key key = key_of(instance);
  if (!code && !*done) cache_drop(instance->context.cache, &key, entry);
  cache_release(instance->context.cache, entry);
  return code;
}

/* Goes on from the newest state there is in this process, if any. */
static int read_kept(fold_instance *instance, const store_head_info *head, bool *done, annal_error *error) {
  int64_t up_to = bound_of(head);
  bool goes_on = instance->is_read && !instance->is_history && instance->position > 0 && instance->position <= up_to;
  const cache_key key = key_of(instance);
  fold_cache *cache = instance->use_saved ? instance->context.cache : NULL;
  const cache_entry *entry = cache ? cache_get(cache, &key) : NULL;
  bool useful = entry && entry->position <= up_to && (!goes_on || entry->position > instance->position);
  if (useful) return read_on(instance, entry, head, done, error);
  if (entry) cache_release(cache, entry);
  return goes_on ? read_on(instance, NULL, head, done, error) : ANNAL_OK;
}

static int refresh(fold_instance *instance, const store_head_info *head, annal_error *error) {
  bool done = false;
  int code = read_kept(instance, head, &done, error);
  if (!code && !done && instance->use_saved) code = read_saved(instance, head, &done, error);
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

/* With the staged events, where there are any. */
static bytes shown_state(const fold_instance *instance) {
  return instance->is_staged ? of_buffer(&instance->staged) : state_of(instance);
}

static int run_laid(fold_instance *instance, const intake *in, bytes over, base_buf *out, fold_run *run, annal_error *error) {
  *run = (fold_run){.bytes = over.at,
                    .size = over.size,
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
  if (!code) code = run_laid(instance, &in, shown_state(instance), &state, &run, error);
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
  bytes over = shown_state(instance);
  fold_run run = {.bytes = over.at,
                  .size = over.size,
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
  if (!code) code = run_laid(instance, &in, (bytes){NULL, 0}, &state, &run, error);
  if (!code) adopt_state(instance, &state, run.position, run.event_id, true);
  buf_free(&state);
  intake_free(&in);
  return code;
}

/* ---- What others see --------------------------------------------------------------------------------------------------- */

int fold_view(fold_instance *instance, base_buf *out, annal_error *error) {
  int code = read_once(instance, error);
  if (code) return code;
  bytes view = view_of(instance);
  if (!instance->is_staged && view.at) {
    buf_add(out, view.at, view.size);
    keep_in_cache(instance);
    return out->failed ? error_memory(error) : ANNAL_OK;
  }
  bytes state = shown_state(instance);
  size_t begin = out->size;
  fold_run run = {.bytes = state.at, .size = state.size, .out = out};
  code = run_in_state(instance, fold_run_view, &run, error);
  if (!code && !instance->is_staged) {
    buf_add(&instance->view, out->bytes + begin, out->size - begin);
    if (instance->view.failed) buf_free(&instance->view); /* then it is made again next time */
    instance->is_fresh |= instance->entry != NULL;
    keep_in_cache(instance);
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
  const bytes state = shown_state(instance);
  *row = (store_row){.type = instance->projection->name,
                     .fingerprint = instance->projection->fingerprint,
                     .id = instance->id,
                     .state = state.at,
                     .state_size = state.size,
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
