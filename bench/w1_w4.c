/* W1–W4: appending. One event a call by one caller (W1), by many threads or processes (W2), in batches of 1,000 (W3), guarded by
 * a condition (W4); always to new carts in a store of 100,000 events. Raw inserts the same rows in the same units; with several
 * callers each has its own connection, as people who write raw SQL would. */
#include "work.h"

#include "base/ulid.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLERS_MAX = 32, BULK = 1000 };

/* ---- What one turn does -------------------------------------------------------------------------------------------------- */

typedef struct appender {
  const bench_options *options;
  work_store store;
  int callers;
  bool processes;
  bool one_cart; /* guarded saves all on one cart */
  unsigned bulk; /* events a save */
  bool guarded;
  annal_store *handle;              /* ours, for threads */
  raw_connection *raw[CALLERS_MAX]; /* theirs, one a caller */
  _Atomic int64_t position;         /* raw: the last one given out */
  base_ulid ulid;
  base_env env;
} appender;

static _Atomic uint64_t next_cart = 1; /* no two callers of a run share a cart */

static uint64_t new_cart(void) {
  /* Processes do not share the counter: the process id keeps them apart. */
  return (uint64_t)getpid() % 100000 * 10000000 + atomic_fetch_add(&next_cart, 1) % 10000000;
}

static void next_id(appender *a, char id[ULID_TEXT_BYTES]) {
  annal_error error;
  bench_check(ulid_next(&a->ulid, &a->env, id, &error), &error, "ulid");
}

/* ---- Raw ----------------------------------------------------------------------------------------------------------------- */

static uint64_t raw_until(appender *a, raw_connection *raw, double until) {
  raw_event *events = calloc(a->bulk, sizeof *events);
  if (!events) bench_die("out of memory");
  uint64_t done = 0, cart = new_cart();
  unsigned step = 0;
  while (bench_now() < until) {
    for (unsigned i = 0; i < a->bulk; i++) {
      if (step == 10) {
        cart = new_cart();
        step = 0;
      }
      data_append_event(cart, step++, &events[i].event);
      events[i].position = atomic_fetch_add(&a->position, 1) + 1;
      next_id(a, events[i].id);
    }
    if (a->bulk > 1) {
      raw_bulk(raw, events, a->bulk);
    } else {
      raw_insert(raw, events, 1);
    }
    done += a->bulk;
  }
  free(events);
  return done;
}

/* ---- Ours ---------------------------------------------------------------------------------------------------------------- */

static uint64_t plain_until(appender *a, annal_store *handle, double until) {
  data_event *texts = calloc(a->bulk, sizeof *texts);
  annal_event *events = calloc(a->bulk, sizeof *events);
  if (!texts || !events) bench_die("out of memory");
  annal_error error;
  uint64_t done = 0, cart = new_cart();
  unsigned step = 0;
  while (bench_now() < until) {
    for (unsigned i = 0; i < a->bulk; i++) {
      if (step == 10) {
        cart = new_cart();
        step = 0;
      }
      data_append_event(cart, step++, &texts[i]);
      events[i] = (annal_event){.type = texts[i].type, .data = texts[i].data};
    }
    bench_check(annal_save(handle, events, a->bulk, NULL, NULL, &error), &error, "save");
    done += a->bulk;
  }
  free(texts);
  free(events);
  return done;
}

static int remember_id(void *context, const annal_event *event) {
  snprintf(context, 65, "%s", event->id);
  return 1;
}

/* Saves under the condition that nothing came to the cart since `seen`; answers whether it was accepted. */
static bool guarded_save(appender *a, annal_store *handle, const char *cart, const data_event *event, char seen[65]) {
  static const char *const types[] = {"CART_CREATED", "ITEM_ADDED_TO_CART", "ITEM_REMOVED_FROM_CART", "CART_CHECKED_OUT"};
  annal_field field = {.name = "cartId", .values = &cart, .value_count = 1};
  annal_stream stream = {.types = types, .type_count = 4, .data = &field, .data_count = 1};
  annal_condition condition = {
      .size = sizeof condition, .streams = &stream, .stream_count = 1, .latest_event_id = seen[0] ? seen : NULL};
  char id[ULID_TEXT_BYTES];
  annal_error error;
  next_id(a, id);
  annal_event saved = {.id = id, .type = event->type, .data = event->data};
  int result = annal_save(handle, &saved, 1, &condition, NULL, &error);
  if (result == ANNAL_CONFLICT) {
    annal_selection newest = {.size = sizeof newest, .streams = &stream, .stream_count = 1, .limit = 1, .reverse = true};
    bench_check(annal_read(handle, &newest, remember_id, seen, &error), &error, "read");
    return false;
  }
  bench_check(result, &error, "guarded save");
  snprintf(seen, 65, "%s", id);
  return true;
}

static uint64_t guarded_until(appender *a, annal_store *handle, double until) {
  uint64_t done = 0, cart = a->one_cart ? 1 : new_cart();
  unsigned step = a->one_cart ? 1 : 0;
  char seen[65] = "";
  data_event event;
  while (bench_now() < until) {
    if (step == 10 && !a->one_cart) {
      cart = new_cart();
      step = 0;
      seen[0] = 0;
    }
    data_append_event(cart, step, &event);
    if (guarded_save(a, handle, event.cart, &event, seen)) {
      done++;
      step++;
    }
  }
  return done;
}

static uint64_t ours_until(appender *a, annal_store *handle, double until) {
  return a->guarded ? guarded_until(a, handle, until) : plain_until(a, handle, until);
}

/* ---- Callers ------------------------------------------------------------------------------------------------------------- */

typedef struct caller {
  appender *appender;
  raw_connection *raw; /* NULL: ours */
  double until;
  uint64_t done;
} caller;

static void *caller_run(void *context) {
  caller *c = context;
  c->done = c->raw ? raw_until(c->appender, c->raw, c->until) : ours_until(c->appender, c->appender->handle, c->until);
  return NULL;
}

static double threads_turn(appender *a, bool raw, double seconds) {
  pthread_t threads[CALLERS_MAX];
  caller callers[CALLERS_MAX];
  double start = bench_now();
  for (int i = 0; i < a->callers; i++) {
    callers[i] = (caller){.appender = a, .raw = raw ? a->raw[i] : NULL, .until = start + seconds};
    if (pthread_create(&threads[i], NULL, caller_run, &callers[i])) bench_die("no thread");
  }
  uint64_t done = 0;
  for (int i = 0; i < a->callers; i++) {
    pthread_join(threads[i], NULL);
    done += callers[i].done;
  }
  return (double)done / (bench_now() - start);
}

/* Every process opens a handle of its own first and begins at a common moment. */
static double processes_turn(appender *a, double seconds) {
  double opening = 1.5 + 0.05 * a->callers;
  double until = bench_now() + opening + seconds;
  _Atomic uint64_t *done = mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (done == MAP_FAILED) bench_die("no shared memory");
  fflush(NULL);
  for (int i = 0; i < a->callers; i++) {
    pid_t child = fork();
    if (child < 0) bench_die("no process");
    if (child == 0) {
      annal_store *handle = work_open(a->options, &a->store);
      while (bench_now() < until - seconds) usleep(1000);
      atomic_fetch_add(done, ours_until(a, handle, until));
      annal_close(handle);
      _exit(0);
    }
  }
  for (int status; wait(&status) > 0;)
    if (status) bench_die("a process failed");
  double rate = (double)*done / seconds;
  munmap((void *)done, sizeof *done);
  return rate;
}

static double raw_turn(void *self, double seconds) { return threads_turn(self, true, seconds); }

static double ours_turn(void *self, double seconds) {
  appender *a = self;
  return a->processes ? processes_turn(a, seconds) : threads_turn(a, false, seconds);
}

/* ---- The table of works -------------------------------------------------------------------------------------------------- */

typedef struct append_work {
  const char *name, *what;
  bool postgres;
  int callers, raw_callers;
  bool processes, guarded, one_cart;
  unsigned bulk;
  double first, then;
} append_work;

static const append_work works[] = {
    {"W1", "one event a call, 1 caller", true, 1, 1, false, false, false, 1, 0.65, 0.8},
    {"W1", "one event a call, 1 caller", false, 1, 1, false, false, false, 1, 0.85, 0.95},
    {"W2", "one event a call, 8 threads", true, 8, 8, false, false, false, 1, 1.1, 1.5},
    {"W2", "one event a call, 32 threads", true, 32, 32, false, false, false, 1, 1.5, 2.5},
    {"W2", "one event a call, 32 processes", true, 32, 32, true, false, false, 1, 0.18, 0.35},
    {"W2", "one event a call, 32 threads", false, 32, 1, false, false, false, 1, 4.5, 7},
    {"W3", "batches of 1,000", true, 1, 1, false, false, false, BULK, 0.75, 0.95},
    {"W3", "batches of 1,000", false, 1, 1, false, false, false, BULK, 0.7, 0.9},
    {"W4", "guarded, 1 caller", true, 1, 1, false, true, false, 1, 0.55, 0.75},
    {"W4", "guarded, 8 threads, distinct carts", true, 8, 8, false, true, false, 1, 0.8, 1.3},
    {"W4", "guarded, 1 caller", false, 1, 1, false, true, false, 1, 0, 0},
};

static void run(const bench_options *options, const append_work *work) {
  appender ours = {.options = options,
                   .callers = work->callers,
                   .processes = work->processes,
                   .bulk = work->bulk,
                   .guarded = work->guarded,
                   .one_cart = work->one_cart};
  appender raw = {.options = options, .callers = work->raw_callers, .bulk = work->bulk};
  base_env_init(&ours.env, NULL);
  base_env_init(&raw.env, NULL);
  ulid_init(&ours.ulid);
  ulid_init(&raw.ulid);
  work_make(options, work->postgres, "append", 1, &ours.store);
  work_make(options, work->postgres, "raw", 1, &raw.store);
  for (int i = 0; i < raw.callers; i++) raw.raw[i] = work_raw(&raw.store);
  atomic_store(&raw.position, raw_head(raw.raw[0]));
  if (!work->processes) ours.handle = work_open(options, &ours.store);
  char title[96];
  snprintf(title, sizeof title, "%s %s, %s", work->name, work->what, ours.store.kind);
  bench_compare(options, title, "events/s", (bench_side){"raw", raw_turn, &raw}, (bench_side){"annal", ours_turn, &ours},
                BENCH_AT_LEAST, work->first, work->then);
  annal_close(ours.handle);
  for (int i = 0; i < raw.callers; i++) raw_close(raw.raw[i]);
  ulid_destroy(&ours.ulid);
  ulid_destroy(&raw.ulid);
}

/* Eight threads on one cart: nothing raw compares, so the goal is a rate. */
static void run_contended(const bench_options *options, bool postgres) {
  appender ours = {.options = options, .callers = 8, .bulk = 1, .guarded = true, .one_cart = true};
  base_env_init(&ours.env, NULL);
  ulid_init(&ours.ulid);
  work_make(options, postgres, "append", 1, &ours.store);
  ours.handle = work_open(options, &ours.store);
  double rates[64];
  int rounds = options->rounds < 64 ? options->rounds : 64;
  for (int i = 0; i < rounds; i++) rates[i] = threads_turn(&ours, false, options->seconds);
  char title[96];
  snprintf(title, sizeof title, "W4 guarded, 8 threads, one cart, %s", ours.store.kind);
  bench_report(title, "accepted/s", bench_median(rates, rounds), BENCH_AT_LEAST, postgres ? 1000 : 0, postgres ? 2000 : 0);
  annal_close(ours.handle);
  ulid_destroy(&ours.ulid);
}

void work_appends(const bench_options *options, bool postgres, const char *which) {
  for (size_t i = 0; i < sizeof works / sizeof *works; i++)
    if (works[i].postgres == postgres && strcmp(works[i].name, which) == 0) run(options, &works[i]);
  if (strcmp(which, "W4") == 0) run_contended(options, postgres);
}
