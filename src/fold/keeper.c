/* The worker; see keeper.h. */
#include "fold/keeper.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "fold/build.h"
#include <pthread.h>
#include <string.h>

/* What is remembered of one projection from step to step, for one generation of scripts. */
typedef struct kept_set {
  const script_projection *projection;
  bool busy;             /* a thread is at it; under the keeper's lock, the rest is that thread's */
  bool announced;        /* the set is wanted by this generation */
  int64_t wanted_number; /* of annal_meta when it was seen to be the wanted one last; 0: it is not, or not any more */
  bool retried;          /* what was parked before was tried again */
  bool by_type;          /* of the log only the types of the projection are read: most of the rest is not for it */
  bool was_halted, halted;
  char retry_after[LIMIT_VALUE_BYTES + 1]; /* the last one that was tried again */
  char retry_up_to[LIMIT_VALUE_BYTES + 1]; /* the last one of those that are being tried */
  bool retry_ends;                         /* there are no more after it */
  bool retry_failed;                       /* the world failed at them: what is new goes first now */
  size_t piece_events;                     /* how many a piece may have */
  int64_t overtaken_at;                    /* monotonic; 0: never */
  int64_t own_touch;                       /* when this keeper has written the checkpoint, by the store's clock */
  int64_t cleaned_at;                      /* monotonic */
  int64_t other_touch;      /* when the set that is to take this one's place was seen to be written last, and … */
  int64_t other_touched_at; /* … when that was seen first; monotonic */
  int64_t stands_since;     /* monotonic: it gives way; 0: it does not */
  int64_t goes_until;       /* monotonic: before it does so again */
} kept_set;

struct fold_keeper {
  const base_env *env;
  store *store;
  pthread_mutex_t lock;
  script_app *app; /* whose sets these are; retained */
  kept_set *sets;
  size_t count;
  size_t busy; /* threads that work on one of them */
};

int keeper_new(const base_env *env, store *s, fold_keeper **out, annal_error *error) {
  fold_keeper *keeper = base_calloc(env, 1, sizeof *keeper);
  if (!keeper) return error_memory(error);
  keeper->env = env;
  keeper->store = s;
  pthread_mutex_init(&keeper->lock, NULL);
  *out = keeper;
  return ANNAL_OK;
}

void keeper_free(fold_keeper *keeper) {
  if (!keeper) return;
  const base_env *env = keeper->env;
  script_release(keeper->app);
  base_free(env, keeper->sets);
  pthread_mutex_destroy(&keeper->lock);
  base_free(env, keeper);
}

/* ---- Generations ------------------------------------------------------------------------------------------------------- */

static int make_sets(fold_keeper *keeper, script_app *app, kept_set **sets, size_t *count, annal_error *error) {
  size_t all;
  const script_projection *projections = script_projections(app, &all);
  *count = 0;
  *sets = base_calloc(keeper->env, all + 1, sizeof **sets);
  if (!*sets) return error_memory(error);
  for (size_t i = 0; i < all; i++)
    if (projections[i].keep != SCRIPT_KEEP_LIVE)
      (*sets)[(*count)++] = (kept_set){.projection = &projections[i], .piece_events = LIMIT_PIECE_EVENTS};
  return ANNAL_OK;
}

/* Under the lock: makes the app's sets the keeper's. Not while a thread works on the old ones: *mine is false then. */
static int take_app(fold_keeper *keeper, script_app *app, bool *mine, annal_error *error) {
  *mine = keeper->app == app;
  if (*mine || keeper->busy > 0) return ANNAL_OK;
  kept_set *sets;
  size_t count;
  int code = make_sets(keeper, app, &sets, &count, error);
  if (code) return code;
  base_free(keeper->env, keeper->sets);
  script_release(keeper->app);
  keeper->app = script_retain(app);
  keeper->sets = sets;
  keeper->count = count;
  *mine = true;
  return ANNAL_OK;
}

/* ---- Looking around ---------------------------------------------------------------------------------------------------- */

static bool is_wanted(const kept_set *set, const store_set *found) {
  return strcmp(found->kept.wanted, set->projection->fingerprint) == 0;
}

static bool is_served(const kept_set *set, const store_set *found) {
  return strcmp(found->kept.served, set->projection->fingerprint) == 0;
}

static int look(fold_keeper *keeper, kept_set *set, store_set *found, annal_error *error) {
  return store_set_look(keeper->store, set->projection->name, set->projection->fingerprint, found, error);
}

/* Whether its rows have ids of their own, so that "" can mean all of them. */
static bool has_instances(const script_projection *projection) { return projection->by_count > 0 || projection->has_streams; }

/* Whether the set of rows is parked as a whole. */
static void note_whole(void *context, const store_parked *parked) { *(bool *)context |= parked->id[0] == 0; }

static int announce(fold_keeper *keeper, kept_set *set, annal_error *error) {
  const script_projection *projection = set->projection;
  bool whole = false;
  int code = store_kept_want(keeper->store, projection->name, projection->fingerprint, error);
  if (!code) code = store_parked_of(keeper->store, projection->name, projection->fingerprint, NULL, 1, note_whole, &whole, error);
  if (code) return code;
  set->was_halted = whole && has_instances(projection);
  set->announced = true;
  return ANNAL_OK;
}

static int clean(fold_keeper *keeper, kept_set *set, annal_error *error) {
  int64_t now = base_monotonic();
  if (set->cleaned_at && now - set->cleaned_at < LIMIT_CLEAN_EVERY_US) return ANNAL_OK;
  set->cleaned_at = now;
  return store_set_clean(keeper->store, set->projection->name, true, base_now(keeper->env) - LIMIT_SET_UNUSED_US, error);
}

/* Somebody else builds the set, was faster once, and has moved it a moment ago: two at it would only do the same twice. */
static bool is_others(const fold_keeper *keeper, const kept_set *set, const store_set *found) {
  bool contested = set->overtaken_at && base_monotonic() - set->overtaken_at < INT64_C(10) * LIMIT_OVERTAKEN_US;
  return contested && !is_served(set, found) && found->touched_at != set->own_touch &&
         base_now(keeper->env) - found->touched_at < LIMIT_OVERTAKEN_US;
}

/* Whether the set that is to take the place of this one is close behind, and moves. */
static int is_followed(fold_keeper *keeper, kept_set *set, const store_set *found, bool *followed, annal_error *error) {
  store_set other;
  int64_t now = base_monotonic();
  int code = store_set_look(keeper->store, set->projection->name, found->kept.wanted, &other, error);
  if (code) return code;
  int64_t behind = found->checkpoint.position - other.checkpoint.position;
  if (other.touched_at != set->other_touch) set->other_touched_at = now;
  set->other_touch = other.touched_at;
  *followed = other.sound && behind > 0 && behind <= LIMIT_GIVE_WAY_EVENTS && now - set->other_touched_at < LIMIT_GIVE_WAY_US;
  return ANNAL_OK;
}

/* A set that is served stands still for a moment where another is about to take its place: readers are not taken back, and who folds
 * more slowly would be late each time. It is a moment, and a small part of the time, whatever the other does. */
static int gives_way(fold_keeper *keeper, kept_set *set, const store_set *found, bool *gives, annal_error *error) {
  bool followed = false;
  int64_t now = base_monotonic();
  *gives = false;
  int code = is_wanted(set, found) || !is_served(set, found) ? ANNAL_OK : is_followed(keeper, set, found, &followed, error);
  if (code) return code;
  if (!followed) set->stands_since = 0;
  if (!followed || now < set->goes_until) return ANNAL_OK;
  if (!set->stands_since) set->stands_since = now;
  *gives = now - set->stands_since < LIMIT_STAND_US;
  if (*gives) return ANNAL_OK;
  set->goes_until = now + (int64_t)LIMIT_STAND_SHARE * LIMIT_STAND_US; /* it has stood long enough */
  set->stands_since = 0;
  return ANNAL_OK;
}

/* ---- A piece ----------------------------------------------------------------------------------------------------------- */

/* Fewer or more events next time, so that a piece takes about as long as it should. */
static void adapt(kept_set *set, int64_t spent, bool was_full) {
  if (spent > INT64_C(2) * LIMIT_PIECE_US) set->piece_events = set->piece_events / 2 + 1;
  else if (was_full && spent < LIMIT_PIECE_US / 2) set->piece_events *= 2;
  if (set->piece_events > LIMIT_PIECE_EVENTS_MOST) set->piece_events = LIMIT_PIECE_EVENTS_MOST;
}

/* Reads a chunk and folds it. *at_head: there is nothing more. */
static int fold_piece(kept_set *set, fold_build *build, build_set *b, bool *at_head, annal_error *error) {
  build_reader reader = {0};
  fold_chunk chunk;
  chunk_init(&chunk, build->context.env, build->context.app);
  int64_t began = base_monotonic();
  int code = build_read(build, &reader, &b->place, &b->found.head, set->by_type, error);
  if (!code) code = build_fill(&reader, &chunk, set->piece_events, LIMIT_PIECE_BYTES, error);
  bool was_full = chunk.count >= set->piece_events;
  if (chunk.count > set->piece_events) build_cut(&reader, &chunk, set->piece_events);
  build_end_read(&reader);
  if (!code) code = build_fold(build, b, &chunk, &reader.reached, NULL, NULL, error);
  *at_head = !code && b->place.position >= b->found.head.position;
  if (!set->by_type && chunk.count >= LIMIT_PAGE_EVENTS && b->set.used * 8 < chunk.count) set->by_type = true;
  adapt(set, base_monotonic() - began, was_full);
  chunk_free(&chunk);
  return code;
}

/* Some of the parked instances, on their way into the set's memory. */
typedef struct retrying {
  kept_set *kept;
  fold_set *set;
  size_t seen;
  bool failed; /* no memory */
} retrying;

static void enter_parked(void *context, const store_parked *parked) {
  retrying *r = context;
  bool whole = parked->id[0] == 0 && has_instances(r->set->projection);
  if (!whole && !set_enter(r->set, parked->id)) r->failed = true;
  memccpy(r->kept->retry_up_to, parked->id, 0, sizeof r->kept->retry_up_to - 1);
  r->seen++;
}

/* What was parked before this start is tried again, some at a time: whatever failed may have been the world around the scripts, or,
 * under a pinned version, the scripts themselves. */
static int retry_piece(fold_keeper *keeper, kept_set *set, fold_build *build, build_set *b, bool *tried, annal_error *error) {
  const char *after = set->retry_after[0] ? set->retry_after : NULL;
  retrying r = {.kept = set, .set = &b->set};
  int code = store_parked_of(keeper->store, set->projection->name, b->name, after, BUILD_ENTERED, enter_parked, &r, error);
  if (!code && r.failed) code = error_memory(error);
  set->retry_ends = r.seen < BUILD_ENTERED;
  *tried = b->set.touched_count > 0;
  if (!code && !*tried) set->retried = true;
  return code || !*tried ? code : build_fold_entered(build, b, error);
}

static int commit(fold_keeper *keeper, kept_set *set, fold_build *build, build_set *b, bool serve, annal_error *error) {
  bool serves = false;
  store_set found;
  int code = build_commit(build, b, serve, &serves, error);
  if (code) return code;
  set->overtaken_at = b->overtaken ? base_monotonic() : set->overtaken_at;
  if (b->overtaken) return ANNAL_OK;
  set->halted = b->set.halted;
  set->was_halted = b->set.halted;
  if (serves)
    base_log(keeper->env, "info",
             "%s: the rows by the loaded scripts are complete up to position %lld, and are served from now on",
             set->projection->name, (long long)b->place.position);
  if (set->halted)
    base_log(keeper->env, "error", "%s stands still at event %s: %s", set->projection->name, b->set.halt_event,
             b->set.halt_error.message);
  if (set->overtaken_at) code = look(keeper, set, &found, error);
  if (!code && set->overtaken_at) set->own_touch = found.touched_at;
  return code;
}

/* With the piece in hand. */
static int do_piece(fold_keeper *keeper, kept_set *set, fold_build *build, build_set *b, bool *done, annal_error *error) {
  bool at_head = true, tried = false;
  b->unread = !is_served(set, &b->found);
  b->place = b->found.checkpoint;
  b->set.was_halted = set->was_halted;
  bool retry = !set->retried && !set->retry_failed;
  set->retry_failed = retry; /* until it has come to its end */
  int code = retry ? retry_piece(keeper, set, build, b, &tried, error) : ANNAL_OK;
  if (!code && !tried) code = fold_piece(set, build, b, &at_head, error);
  if (code) return code;
  bool serve = !tried && at_head && b->unread && is_wanted(set, &b->found) && !b->set.halted;
  bool moved = b->place.position > b->found.checkpoint.position;
  *done = tried || moved || serve || b->set.halted;
  if (*done) code = commit(keeper, set, build, b, serve, error);
  if (code) return code;
  set->retry_failed = false;
  if (!tried || b->overtaken) return ANNAL_OK;
  memcpy(set->retry_after, set->retry_up_to, sizeof set->retry_after);
  set->retried = set->retry_ends;
  return ANNAL_OK;
}

static int begin_piece(fold_keeper *keeper, kept_set *set, bool *done, annal_error *error) {
  const script_projection *projection = set->projection;
  fold_context context = {.env = keeper->env, .store = keeper->store, .app = keeper->app};
  fold_build build;
  build_set *b;
  int code = build_open(&build, &context, 1, 0, LIMIT_PIECE_STATES, error);
  if (!code) code = build_add(&build, projection, projection->fingerprint, &b, error);
  if (!code) code = build_begin(&build, b, error);
  if (!code && b->piece && b->found.sound) code = do_piece(keeper, set, &build, b, done, error);
  build_close(&build);
  return code;
}

/* ---- A step ------------------------------------------------------------------------------------------------------------ */

static int reset(fold_keeper *keeper, const kept_set *set, const store_set *found, bool *done, annal_error *error) {
  base_log(keeper->env, "warn",
           "%s: the event \"%s\" that its rows were made up to is not at position %lld any more (after a restore or a failover); "
           "they are made anew",
           set->projection->name, found->checkpoint.id, (long long)found->checkpoint.position);
  return store_set_reset(keeper->store, set->projection->name, set->projection->fingerprint, &found->checkpoint, done, error);
}

/* The number only rises: where it is lower the store is one from before (a restore), which knows nothing of what was wanted since. */
static bool was_put_back(kept_set *set, const store_set *found) {
  bool put_back = found->kept.number < set->wanted_number;
  set->wanted_number = is_wanted(set, found) ? found->kept.number : 0;
  return put_back;
}

static int step_set(fold_keeper *keeper, kept_set *set, bool *done, annal_error *error) {
  store_set found;
  *done = false;
  int code = set->announced ? ANNAL_OK : announce(keeper, set, error);
  if (!code) code = clean(keeper, set, error);
  if (!code) code = look(keeper, set, &found, error);
  if (!code && was_put_back(set, &found)) {
    set->announced = false;
    *done = true;
    return ANNAL_OK;
  }
  if (code || set->halted || !(is_wanted(set, &found) || is_served(set, &found)) || is_others(keeper, set, &found)) return code;
  if (!found.sound) return reset(keeper, set, &found, done, error);
  bool behind = found.head.position > found.checkpoint.position;
  bool to_serve = is_wanted(set, &found) && !is_served(set, &found), gives;
  code = gives_way(keeper, set, &found, &gives, error);
  if (code || gives) return code;
  if (behind || to_serve || !set->retried) code = begin_piece(keeper, set, done, error);
  return code;
}

/* The next set from *at on that no other thread is at; NULL when there is none. */
static kept_set *take_set(fold_keeper *keeper, size_t *at) {
  kept_set *taken = NULL;
  pthread_mutex_lock(&keeper->lock);
  while (*at < keeper->count && !taken) {
    kept_set *set = &keeper->sets[(*at)++];
    if (!set->busy) taken = set;
  }
  if (taken) {
    taken->busy = true;
    keeper->busy++;
  }
  pthread_mutex_unlock(&keeper->lock);
  return taken;
}

static void give_back(fold_keeper *keeper, kept_set *set) {
  pthread_mutex_lock(&keeper->lock);
  set->busy = false;
  keeper->busy--;
  pthread_mutex_unlock(&keeper->lock);
}

int keeper_step(fold_keeper *keeper, script_app *app, bool *done, annal_error *error) {
  bool mine = false;
  *done = false;
  pthread_mutex_lock(&keeper->lock);
  int code = take_app(keeper, app, &mine, error);
  if (mine && !code) keeper->busy++; /* the sets stay */
  pthread_mutex_unlock(&keeper->lock);
  if (code || !mine) return code;
  size_t at = 0;
  for (kept_set *set; (set = take_set(keeper, &at)) != NULL;) {
    annal_error problem;
    bool worked = false;
    int result = step_set(keeper, set, &worked, &problem);
    give_back(keeper, set);
    *done |= worked;
    if (result && !code) {
      code = result;
      *error = problem;
    }
  }
  pthread_mutex_lock(&keeper->lock);
  keeper->busy--;
  pthread_mutex_unlock(&keeper->lock);
  return code;
}
