/* Instances folded and made into rows; see set.h. Role: the part of a set that runs scripts, by several threads at once, each with a
 * bench of its own and instances of its own. */
#include "fold/declared.h"
#include "fold/run.h"
#include "fold/set.h"

#include "base/error.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

/* ---- Benches ----------------------------------------------------------------------------------------------------------- */

int bench_open(fold_bench *bench, const fold_context *context, annal_error *error) {
  *bench = (fold_bench){.context = context};
  buf_init(&bench->scratch, context->env);
  buf_init(&bench->out, context->env);
  return script_acquire(context->app, &bench->state, error);
}

void bench_close(fold_bench *bench) {
  if (!bench->context) return;
  script_give_back(bench->state);
  buf_free(&bench->scratch);
  buf_free(&bench->out);
  base_free(bench->context->env, bench->events);
  *bench = (fold_bench){0};
}

/* A state in which a script overran is good for nothing more. */
static int renew_state(fold_bench *bench, annal_error *error) {
  script_give_back(bench->state);
  bench->state = NULL;
  return script_acquire(bench->context->app, &bench->state, error);
}

/* Whether a fold failed by the fault of scripts or of what is stored, and not by the machine's. */
static bool is_theirs(int code) { return code == ANNAL_SCRIPT || code == ANNAL_BUDGET || code == ANNAL_CORRUPT; }

/* ---- Parking ----------------------------------------------------------------------------------------------------------- */

/* Notes why, and at which event. */
static int note_problem(fold_set *set, set_instance *instance, set_parking parking, const char *event_id,
                        const annal_error *problem, annal_error *error) {
  char text[sizeof problem->message + sizeof problem->where + 4];
  snprintf(text, sizeof text, problem->where[0] ? "%s (%s)" : "%s", problem->message, problem->where);
  size_t size = strlen(text) + 1;
  set_problem *noted = base_calloc(set->context->env, 1, sizeof *noted + size);
  if (!noted) return error_memory(error);
  memcpy(noted->text, text, size);
  memccpy(noted->event_id, event_id, 0, sizeof noted->event_id - 1);
  base_free(set->context->env, instance->problem);
  instance->problem = noted;
  instance->parking = parking;
  return ANNAL_OK;
}

static void forget_problem(fold_set *set, set_instance *instance) {
  base_free(set->context->env, instance->problem);
  instance->problem = NULL;
  instance->parking = SET_RUNS;
}

/* ---- Folding ----------------------------------------------------------------------------------------------------------- */

/* What the fold of a part has made becomes the instance's. */
static int adopt(fold_set *set, fold_bench *bench, set_instance *instance, const fold_run *run, annal_error *error) {
  if (run->position == instance->position) return ANNAL_OK; /* none of the events was its own */
  if (bench->out.failed || !set_keep_state(set, instance, bench->out.bytes, bench->out.size)) return error_memory(error);
  instance->position = run->position;
  memcpy(instance->latest_event_id, run->event_id, sizeof instance->latest_event_id);
  instance->dirty = true;
  return ANNAL_OK;
}

/* One fold over what the instance has. Answers what scripts did; *problem is theirs. */
static int run_once(fold_bench *bench, const set_instance *instance, fold_run *run, annal_error *problem, annal_error *error) {
  buf_clear(&bench->out);
  run->state = bench->state;
  run->scratch = &bench->scratch;
  run->out = &bench->out;
  run->bytes = instance->state;
  run->size = instance->state_size;
  run->position = instance->position;
  memcpy(run->event_id, instance->latest_event_id, sizeof run->event_id);
  int code = fold_run_events(run, problem);
  if (code == ANNAL_BUDGET && renew_state(bench, error)) return ANNAL_UNAVAILABLE;
  if (code && !is_theirs(code)) *error = *problem;
  return code;
}

/* Folds events of the chunk, and where a handler fails all that come before it. */
static int fold_events(fold_set *set, fold_bench *bench, set_instance *instance, const script_streams *streams, size_t count,
                       annal_error *error) {
  annal_error problem;
  fold_run run = {.projection = set->projection,
                  .id = instance->id,
                  .source = {.events = bench->events, .count = count, .up_to = FOLD_NO_BOUND},
                  .only = streams->streams,
                  .only_count = streams->count};
  int code = run_once(bench, instance, &run, &problem, error);
  if (!code) return adopt(set, bench, instance, &run, error);
  if (!is_theirs(code)) return code;
  if (run.unfit) {
    instance->from_first = true;
    return ANNAL_OK;
  }
  if (run.failed_at == 0) {
    instance->read_on = true;
    return note_problem(set, instance, SET_UNSEEN, bench->events[count - 1].id, &problem, error);
  }
  char failed_id[sizeof run.failed_id];
  memcpy(failed_id, run.failed_id, sizeof failed_id);
  size_t before = 0;
  while (before < count && bench->events[before].position < run.failed_at) before++;
  run.source.count = before;
  code = ANNAL_OK;
  if (before > 0) {
    annal_error ignored;
    code = run_once(bench, instance, &run, &ignored, error);
    if (!code) code = adopt(set, bench, instance, &run, error);
    else if (is_theirs(code)) code = ANNAL_OK; /* then it stays as it was before the chunk */
  }
  /* Only now: where the machine failed it is not to be said of one that lacks what came before. */
  return code ? code : note_problem(set, instance, SET_POISONED, failed_id, &problem, error);
}

/* ---- Reading anew ------------------------------------------------------------------------------------------------------ */

static int fold_read(fold_set *set, fold_bench *bench, set_instance *instance, const script_streams *streams, int64_t up_to,
                     fold_run *run, annal_error *problem, annal_error *error) {
  annal_selection selection = {.size = sizeof selection, .streams = streams->streams, .stream_count = streams->count};
  store_head_info after = {.position = instance->position}, end = {.position = up_to};
  memccpy(after.id, instance->latest_event_id, 0, sizeof after.id);
  *run = (fold_run){.projection = set->projection, .id = instance->id, .source = {.up_to = up_to}};
  int code = store_read_known(set->context->store, &selection, &after, &end, &run->source.cursor, error);
  if (code) {
    *problem = *error;
    return code;
  }
  code = run_once(bench, instance, run, problem, error);
  store_cursor_close(run->source.cursor);
  return code;
}

static void forget_state(fold_set *set, set_instance *instance) {
  base_free(set->context->env, instance->state);
  instance->state = NULL;
  instance->state_size = instance->state_room = 0;
  instance->position = 0;
  instance->latest_event_id[0] = 0;
}

/* Its own events from the log, up to a position: from the first on, or from its row on. */
static int fold_anew(fold_set *set, fold_bench *bench, set_instance *instance, const script_streams *streams, int64_t up_to,
                     annal_error *error) {
  annal_error problem;
  fold_run run;
  char shown[96];
  if (instance->from_first) {
    base_log(set->context->env, "warn", "%s \"%s\": its row cannot be used; folding it from the first event",
             set->projection->name, text_show(instance->id, shown));
    forget_state(set, instance);
  }
  int code = fold_read(set, bench, instance, streams, up_to, &run, &problem, error);
  if (is_theirs(code) && run.unfit && !instance->from_first) {
    instance->from_first = true;
    return fold_anew(set, bench, instance, streams, up_to, error);
  }
  if (code && !is_theirs(code)) return code; /* what was told of it is still true */
  bool failed = code != ANNAL_OK;
  int64_t failed_at = failed ? run.failed_at : 0;
  char failed_id[sizeof run.failed_id];
  memcpy(failed_id, run.failed_id, sizeof failed_id);
  if (failed_at > 0) {
    annal_error ignored;
    code = fold_read(set, bench, instance, streams, failed_at - 1, &run, &ignored, error);
  }
  if (!code) code = adopt(set, bench, instance, &run, error);
  if (code && !is_theirs(code)) return code;
  code = ANNAL_OK;
  if (!failed) forget_problem(set, instance);
  else if (failed_at == 0) code = note_problem(set, instance, SET_UNSEEN, instance->latest_event_id, &problem, error);
  else code = note_problem(set, instance, SET_POISONED, failed_id, &problem, error);
  if (code) return code;
  instance->from_first = false;
  instance->read_on = failed && failed_at == 0;
  return ANNAL_OK;
}

/* ---- A step ------------------------------------------------------------------------------------------------------------ */

/* The instance's events of the chunk that it has not seen, in the bench. */
static int gather(const fold_set *set, fold_bench *bench, const set_instance *instance, const fold_chunk *chunk, size_t *count,
                  annal_error *error) {
  *count = 0;
  for (uint32_t link = instance->first; link != SET_NO_LINK; link = set->links[link].next) {
    const annal_event *event = &chunk->events[set->links[link].event];
    if (event->position <= instance->position) continue;
    if (*count == bench->capacity) {
      size_t capacity = bench->capacity ? bench->capacity * 2 : 64;
      annal_event *more = base_realloc(bench->context->env, bench->events, capacity * sizeof *more);
      if (!more) return error_memory(error);
      bench->events = more;
      bench->capacity = capacity;
    }
    bench->events[(*count)++] = *event;
  }
  return ANNAL_OK;
}

/* The streams of an instance, where they say which events are its own. Where events were told apart by a field nothing is wanted. */
static int find_streams(fold_set *set, fold_bench *bench, set_instance *instance, bool needed, script_streams *streams,
                        annal_error *error) {
  annal_error problem;
  *streams = (script_streams){0};
  if (!needed && !set->projection->has_streams) return ANNAL_OK;
  int code = script_instance_streams(bench->state, set->projection, instance->id, streams, &problem);
  if (code == ANNAL_BUDGET && renew_state(bench, error)) return ANNAL_UNAVAILABLE;
  if (!code) return ANNAL_OK;
  *error = problem;
  return code;
}

int set_fold(fold_set *set, fold_bench *bench, set_instance *instance, const fold_chunk *chunk, int64_t up_to,
             annal_error *error) {
  script_streams streams;
  size_t count = 0;
  if (instance->parking == SET_POISONED) return ANNAL_OK;
  int code = gather(set, bench, instance, chunk, &count, error);
  bool anew = instance->from_first || instance->read_on;
  if (code || (count == 0 && !anew)) return code;
  code = find_streams(set, bench, instance, anew, &streams, error);
  if (is_theirs(code)) {
    annal_error problem = *error;
    return note_problem(set, instance, SET_POISONED, count ? bench->events[0].id : instance->latest_event_id, &problem, error);
  }
  if (code) return code;
  if (!anew) {
    code = fold_events(set, bench, instance, &streams, count, error);
    anew = !code && instance->from_first;
    if (anew && !set->projection->has_streams) code = find_streams(set, bench, instance, true, &streams, error);
  }
  if (!code && anew) code = fold_anew(set, bench, instance, &streams, up_to, error);
  script_free_streams(set->context->env, &streams);
  return code;
}

/* ---- Views ------------------------------------------------------------------------------------------------------------- */

static int make_view(fold_set *set, fold_bench *bench, const set_instance *instance, annal_error *problem) {
  fold_run run = {.state = bench->state,
                  .projection = set->projection,
                  .id = instance->id,
                  .bytes = instance->state,
                  .size = instance->state_size,
                  .scratch = &bench->scratch,
                  .out = &bench->out};
  buf_clear(&bench->out);
  int code = fold_run_view(&run, problem);
  if (code) return code;
  if (bench->out.failed) return error_memory(problem);
  code = declared_check(store_view_fields(set->context->store), bench->out.bytes, bench->out.size, problem);
  if (code != ANNAL_INVALID) return code;
  annal_error invalid = *problem;
  error_where_prefix(&invalid, "view");
  return error_set(problem, ANNAL_SCRIPT, invalid.where, "view of %s: %s", set->projection->name, invalid.message);
}

int set_view(fold_set *set, fold_bench *bench, set_instance *instance, annal_error *error) {
  annal_error problem;
  int code = make_view(set, bench, instance, &problem);
  if (code == ANNAL_BUDGET && renew_state(bench, error)) return ANNAL_UNAVAILABLE;
  if (is_theirs(code)) {
    code = ANNAL_OK; /* of one that is poisoned that is what is told */
    if (instance->parking != SET_POISONED)
      code = note_problem(set, instance, SET_UNSEEN, instance->latest_event_id, &problem, error);
    instance->dirty = code != ANNAL_OK; /* or neither row nor problem would be written */
    return code;
  }
  if (!code) {
    base_free(set->context->env, instance->view); /* of a writing that failed */
    instance->view = base_strndup(set->context->env, bench->out.bytes, bench->out.size);
    instance->view_size = bench->out.size;
    if (!instance->view) return error_memory(error);
    if (instance->parking == SET_UNSEEN && !instance->read_on) forget_problem(set, instance);
    return ANNAL_OK;
  }
  *error = problem;
  return code;
}
