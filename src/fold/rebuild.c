/* Rebuilding; see rebuild.h. */
#include "fold/rebuild.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "fold/build.h"
#include "script/near.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What becomes of one projection. */
typedef struct target {
  const script_projection *projection;
  build_set *set;
  bool is_kept; /* it has a set that is served */
  bool beside;  /* its rows are made under another name, and take the place of those that are there */
  bool over;    /* all is done */
} target;

typedef struct rebuild {
  fold_context context;
  const rebuild_options *options;
  fold_build build;
  target *targets;
  size_t count;
  fold_chunk chunks[2]; /* the one that is folded, and the one that is read meanwhile */
  build_reader reader;
  size_t chunk_events;
  size_t next_bytes;                 /* of the chunk that is read meanwhile */
  int64_t committed_at, commit_took; /* monotonic */
  bool again;                        /* somebody was faster: read from where he is */
  uint64_t rows;                     /* of groups that are done */
  int read_code;                     /* of what was read meanwhile */
  annal_error read_error;
} rebuild;

/* Of the memory of a rebuild so much may be states: the rest is for events at least. */
static size_t states_of(size_t budget) { return budget - budget / 4; }

/* ---- Which projections ------------------------------------------------------------------------------------------------- */

static int unknown(script_app *app, const char *name, annal_error *error) {
  char shown[96];
  size_t count;
  const script_projection *all = script_projections(app, &count);
  text_show(name, shown);
  for (size_t i = 0; i < count; i++)
    if (near_name(name, all[i].name))
      return error_set(error, ANNAL_NOT_FOUND, NULL, "there is no projection \"%s\"; did you mean %s?", shown, all[i].name);
  return error_set(error, ANNAL_NOT_FOUND, NULL, "there is no projection \"%s\" in %s", shown, script_directory(app));
}

static int find_named(const rebuild *r, const script_projection **found, size_t *count, annal_error *error) {
  for (size_t i = 0; i < r->options->type_count; i++) {
    const script_projection *projection = script_find_projection(r->context.app, r->options->types[i]);
    if (!projection) return unknown(r->context.app, r->options->types[i], error);
    if (!set_can(projection))
      return error_set(
          error, ANNAL_MISUSE, projection->where,
          "%s cannot be rebuilt: it is over streams, and without ids = function(event) … end nobody knows its instances",
          projection->name);
    bool there = false;
    for (size_t k = 0; k < *count && !there; k++) there = found[k] == projection;
    if (!there) found[(*count)++] = projection;
  }
  return ANNAL_OK;
}

static int find_projections(const rebuild *r, const script_projection ***list, size_t *count, annal_error *error) {
  size_t all;
  const script_projection *projections = script_projections(r->context.app, &all);
  *count = 0;
  *list = base_calloc(r->context.env, all + r->options->type_count + 1, sizeof **list);
  if (!*list) return error_memory(error);
  if (r->options->type_count > 0) return find_named(r, *list, count, error);
  for (size_t i = 0; i < all; i++)
    if (set_can(&projections[i])) (*list)[(*count)++] = &projections[i];
  return ANNAL_OK;
}

/* ---- Which sets -------------------------------------------------------------------------------------------------------- */

/* The set beside that of the loaded code: made by this code, and no other that has the same pinned version. */
static void name_beside(const script_projection *projection, char name[STORE_SET_BYTES]) {
  snprintf(name, STORE_SET_BYTES, "%.40s%c%.16s", projection->fingerprint, STORE_SET_MARK, projection->code);
}

static int choose_set(rebuild *r, target *t, char name[STORE_SET_BYTES], annal_error *error) {
  const script_projection *projection = t->projection;
  const char *own = projection->fingerprint;
  store_set found;
  bool has_rows = false;
  t->is_kept = projection->keep != SCRIPT_KEEP_LIVE;
  int code = t->is_kept ? store_kept_want(r->context.store, projection->name, own, error)
                        : store_set_make(r->context.store, projection->name, own, error);
  if (!code) code = store_set_look(r->context.store, projection->name, own, &found, error);
  if (!code && !t->is_kept) code = store_set_has_rows(r->context.store, projection->name, own, &has_rows, error);
  if (code) return code;
  t->beside = t->is_kept ? strcmp(found.kept.served, own) == 0 : has_rows && found.checkpoint.position == 0;
  if (t->beside) name_beside(projection, name);
  else snprintf(name, STORE_SET_BYTES, "%s", own);
  return t->beside ? store_set_make(r->context.store, projection->name, name, error) : ANNAL_OK;
}

static int add_target(rebuild *r, const script_projection *projection, annal_error *error) {
  target *t = &r->targets[r->count];
  char name[STORE_SET_BYTES];
  *t = (target){.projection = projection};
  int code = choose_set(r, t, name, error);
  if (!code) code = build_add(&r->build, projection, name, &t->set, error);
  if (!code) r->count++;
  if (!code) t->set->unread = true;
  return code;
}

/* ---- Pieces ------------------------------------------------------------------------------------------------------------ */

static int wait_turn(rebuild *r, const target *t, int64_t until, annal_error *error) {
  if (base_monotonic() >= until) {
    error_set(error, ANNAL_BUSY, NULL, "somebody else is rebuilding %s, or a worker builds it", t->projection->name);
    error->retryable = true;
    return error->code;
  }
  (void)r;
  struct timespec nap = {.tv_nsec = 5000000};
  nanosleep(&nap, NULL);
  return ANNAL_OK;
}

/* Begins a piece of the set. What is in memory goes on to count only if nobody has moved the set meanwhile. */
static int begin_piece(rebuild *r, target *t, annal_error *error) {
  build_set *set = t->set;
  store *s = r->context.store;
  int64_t until = base_monotonic() + r->options->lock_us;
  for (;;) {
    int code = build_begin(&r->build, set, error);
    if (code) return code;
    if (set->piece && set->found.sound) break;
    bool was_there = set->piece != NULL, done;
    build_give_up(set);
    if (was_there) code = store_set_reset(s, t->projection->name, set->name, &set->found.checkpoint, &done, error);
    else code = wait_turn(r, t, until, error);
    if (code) return code;
  }
  bool same = set->place.position == set->found.checkpoint.position && strcmp(set->place.id, set->found.checkpoint.id) == 0;
  if (same && !set->overtaken) return ANNAL_OK;
  build_forget(set);
  set->place = set->found.checkpoint;
  r->again = true;
  return ANNAL_OK;
}

/* Writes down how far a set has come, and goes on with it unless it is whole. */
static int commit_target(rebuild *r, target *t, bool serve, bool *serves, annal_error *error) {
  int code = build_commit(&r->build, t->set, serve, serves, error);
  if (!code && t->set->overtaken) r->again = true;
  return code;
}

static int commit_all(rebuild *r, annal_error *error) {
  int64_t began = base_monotonic();
  bool ignored;
  int code = ANNAL_OK;
  for (size_t i = 0; i < r->count && !code; i++)
    if (!r->targets[i].over) code = commit_target(r, &r->targets[i], false, &ignored, error);
  for (size_t i = 0; i < r->count && !code; i++)
    if (!r->targets[i].over) code = begin_piece(r, &r->targets[i], error);
  r->committed_at = base_monotonic();
  r->commit_took = r->committed_at - began;
  return code;
}

static bool is_time_to_commit(const rebuild *r) {
  if (r->options->chunk_events) return true;
  int64_t pause = r->commit_took * LIMIT_COMMIT_SHARE;
  return base_monotonic() - r->committed_at > (pause > LIMIT_COMMIT_US ? pause : LIMIT_COMMIT_US);
}

/* ---- A round: from where the sets are to the head ---------------------------------------------------------------------- */

/* How large a chunk may be: events take what states leave. It is a page at least. */
static size_t chunk_bytes(const rebuild *r) {
  size_t states = 0, most = states_of(r->options->budget);
  for (size_t i = 0; i < r->count; i++) states += set_memory(&r->targets[i].set->set);
  size_t left = (r->options->budget - (states < most ? states : most)) / (r->build.crew.size ? 2 : 1);
  return left > 0 ? left : 1;
}

enum { CHUNK_GROWS = 4 }; /* by this at most from one to the next: the first ones of a rebuild are quick */

/* A page more of the chunk that comes next. */
static bool read_meanwhile(void *context) {
  rebuild *r = context;
  fold_chunk *next = &r->chunks[1];
  if (r->read_code || r->reader.over || next->count >= r->chunk_events || next->bytes >= r->next_bytes) return false;
  r->read_code = build_fill(&r->reader, next, next->count + 1, r->next_bytes, &r->read_error);
  return true;
}

/* The next chunk into the place of the one that was folded. Without threads there is nothing to read into meanwhile, and one does. */
static int fill_next(rebuild *r, annal_error *error) {
  if (r->read_code) *error = r->read_error;
  if (r->read_code) return r->read_code;
  size_t bytes = chunk_bytes(r);
  chunk_clear(&r->chunks[0], bytes);
  if (r->build.crew.size == 0) return build_fill(&r->reader, &r->chunks[0], r->chunk_events, bytes, error);
  int code = build_fill(&r->reader, &r->chunks[1], r->chunk_events, bytes, error);
  r->next_bytes = bytes;
  fold_chunk filled = r->chunks[1];
  r->chunks[1] = r->chunks[0];
  r->chunks[0] = filled;
  return code;
}

static int tell(const rebuild *r, const store_head_info *place, annal_error *error) {
  rebuild_progress progress = {.done = (uint64_t)place->position, .total = (uint64_t)r->reader.up_to.position, .rows = r->rows};
  for (size_t i = 0; i < r->count; i++) progress.rows += r->targets[i].set->written;
  if (!r->options->tell || r->options->tell(r->options->tell_context, &progress) == 0) return ANNAL_OK;
  return error_set(error, ANNAL_UNAVAILABLE, NULL,
                   "interrupted; what was done so far is kept, and the same rebuild goes on from there");
}

/* The next chunk has as many events as should take the time that one may. */
static void adapt_chunk(rebuild *r, int64_t spent) {
  size_t events = r->chunks[0].count, most = events * CHUNK_GROWS;
  if (events == 0) return;                                        /* it says nothing of events */
  if (spent < LIMIT_CHUNK_US && events < r->chunk_events) return; /* it was not what made it small */
  double wanted = (double)events * LIMIT_CHUNK_US / (double)(spent + 1) / 2;
  r->chunk_events = wanted < (double)most ? (size_t)wanted + 1 : most;
}

static int fold_chunk_into_all(rebuild *r, const store_head_info *end, annal_error *error) {
  int64_t began = base_monotonic();
  int code = ANNAL_OK;
  for (size_t i = 0; i < r->count && !code; i++) {
    target *t = &r->targets[i];
    if (t->over || t->set->overtaken) continue;
    code = build_fold(&r->build, t->set, &r->chunks[0], end, read_meanwhile, r, error);
    if (!code && t->set->set.halted) {
      *error = t->set->set.halt_error;
      return error->code;
    }
    if (t->set->overtaken) r->again = true;
  }
  if (!r->options->chunk_events) adapt_chunk(r, base_monotonic() - began);
  return code;
}

static store_head_info lowest_place(const rebuild *r) {
  store_head_info lowest = {.position = INT64_MAX};
  for (size_t i = 0; i < r->count; i++)
    if (!r->targets[i].over && r->targets[i].set->place.position < lowest.position) lowest = r->targets[i].set->place;
  return lowest;
}

/* Each set is as of the head that was seen at its beginning, if r->again is still false. */
static int run_round(rebuild *r, annal_error *error) {
  store_head_info head, end, begin;
  r->again = false;
  int code = store_head(r->context.store, &head, error);
  for (size_t i = 0; i < r->count && !code; i++)
    if (!r->targets[i].over && (!r->targets[i].set->piece || r->targets[i].set->overtaken))
      code = begin_piece(r, &r->targets[i], error);
  r->again = false;
  r->read_code = 0;
  for (int i = 0; i < 2; i++) chunk_clear(&r->chunks[i], chunk_bytes(r));
  begin = lowest_place(r);
  if (!code) code = build_read(&r->build, &r->reader, &begin, &head, false, error);
  if (!code) code = fill_next(r, error);
  while (!code && !r->again) {
    end = r->reader.reached;
    bool last = r->reader.over;
    code = fold_chunk_into_all(r, &end, error);
    if (!code) code = tell(r, &end, error);
    if (code || last) break;
    if (is_time_to_commit(r)) code = commit_all(r, error);
    if (!code && !r->again) code = fill_next(r, error);
  }
  build_end_read(&r->reader);
  return code;
}

/* ---- The end of it ----------------------------------------------------------------------------------------------------- */

static int fail_unwanted(const target *t, annal_error *error) {
  return error_set(
      error, ANNAL_CONFLICT, NULL,
      "the rows of %s are complete, but other scripts were loaded by somebody meanwhile, whose rows are to be served",
      t->projection->name);
}

/* Puts what was made where it belongs. t->over stays false where there is more to do first. */
static int finish_target(rebuild *r, target *t, annal_error *error) {
  store *s = r->context.store;
  const script_projection *projection = t->projection;
  bool serves = false, done = false, to_serve = t->is_kept && !t->beside;
  store_head_info place = t->set->place;
  int code = commit_target(r, t, to_serve, &serves, error);
  if (code || t->set->overtaken) return code;
  if (to_serve && !serves) {
    store_kept kept;
    code = store_kept_read(s, projection->name, &kept, error);
    done = !code && strcmp(kept.served, projection->fingerprint) == 0;
    /* Wanted and not served: the served set is ahead, and there is more to do. */
    if (!code && !done && strcmp(kept.wanted, projection->fingerprint) != 0) code = fail_unwanted(t, error);
  } else if (t->beside) {
    code = store_set_replace(s, projection->name, t->set->name, projection->fingerprint, &place, &done, error);
    if (!code && done) code = store_set_clean(s, projection->name, false, base_now(r->context.env) - LIMIT_SET_UNUSED_US, error);
  } else {
    done = true;
  }
  if (!code && done && !t->is_kept) code = store_set_finish(s, projection->name, projection->fingerprint, error);
  t->over = done && !code;
  return code;
}

static bool is_close(const rebuild *r, const store_head_info *head) {
  return head->position - lowest_place(r).position <= LIMIT_CATCH_UP_EVENTS;
}

static bool is_over(const rebuild *r) {
  for (size_t i = 0; i < r->count; i++)
    if (!r->targets[i].over) return false;
  return true;
}

static int run_rounds(rebuild *r, annal_error *error) {
  store_head_info head;
  int code = ANNAL_OK;
  for (int catch_ups = 0; !code && !is_over(r);) {
    code = run_round(r, error);
    if (code || r->again) continue;
    code = store_head(r->context.store, &head, error);
    if (code || (!is_close(r, &head) && catch_ups++ < LIMIT_CATCH_UPS)) continue;
    for (size_t i = 0; i < r->count && !code; i++)
      if (!r->targets[i].over) code = finish_target(r, &r->targets[i], error);
  }
  return code;
}

/* After an error what was done is kept where it can be; the error is what is told. */
static void keep_what_was_done(rebuild *r) {
  annal_error ignored;
  bool serves;
  r->build.interrupts = store_interrupts(r->context.store);
  for (size_t i = 0; i < r->count; i++)
    if (r->targets[i].set->piece && !r->targets[i].set->overtaken)
      build_commit(&r->build, r->targets[i].set, false, &serves, &ignored);
}

static int rebuild_group(rebuild *r, const script_projection *const *list, size_t count, annal_error *error) {
  r->count = 0;
  r->chunk_events = r->options->chunk_events ? r->options->chunk_events : LIMIT_CHUNK_EVENTS;
  r->committed_at = base_monotonic();
  annal_error ignored;
  int code = build_open(&r->build, &r->context, count, r->options->jobs, states_of(r->options->budget), error);
  r->targets = base_calloc(r->context.env, count, sizeof *r->targets);
  if (!code && !r->targets) code = error_memory(error);
  for (int i = 0; i < 2; i++) chunk_init(&r->chunks[i], r->context.env, r->context.app);
  for (size_t i = 0; i < count && !code; i++) code = add_target(r, list[i], error);
  if (!code) {
    code = run_rounds(r, error);
    if (code) keep_what_was_done(r);
    else tell(r, &r->reader.up_to, &ignored); /* it is too late to interrupt anything */
  }
  for (size_t i = 0; i < r->count; i++) r->rows += r->targets[i].set->written;
  for (int i = 0; i < 2; i++) chunk_free(&r->chunks[i]);
  build_close(&r->build);
  base_free(r->context.env, r->targets);
  return code;
}

int fold_rebuild(const fold_context *context, const rebuild_options *options, annal_error *error) {
  rebuild r = {.context = *context, .options = options};
  const script_projection **list = NULL;
  size_t count = 0, most = store_pieces_at_once(context->store);
  int code = find_projections(&r, &list, &count, error);
  for (size_t at = 0; at < count && !code; at += most) {
    size_t some = count - at < most ? count - at : most;
    code = rebuild_group(&r, list + at, some, error);
    if (some == count - at) break; /* `most` may be too large to count with */
  }
  base_free(context->env, (void *)list);
  return code;
}
