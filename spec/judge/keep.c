/* judge_keep --store LOCATION [--schema NAME] [--kills N] [--events N] [--within SECONDS]
 *
 * Holds what is kept in the background to its word. All the time writers save, and readers look at every row of two projections: the
 * rows have to be by one generation of scripts, and there has to be one event up to which all of them are the fold of the log.
 *
 * Workers: two of them, of which one is killed with -9 at random moments, N times; meanwhile the other has to go on within SECONDS
 * (5). One instance's handler fails; it stands still, and goes on when the scripts were mended, without a restart of the workers.
 * Generations: two workers with different scripts, killed and started likewise. Left alone, the later one's rows are served from
 * then on, and nothing goes to and fro.
 * Rebuild: of more instances, by yet other scripts, killed at nine tenths and at random moments; it has to go on about where it was.
 *
 * Prints a line of counts; exits 0 when all is well, 1 with violations. Other roles of the program are its own (see `roles`). */
#include "judge.h"

#include "api/handle.h"
#include "fold/rebuild.h"
#include "store/kept.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEYS = 40, CARTS = 2000, CHUNK = 500, READERS = 2, WRITERS = 2, POISON = 13 };

static const char *const names[] = {"PER_KEY", "TOTAL"};

typedef struct setting {
  const char *location, *schema, *role, *app, *directory;
  double kills, events, within, until, unused_seconds;
} setting;

/* ---- The app ------------------------------------------------------------------------------------------------------------- */

/* `factor` tells generations apart in every row. The first generation fails at an event of the key "poison". */
static void write_app(const char *directory, int factor) {
  char path[160], fresh[160];
  mkdir(directory, 0700);
  snprintf(path, sizeof path, "%s/app.lua", directory);
  snprintf(fresh, sizeof fresh, "%s/.new", directory);
  FILE *file = fopen(fresh, "w");
  if (!file) judge_die("%s cannot be written", fresh);
  fprintf(file,
          "event 'COUNTED' { key = t.string, n = t.integer }\n"
          "local function count(s, e)\n"
          "  if %d == 1 and e.data.key == 'poison' and e.data.n == %d then s.count = -1 error('poison') end\n"
          "  s.count = s.count + 1 s.sum = s.sum + e.data.n * %d\n"
          "end\n"
          "local function view(s) return { count = s.count, factor = %d, sum = s.sum } end\n"
          "projection 'PER_KEY' { keep = 'background', by = 'key', init = { count = 0, sum = 0 }, on = { COUNTED = count }, view "
          "= view }\n"
          "projection 'TOTAL' { keep = 'background', init = { count = 0, sum = 0 }, view = view,\n"
          "  on = { COUNTED = function(s, e) s.count = s.count + 1 s.sum = s.sum + e.data.n * %d end } }\n",
          factor, POISON, factor, factor, factor);
  fclose(file);
  if (rename(fresh, path)) judge_die("%s cannot be written", path);
}

static annal_store *open_store(const setting *s, const char *app) {
  static const char *const declared[] = {"key"};
  annal_options options = {
      .size = sizeof options, .schema = s->schema, .app = app, .data_indexes = declared, .data_index_count = 1};
  annal_store *handle;
  annal_error error;
  if (annal_open(s->location, &options, &handle, &error)) judge_die("open: %s", error.message);
  return handle;
}

static bool may_pass(int code) { return code == 0 || code == ANNAL_UNAVAILABLE || code == ANNAL_BUSY; }

/* ---- Roles: writer, worker, rebuild -------------------------------------------------------------------------------------- */

static void make_event(uint64_t *seed, bool carts, char data[96], annal_event *event) {
  unsigned n = (unsigned)(judge_random(seed) % 1000);
  if (carts) snprintf(data, 96, "{\"key\":\"c%u\",\"n\":%u}", (unsigned)(judge_random(seed) % CARTS), n);
  else if (judge_random(seed) % 100 == 0) snprintf(data, 96, "{\"key\":\"poison\",\"n\":%u}", n % 20);
  else snprintf(data, 96, "{\"key\":\"k%u\",\"n\":%u}", (unsigned)(judge_random(seed) % KEYS), n);
  *event = (annal_event){.type = "COUNTED", .data = data};
}

static void save_batch(annal_store *handle, uint64_t *seed, bool carts, size_t count) {
  static char data[1000][96];
  static annal_event events[1000];
  annal_error error;
  for (size_t i = 0; i < count; i++) make_event(seed, carts, data[i], &events[i]);
  int code = annal_save(handle, events, count, NULL, NULL, &error);
  if (!may_pass(code)) judge_die("a save answered %s: %s", annal_code_name(code), error.message);
}

static _Noreturn void be_writer(const setting *s) {
  annal_store *handle = open_store(s, NULL);
  uint64_t seed = (uint64_t)getpid() * 7919;
  for (;;) {
    save_batch(handle, &seed, false, 1 + judge_random(&seed) % 20);
    usleep((useconds_t)(judge_random(&seed) % 10000));
  }
}

static _Noreturn void be_worker(const setting *s) {
  annal_store *handle = open_store(s, s->app);
  annal_error error;
  for (;;) {
    int code = annal_run_once(handle, 1, &error);
    if (!may_pass(code)) judge_die("a worker was answered %s: %s", annal_code_name(code), error.message);
  }
}

/* Kills itself at nine tenths where it is asked to; writes down where it began and how far it came. */
typedef struct telling {
  double until; /* 2: to the end */
  int file;
  bool begun;
  double began;
} telling;

static int tell(void *context, const rebuild_progress *progress) {
  telling *t = context;
  double part = (double)progress->done / (double)progress->total;
  if (!t->begun) t->began = part;
  t->begun = true;
  const double note[2] = {t->began, part};
  if (pwrite(t->file, note, sizeof note, 0) != (ssize_t)sizeof note) judge_die("a note cannot be written");
  if (part >= t->until) raise(SIGKILL);
  return 0;
}

static int be_rebuild(const setting *s) {
  char path[160];
  snprintf(path, sizeof path, "%s/began", s->directory);
  annal_store *handle = open_store(s, s->app);
  annal_error error;
  script_app *app = handle_app(handle);
  fold_context context = handle_context(handle, app);
  telling t = {.until = s->until, .file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600)};
  rebuild_options options = {
      .jobs = 2, .budget = 200000, .lock_us = 10000000, .chunk_events = CHUNK, .tell = tell, .tell_context = &t};
  int code = fold_rebuild(&context, &options, &error);
  if (code) judge_die("a rebuild was answered %s: %s", annal_code_name(code), error.message);
  script_release(app);
  annal_close(handle);
  return 0;
}

/* ---- The log, as a reader knows it --------------------------------------------------------------------------------------- */

typedef struct counted {
  int64_t position;
  uint64_t count, sum; /* of its key, with it */
  int64_t next;        /* the key's next event; INT64_MAX: none yet */
} counted;

typedef struct history {
  char key[16];
  counted *events;
  size_t count, capacity;
} history;

enum { HISTORIES = KEYS + CARTS + 2 }; /* every key, "poison", and the whole log */

typedef struct log_copy {
  history all[HISTORIES];
  int64_t position;
  char id[65];
} log_copy;

static size_t history_of(const char *key) {
  if (!key) return HISTORIES - 1;
  if (strcmp(key, "poison") == 0) return KEYS + CARTS;
  size_t number = strtoul(key + 1, NULL, 10);
  return key[0] == 'k' ? number : KEYS + number;
}

static void count_in(history *h, int64_t position, unsigned n) {
  if (h->count == h->capacity) {
    h->capacity = h->capacity ? h->capacity * 2 : 64;
    h->events = realloc(h->events, h->capacity * sizeof *h->events);
    if (!h->events) judge_die("out of memory");
  }
  counted *last = h->count ? &h->events[h->count - 1] : NULL;
  if (last) last->next = position;
  h->events[h->count++] = (counted){
      .position = position, .count = (last ? last->count : 0) + 1, .sum = (last ? last->sum : 0) + n, .next = INT64_MAX};
}

static int take_event(void *context, const annal_event *event) {
  log_copy *log = context;
  char key[16];
  unsigned n;
  if (sscanf(event->data, "{\"key\":\"%15[^\"]\",\"n\":%u}", key, &n) != 2)
    judge_die("not an event of a writer's: %s", event->data);
  count_in(&log->all[history_of(key)], event->position, n);
  count_in(&log->all[history_of(NULL)], event->position, n);
  log->position = event->position;
  snprintf(log->id, sizeof log->id, "%s", event->id);
  return 0;
}

static void read_on(log_copy *log, annal_store *handle) {
  annal_selection selection = {.size = sizeof selection, .after_id = log->position ? log->id : NULL};
  annal_error error;
  int code = annal_read(handle, &selection, take_event, log, &error);
  if (!may_pass(code)) judge_die("a read answered %s: %s", annal_code_name(code), error.message);
}

/* ---- A look at all rows of a projection ---------------------------------------------------------------------------------- */

typedef struct row {
  char key[16];
  int64_t position;
  unsigned long long count, sum;
  int factor;
  bool parked;
} row;

typedef struct look {
  row rows[HISTORIES];
  size_t count;
} look;

static int take_row(void *context, const store_row *stored) {
  look *l = context;
  if (l->count == HISTORIES) judge_die("too many rows");
  row *r = &l->rows[l->count++];
  *r = (row){.position = stored->position, .parked = stored->parked != NULL};
  snprintf(r->key, sizeof r->key, "%s", stored->id);
  if (sscanf(stored->data, "{\"count\":%llu,\"factor\":%d,\"sum\":%llu}", &r->count, &r->factor, &r->sum) != 3)
    judge_die("not a row of the app's: %s", stored->data);
  return 0;
}

static const counted *event_at(const history *h, int64_t position) {
  size_t low = 0, high = h->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (h->events[middle].position < position) low = middle + 1;
    else high = middle;
  }
  return low < h->count && h->events[low].position == position ? &h->events[low] : NULL;
}

static uint64_t complain(const char *projection, const row *r, const char *what) {
  fprintf(stderr, "judge: %s \"%s\" at %lld, count %llu, factor %d: %s\n", projection, r->key, (long long)r->position, r->count,
          r->factor, what);
  return 1;
}

/* Whether each row is the fold of its events, and there is one position up to which all are. */
static uint64_t judge_look(const look *l, const log_copy *log, size_t which) {
  int64_t least = 0, below = INT64_MAX;
  bool has_row[HISTORIES] = {false};
  uint64_t violations = 0;
  for (size_t i = 0; i < l->count; i++) {
    const row *r = &l->rows[i];
    size_t number = history_of(which == 0 ? r->key : NULL);
    const counted *event = event_at(&log->all[number], r->position);
    has_row[number] = true;
    if (r->factor != l->rows[0].factor) violations += complain(names[which], r, "a mixture of scripts");
    if (!event || event->count != r->count || event->sum * (unsigned)r->factor != r->sum) {
      violations += complain(names[which], r, "not the fold of its events");
    } else if (!r->parked) {
      if (r->position > least) least = r->position;
      if (event->next < below) below = event->next;
    }
  }
  for (size_t i = 0; which == 0 && i < HISTORIES - 2; i++)
    if (!has_row[i] && log->all[i].count && log->all[i].events[0].position < below) below = log->all[i].events[0].position;
  if (l->count > 0 && least >= below) violations += complain(names[which], &l->rows[0], "rows that stand at different events");
  return violations;
}

static void look_at(annal_store *handle, size_t which, int64_t at_least, look *l) {
  annal_error error;
  annal_query query = {.size = sizeof query, .type = names[which], .at_least = at_least, .timeout = 60};
  int code = ANNAL_UNAVAILABLE;
  for (double until = judge_now() + 60; code == ANNAL_UNAVAILABLE && judge_now() < until;) {
    l->count = 0;
    code = handle_query(handle, &query, NULL, take_row, l, &error);
    if (code == ANNAL_UNAVAILABLE) usleep(20000);
  }
  if (code) judge_die("a query answered %s: %s", annal_code_name(code), error.message);
}

static volatile sig_atomic_t ended;
static void end(int signal) {
  (void)signal;
  ended = 1;
}

static int be_reader(const setting *s) {
  static log_copy log;
  static look l;
  uint64_t looks = 0, violations = 0;
  bool served[2] = {false, false};
  annal_store *handle = open_store(s, s->app);
  signal(SIGTERM, end);
  while (!ended && violations < 10) {
    size_t which = looks++ % 2;
    look_at(handle, which, 0, &l);
    read_on(&log, handle);
    violations += judge_look(&l, &log, which);
    if (served[which] && l.count == 0) violations += complain(names[which], &(row){0}, "no rows");
    served[which] |= l.count > 0;
    usleep(5000);
  }
  annal_close(handle);
  char path[160];
  snprintf(path, sizeof path, "%s/looks", s->directory);
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (write(file, &looks, sizeof looks) != (ssize_t)sizeof looks) judge_die("a note cannot be written");
  return violations ? 1 : 0;
}

/* ---- The referee --------------------------------------------------------------------------------------------------------- */

typedef struct referee {
  const setting *s;
  char first[128], second[128], third[128]; /* directories of apps */
  pid_t readers[READERS], writers[WRITERS], workers[2];
  annal_store *handle;
  log_copy log;
  uint64_t seed, violations;
  unsigned kills;
  double longest; /* seconds until the other worker went on */
} referee;

/* Another process by an image of its own: what is open here is none of its business. */
static pid_t start(const referee *r, const char *role, const char *app, double until) {
  char part[32];
  snprintf(part, sizeof part, "%g", until);
  const char *arguments[] = {"judge_keep", "--store", r->s->location, "--schema", r->s->schema, "--directory", r->s->directory,
                             "--role",     role,      "--until",      part,       "--app",      app,           NULL};
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);                  /* none of them outlives the referee */
    execv("/proc/self/exe", (char *const *)arguments); // NOLINT(clang-diagnostic-cast-qual): they are not written to
    _exit(127);
  }
  return child;
}

static void complain_of(referee *r, const char *what) {
  fprintf(stderr, "judge: %s\n", what);
  r->violations++;
}

static int end_of(pid_t child) {
  int status = -1;
  if (waitpid(child, &status, 0) != child) judge_die("a process is lost");
  return status;
}

/* Whoever ends by himself has found something. */
static void check_running(referee *r, const pid_t *children, int count, const char *who) {
  int status;
  for (int i = 0; i < count; i++)
    if (waitpid(children[i], &status, WNOHANG) == children[i])
      judge_die("%s ended with status %d after %u kills", who, status, r->kills);
}

static void kill_off(pid_t child) {
  kill(child, SIGKILL);
  end_of(child);
}

static void wait_a_moment(referee *r) { usleep((useconds_t)(judge_random(&r->seed) % 100000)); }

static int64_t head_now(referee *r) {
  store_head_info head;
  annal_error error;
  if (store_head(r->handle->store, &head, &error)) judge_die("%s", error.message);
  return head.position;
}

/* The rows, when they know of everything that is stored by now, as the referee counts it. */
static void check_all_rows(referee *r, int factor, bool all_run) {
  static look l;
  int64_t head = head_now(r);
  for (size_t which = 0; which < 2; which++) {
    look_at(r->handle, which, head, &l);
    read_on(&r->log, r->handle);
    r->violations += judge_look(&l, &r->log, which);
    for (size_t i = 0; i < l.count; i++) {
      if (l.rows[i].factor != factor) r->violations += complain(names[which], &l.rows[i], "by other scripts than it should be");
      if (all_run && l.rows[i].parked) r->violations += complain(names[which], &l.rows[i], "stands still");
    }
  }
}

/* One of two workers is killed; the other has to come to what is stored by then. */
static void kill_one(referee *r, const char *const apps[2]) {
  static look l;
  wait_a_moment(r);
  check_running(r, r->workers, 2, "a worker");
  check_running(r, r->readers, READERS, "a reader");
  check_running(r, r->writers, WRITERS, "a writer");
  int which = (int)(judge_random(&r->seed) % 2);
  kill_off(r->workers[which]);
  r->kills++;
  double began = judge_now();
  if (apps[0] == apps[1]) {
    look_at(r->handle, judge_random(&r->seed) % 2, head_now(r), &l);
    double took = judge_now() - began;
    if (took > r->longest) r->longest = took;
    if (took > r->s->within) complain_of(r, "the other worker did not go on in time");
  }
  r->workers[which] = start(r, "worker", apps[which], 2);
}

static void judge_workers(referee *r) {
  const char *const apps[2] = {r->first, r->first};
  for (int i = 0; i < 2; i++) r->workers[i] = start(r, "worker", r->first, 2);
  for (unsigned kills = 0; kills < (unsigned)r->s->kills && !r->violations; kills++) kill_one(r, apps);
  check_all_rows(r, 1, false);
  write_app(r->first, 2); /* the workers notice */
  static look l;
  for (double until = judge_now() + 60; judge_now() < until;) {
    int same = 0;
    for (size_t which = 0; which < 2; which++) {
      look_at(r->handle, which, 0, &l);
      same += l.count > 0 && l.rows[0].factor == 2;
    }
    if (same == 2) break;
    usleep(20000);
  }
  check_all_rows(r, 2, true);
}

static store_kept kept_now(referee *r, size_t which) {
  store_kept kept;
  annal_error error;
  if (store_kept_read(r->handle->store, names[which], &kept, &error)) judge_die("%s", error.message);
  return kept;
}

static void judge_generations(referee *r) {
  const char *const apps[2] = {r->first, r->second};
  static look l;
  for (int i = 0; i < 2; i++) kill_off(r->workers[i]);
  for (int i = 0; i < 2; i++) r->workers[i] = start(r, "worker", apps[i], 2);
  for (unsigned kills = 0; kills < (unsigned)r->s->kills / 2 && !r->violations; kills++) kill_one(r, apps);
  kill_off(r->workers[1]); /* the one that is started last is the one that is wanted */
  usleep(300000);
  r->workers[1] = start(r, "worker", r->second, 2);
  for (double until = judge_now() + 60; judge_now() < until; usleep(20000)) {
    int same = 0;
    for (size_t which = 0; which < 2; which++) {
      look_at(r->handle, which, 0, &l);
      same += l.count > 0 && l.rows[0].factor == 3;
    }
    if (same == 2) break;
  }
  check_all_rows(r, 3, true);
  store_kept before[2] = {kept_now(r, 0), kept_now(r, 1)};
  for (double until = judge_now() + 2; judge_now() < until; usleep(100000)) check_all_rows(r, 3, true);
  for (size_t which = 0; which < 2; which++) {
    store_kept kept = kept_now(r, which);
    if (kept.number != before[which].number) complain_of(r, "two generations take what is wanted from each other");
  }
}

/* Where the last rebuild began and how far it read, as parts of the log; 1: it did not come to that. For the next one it is forgotten. */
static double began_at(const referee *r, double *reached) {
  char path[160];
  double note[2];
  *reached = 0;
  snprintf(path, sizeof path, "%s/began", r->s->directory);
  int file = open(path, O_RDONLY);
  if (file < 0) return 1;
  bool begun = read(file, note, sizeof note) == (ssize_t)sizeof note;
  close(file);
  unlink(path);
  if (begun) *reached = note[1];
  return begun ? note[0] : 1;
}

/* Killed at nine tenths, then at random moments, then to its end. */
static void rebuild_and_kill(referee *r) {
  if (end_of(start(r, "rebuild", r->third, 0.9)) != SIGKILL) complain_of(r, "a rebuild did not come to nine tenths");
  r->kills++;
  double reached, before;
  began_at(r, &before);
  bool is_over = false;
  for (int i = 0; i < 4 && !is_over; i++) {
    pid_t child = start(r, "rebuild", r->third, 2);
    if (i < 3) {
      usleep((useconds_t)(20000 + judge_random(&r->seed) % 100000));
      kill(child, SIGKILL);
    }
    int status = end_of(child);
    is_over = status == 0;
    if (status == SIGKILL) r->kills++;
    else if (status) complain_of(r, "a rebuild failed");
    /* One that was killed after it had read everything may have been through: then this one is another. */
    if (began_at(r, &reached) < 0.8 && before < 1) complain_of(r, "a rebuild began anew");
    if (reached > 0) before = reached;
  }
}

static void judge_rebuild(referee *r) {
  static look l;
  uint64_t seed = 5;
  for (int i = 0; i < 2; i++) kill_off(r->workers[i]);
  for (int64_t more = (int64_t)r->s->events - head_now(r); more > 0; more -= 1000) save_batch(r->handle, &seed, true, 1000);
  int64_t stored = head_now(r);
  for (int round = 0; round < 2 && !r->violations; round++) { /* the second time rows by the same scripts are served */
    rebuild_and_kill(r);
    look_at(r->handle, 0, stored, &l);
    read_on(&r->log, r->handle);
    r->violations += judge_look(&l, &r->log, 0);
    if (l.count < KEYS || l.rows[0].factor != 4) complain_of(r, "the rows are not those of the rebuild");
    check_running(r, r->readers, READERS, "a reader");
    check_running(r, r->writers, WRITERS, "a writer");
  }
}

static uint64_t end_readers(referee *r) {
  char path[160];
  uint64_t all = 0, looks;
  for (int i = 0; i < READERS; i++) {
    kill(r->readers[i], SIGTERM);
    if (end_of(r->readers[i])) complain_of(r, "a reader has found something");
  }
  snprintf(path, sizeof path, "%s/looks", r->s->directory);
  int file = open(path, O_RDONLY);
  while (file >= 0 && read(file, &looks, sizeof looks) == (ssize_t)sizeof looks) all += looks;
  if (file >= 0) close(file);
  return all;
}

static void prepare(referee *r) {
  snprintf(r->first, sizeof r->first, "%s/first", r->s->directory);
  snprintf(r->second, sizeof r->second, "%s/second", r->s->directory);
  snprintf(r->third, sizeof r->third, "%s/third", r->s->directory);
  write_app(r->first, 1);
  write_app(r->second, 3);
  write_app(r->third, 4);
  r->handle = open_store(r->s, r->second);
  save_batch(r->handle, &r->seed, false, 100);
  for (int i = 0; i < READERS; i++) r->readers[i] = start(r, "reader", r->first, 2);
  for (int i = 0; i < WRITERS; i++) r->writers[i] = start(r, "writer", r->first, 2);
}

static int referee_all(const setting *s) {
  static referee r = {.seed = 1};
  char directory[] = "/tmp/annal-judge-XXXXXX", command[64];
  setting own = *s;
  own.directory = mkdtemp(directory);
  if (!own.directory) judge_die("no temporary directory");
  r.s = &own;
  prepare(&r);
  judge_workers(&r);
  if (!r.violations) judge_generations(&r);
  if (!r.violations) judge_rebuild(&r);
  uint64_t looks = end_readers(&r);
  for (int i = 0; i < WRITERS; i++) kill_off(r.writers[i]);
  read_on(&r.log, r.handle);
  printf("%lld events, %u kills, %llu looks at rows; the other worker went on within %.2f s; %llu violations\n",
         (long long)r.log.position, r.kills, (unsigned long long)looks, r.longest, (unsigned long long)r.violations);
  annal_close(r.handle);
  snprintf(command, sizeof command, "rm -rf '%s'", directory);
  return system(command) || r.violations ? 1 : 0;
}

int main(int count, char **arguments) {
  setting s = {.schema = "judge", .kills = 50, .events = 40000, .within = 5, .until = 2};
  judge_options(count, arguments,
                (judge_option[]){{"--store", &s.location, NULL, NULL},
                                 {"--schema", &s.schema, NULL, NULL},
                                 {"--kills", NULL, &s.kills, NULL},
                                 {"--events", NULL, &s.events, NULL},
                                 {"--within", NULL, &s.within, NULL},
                                 {"--seconds", NULL, &s.unused_seconds, NULL},
                                 {"--role", &s.role, NULL, NULL},
                                 {"--app", &s.app, NULL, NULL},
                                 {"--until", NULL, &s.until, NULL},
                                 {"--directory", &s.directory, NULL, NULL},
                                 {0}});
  if (!s.location) judge_die("usage: judge_keep --store LOCATION [--schema NAME] …");
  if (!s.role) return referee_all(&s);
  if (strcmp(s.role, "writer") == 0) be_writer(&s);
  if (strcmp(s.role, "worker") == 0) be_worker(&s);
  if (strcmp(s.role, "reader") == 0) return be_reader(&s);
  return be_rebuild(&s);
}
