/* Scripts that are reloaded again and again, a third of them broken, while eight threads read and save: every answer is made by one
 * generation, and by none that is broken, that is not in force any more or not yet; and no generation leaves any memory behind.
 * To be run under the thread sanitizer as well, and under valgrind: ANNAL_TEST_RELOADS says how many reloads instead of 10,000. */
#include "../fold/support.h"

#include "counting.h"
#include <pthread.h>
#include <time.h>

enum {
  THREADS = 8,
  EVENTS_MOST = 10,
  ROUNDS_FIRST = 20, /* then each thread has done everything that it does */
  BASE = 1000000     /* generations are numbered from here on: each number has as many digits */
};

static place p;
static char
    scripts[64]; /* where the generations lie: in memory if there is such a place, since it is not disks that are tested */
static atomic_int written;  /* the newest good generation that lies on disk, or is about to */
static atomic_int in_force; /* the newest whose reload has returned */
static atomic_int turn;     /* counts reloads; see work */
static atomic_bool stop;
static atomic_int logged;
static atomic_int seen_by[THREADS], rounds_of[THREADS];

static void count_errors(void *context, const char *level, const char *message) {
  (void)context, (void)message;
  if (strcmp(level, "error") == 0) atomic_fetch_add(&logged, 1);
}

/* ---- Generations ------------------------------------------------------------------------------------------------------- */

/* A generation says its number in each of its files; a view and a refusal show it twice and more. */
static const struct {
  const char *name, *text;
} files[] = {
    {"one.lua", "return { generation = %d }"},
    {"two.lua", "return { generation = %d }"},
    {"events.lua", "local one, two = include 'one', include 'two'\n"
                   "event 'ADDED' { schema = { id = t.string, n = t.integer }, validate = function(data)\n"
                   "  if data.n < 0 then return nil, ('<%%d %%d %d>'):format(one.generation, two.generation) end\n"
                   "  return true\nend }"},
    {"reducers/first.lua",
     "return reducer { init = { g = %d, n = 0 }, on = { ADDED = function(s, e) s.n = s.n + e.data.n end } }"},
    {"reducers/second.lua",
     "return reducer { init = { g = %d, n = 0 }, on = { ADDED = function(s, e) s.n = s.n + e.data.n end } }"},
    {"sum.lua",
     "local one, two = include 'one', include 'two'\n"
     "projection 'SUM' { by = 'id', fields = { first = include 'reducers.first', second = include 'reducers.second' },\n"
     "  view = function(s) return { a = %d, b = one.generation, c = two.generation, d = s.first.g, e = s.second.g,\n"
     "    m = s.first.n, n = s.second.n } end }"},
    {"wish.lua",
     "local one, two = include 'one', include 'two'\n"
     "command 'WISH' { args = { id = t.string }, uses = { sum = { 'SUM', id = 'id' } }, decide = function(args, views)\n"
     "  reject(('<%%d %%d %%d %%d %d>'):format(one.generation, two.generation, views.sum.a, views.sum.d)) end }"},
};
enum { FILES = sizeof files / sizeof *files };

/* What is wrong in a third of them, and where that is found. */
static const struct {
  const char *name, *text, *where;
} faults[] = {
    {"two.lua", "\nreturn { generation = }", "two.lua:2"},
    {"sum.lua", "error 'broken'", "sum.lua:1"},
    {"reducers/second.lua", "\n\nreturn reducer { on = {} , no = 1 }", "reducers/second.lua:3"},
    {"one.lua", NULL, "events.lua:1"}, /* it is not there */
};
enum { FAULTS = sizeof faults / sizeof *faults };

static bool is_broken(int generation) { return generation % 3 == 0; }

static void path_of(char out[200], int generation, const char *name) {
  snprintf(out, 200, "%s/%d%s%s", scripts, generation, *name ? "/" : "", name);
}

static void write_generation(int generation) {
  char path[200];
  path_of(path, generation, "");
  assert_int_equal(mkdir(path, 0700), 0);
  path_of(path, generation, "reducers");
  assert_int_equal(mkdir(path, 0700), 0);
  for (size_t i = 0; i < FILES; i++) {
    const char *text = files[i].text;
    if (is_broken(generation) && strcmp(files[i].name, faults[generation / 3 % FAULTS].name) == 0)
      text = faults[generation / 3 % FAULTS].text;
    if (!text) continue;
    path_of(path, generation, files[i].name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, text, generation); // NOLINT(format-nonliteral): the texts are those above
    assert_int_equal(fclose(file), 0);
  }
}

static void remove_generation(int generation) {
  char path[200];
  for (size_t i = 0; i < FILES; i++) {
    path_of(path, generation, files[i].name);
    unlink(path);
  }
  path_of(path, generation, "reducers");
  rmdir(path);
  path_of(path, generation, "");
  assert_int_equal(rmdir(path), 0);
}

/* The app is a link to one of them: it changes in one step. */
static void swap_in(int generation) {
  char next[200], app[200], target[32];
  snprintf(next, sizeof next, "%s/next", scripts);
  snprintf(app, sizeof app, "%s/app", scripts);
  snprintf(target, sizeof target, "%d", generation);
  if (!is_broken(generation)) atomic_store(&written, generation);
  assert_int_equal(symlink(target, next), 0);
  assert_int_equal(rename(next, app), 0);
}

static char reload_failure[1400]; /* of the thread that reloads: asserting is for the main one */

static void check_broken(int generation, int code, const annal_error *error) {
  const char *where = faults[generation / 3 % FAULTS].where;
  if (code != ANNAL_SCRIPT || strcmp(error->where, where) != 0)
    snprintf(reload_failure, sizeof reload_failure, "generation %d: %d at \"%s\" and not at \"%s\": %s", generation, code,
             error->where, where, error->message);
}

/* From the generation before to this one. */
static void reload_to(int generation) {
  annal_error error;
  write_generation(generation);
  swap_in(generation);
  int code = annal_reload(p.handle, &error);
  if (is_broken(generation)) {
    check_broken(generation, code, &error);
    if (generation % 5 == 0) check_broken(generation, annal_reload(p.handle, &error), &error);
  } else {
    if (code) snprintf(reload_failure, sizeof reload_failure, "generation %d: %s: %s", generation, error.where, error.message);
    atomic_store(&in_force, generation);
  }
  remove_generation(generation - 1); /* whoever began to read it has ended: a reload waits for the look before it */
  atomic_fetch_add(&turn, 1);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------------- */

typedef struct worker {
  int number;
  int saved; /* events of its own instance */
  int last;  /* the newest generation that it was answered by */
  long calls;
  char failure[1400]; /* asserting is for the main thread */
} worker;

static void note(worker *w, const char *what, const char *answer) {
  if (!w->failure[0]) snprintf(w->failure, sizeof w->failure, "%s: %.1000s", what, answer);
}

/* The numbers that the answer shows are one, of a generation that was in force during the call. */
static void check(worker *w, const int *shown, size_t count, int low, const char *answer) {
  int high = atomic_load(&written);
  for (size_t i = 1; i < count; i++)
    if (shown[i] != shown[0]) note(w, "made by two generations", answer);
  if (is_broken(shown[0])) note(w, "made by a broken one", answer);
  if (shown[0] < low || shown[0] < w->last) note(w, "made by an old one", answer);
  if (shown[0] > high) note(w, "made by one that is not there yet", answer);
  w->last = shown[0];
  w->calls++;
  atomic_store(&seen_by[w->number], shown[0]);
}

static void view_one(worker *w) {
  char id[16];
  int low = atomic_load(&in_force), g[5], m, n;
  annal_text view;
  annal_error error;
  annal_view_options options = {
      .size = sizeof options, .save = w->saved && w->calls % 199 == 0, .ignore_saved = w->calls % 3 == 0};
  snprintf(id, sizeof id, "t%d", w->number);
  if (annal_view(p.handle, "SUM", id, &options, &view, &error)) {
    note(w, "view", error.message);
    return;
  }
  int read = sscanf(view.bytes, "{\"a\":%d,\"b\":%d,\"c\":%d,\"d\":%d,\"e\":%d,\"m\":%d,\"n\":%d}", &g[0], &g[1], &g[2], &g[3],
                    &g[4], &m, &n);
  if (read != 7 || m != w->saved || n != w->saved) note(w, "a wrong view", view.bytes);
  else check(w, g, 5, low, view.bytes);
  annal_text_free(p.handle, &view);
}

static int save(worker *w, int n, annal_error *error) {
  char data[64];
  snprintf(data, sizeof data, "{\"id\":\"t%d\",\"n\":%d}", w->number, n);
  annal_event event = {.type = "ADDED", .data = data};
  return annal_save(p.handle, &event, 1, NULL, NULL, error);
}

static void be_refused(worker *w) {
  int low = atomic_load(&in_force), g[3];
  annal_error error;
  int code = save(w, -1, &error);
  const char *numbers = strchr(error.message, '<');
  if (code != ANNAL_INVALID || !numbers || sscanf(numbers, "<%d %d %d>", &g[0], &g[1], &g[2]) != 3)
    note(w, "a wrong refusal", error.message);
  else check(w, g, 3, low, error.message);
}

static void be_rejected(worker *w) {
  char args[32];
  int low = atomic_load(&in_force), g[5];
  annal_error error;
  snprintf(args, sizeof args, "{\"id\":\"t%d\"}", w->number);
  int code = annal_call(p.handle, "WISH", args, NULL, NULL, &error);
  if (code != ANNAL_REJECTED || sscanf(error.message, "<%d %d %d %d %d>", &g[0], &g[1], &g[2], &g[3], &g[4]) != 5)
    note(w, "a wrong rejection", error.message);
  else check(w, g, 5, low, error.message);
}

static void save_one(worker *w) {
  annal_error error;
  if (save(w, 1, &error)) note(w, "save", error.message);
  else w->saved++;
}

/* How many reloads pass between two rounds of a thread. Each round in a new generation costs the thread a new state, so that without
 * pauses the reloads would hardly get on. 0: it goes on by itself. */
static int reloads_a_round;

static void wait_for_turn(const worker *w) {
  struct timespec pause = {.tv_nsec = 1000000};
  int begin = atomic_load(&turn);
  do nanosleep(&pause, NULL);
  while (!atomic_load(&stop) && reloads_a_round && atomic_load(&turn) < begin + reloads_a_round - w->number % 2);
}

static void *work(void *context) {
  worker *w = context;
  while (!atomic_load(&stop) && !w->failure[0]) {
    if (w->saved < EVENTS_MOST) save_one(w);
    view_one(w);
    if (w->calls % 4 == 1) be_refused(w);
    else be_rejected(w);
    atomic_fetch_add(&rounds_of[w->number], 1);
    wait_for_turn(w);
  }
  atomic_fetch_add(&rounds_of[w->number], ROUNDS_FIRST); /* when it has failed nobody needs to wait for it */
  return NULL;
}

static worker workers[THREADS];
static pthread_t threads[THREADS];

static void begin_work(void) {
  atomic_store(&stop, false);
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
}

static void end_work(void) {
  atomic_store(&stop, true);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++)
    if (workers[i].failure[0]) fail_msg("thread %d: %s", i, workers[i].failure);
}

static void start(size_t cache) {
  place_init(&p);
  snprintf(scripts, sizeof scripts, "%s/annal-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  assert_non_null(mkdtemp(scripts));
  snprintf(p.app, sizeof p.app, "%s/app", scripts);
  atomic_store(&logged, 0);
  assert_false(is_broken(BASE));
  write_generation(BASE);
  swap_in(BASE);
  atomic_store(&in_force, BASE);
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.number = i, .last = BASE};
    atomic_store(&rounds_of[i], 0);
    atomic_store(&seen_by[i], 0);
  }
  place_open_with(&p, (annal_options){.app = p.app, .allocate = count_bytes, .log = count_errors, .cache = cache});
}

static void finish(void) {
  char command[128];
  place_remove(&p);
  snprintf(command, sizeof command, "rm -rf '%s'", scripts);
  assert_int_equal(system(command), 0);
  assert_int_equal(atomic_load(&held), 0);
}

/* ---- Reloads under load ------------------------------------------------------------------------------------------------ */

static long resident_bytes(void) {
  long pages = 0, all;
  FILE *file = fopen("/proc/self/statm", "r");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%ld %ld", &all, &pages), 2);
  fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

static bool all_have_worked(void) {
  for (int i = 0; i < THREADS; i++)
    if (atomic_load(&rounds_of[i]) < ROUNDS_FIRST) return false;
  return true;
}

static void *reload_some(void *context) {
  for (int *generation = context, i = 0; i < 20 && !reload_failure[0]; i++) reload_to((*generation)++);
  return NULL;
}

/* Reloads to this generation and those after it while the threads work; answers the one after the last. By threads that live
 * shortly: the thread sanitizer takes no notice of how an error in a script leaves C functions (Debian's Lua jumps by
 * __longjmp_chk), and would remember ever deeper stacks. */
static int reload_under_load(int generation, int count) {
  pthread_t reloader;
  int end = generation + count;
  begin_work();
  while ((generation < end || !all_have_worked()) && !reload_failure[0]) {
    assert_int_equal(pthread_create(&reloader, NULL, reload_some, &generation), 0);
    pthread_join(reloader, NULL);
  }
  end_work();
  assert_string_equal(reload_failure, "");
  return generation;
}

/* When nobody works, a fresh generation has been asked once: how much is held then. Asked by the same worker in the same way, it
 * comes to the same number of bytes, if nothing is left of those before. */
static long quiet_bytes(int *generation) {
  do reload_to((*generation)++);
  while (is_broken(*generation - 1));
  worker asking = workers[0];
  asking.calls = 1; /* so that neither a row is saved nor the saved one ignored */
  view_one(&asking);
  be_refused(&asking);
  assert_string_equal(asking.failure, "");
  assert_int_equal(asking.last, *generation - 1);
  return atomic_load(&held);
}

/* What a sanitizer or valgrind keeps of freed memory is not ours to judge. */
static bool judges_residence(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#else
  const char *preload = getenv("LD_PRELOAD"); /* valgrind's */
  return !preload || !strstr(preload, "vgpreload");
#endif
}

static void each_answer_is_of_one_generation_and_none_is_kept(void **unused) {
  (void)unused;
  const char *asked = getenv("ANNAL_TEST_RELOADS");
  int reloads = asked ? atoi(asked) : 10000, first = reloads / 10, generation = BASE + 1;
  assert_true(first > 0);
  reloads_a_round = 6;
  start(1); /* states that are kept have the size that the events give them */
  generation = reload_under_load(generation, first);
  long bytes = quiet_bytes(&generation), resident = resident_bytes();
  generation = reload_under_load(generation, reloads - first);
  long bytes_later = quiet_bytes(&generation), resident_later = resident_bytes();
  long calls = 0;
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(workers[i].saved, EVENTS_MOST);
    calls += workers[i].calls;
  }
  printf("%d reloads, %ld answers by %d threads; held then and later: %ld and %ld bytes, resident: %ld and %ld KiB\n", reloads,
         calls, THREADS, bytes, bytes_later, resident >> 10, resident_later >> 10);
  assert_int_equal(bytes_later, bytes);
  if (judges_residence()) assert_true(resident_later < resident + (8 << 20));
  finish();
}

/* ---- Nobody asks ------------------------------------------------------------------------------------------------------- */

static void wait_until_all_see(int generation) {
  int64_t until = base_monotonic() + 60000000;
  struct timespec pause = {.tv_nsec = 5000000};
  for (int i = 0; i < THREADS;) {
    if (atomic_load(&seen_by[i]) >= generation) i++;
    else if (atomic_load(&stop) || base_monotonic() > until) break;
    else nanosleep(&pause, NULL);
  }
}

static void threads_find_changes_by_themselves(void **unused) {
  (void)unused;
  int errors = 0;
  struct timespec pause = {.tv_nsec = 5000000};
  reloads_a_round = 0;
  start(0);
  begin_work();
  for (int generation = BASE + 1; generation <= BASE + 9; generation++) {
    write_generation(generation);
    swap_in(generation);
    if (is_broken(generation)) {
      errors++;
      for (int64_t until = base_monotonic() + 60000000; atomic_load(&logged) < errors && base_monotonic() < until;)
        nanosleep(&pause, NULL);
    } else {
      wait_until_all_see(generation);
      for (int i = 0; i < THREADS; i++) assert_int_equal(atomic_load(&seen_by[i]), generation);
      atomic_store(&in_force, generation);
    }
    assert_int_equal(atomic_load(&logged), errors);
  }
  end_work();
  assert_int_equal(atomic_load(&logged), errors);
  finish();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_answer_is_of_one_generation_and_none_is_kept),
      cmocka_unit_test(threads_find_changes_by_themselves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
