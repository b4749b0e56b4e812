/* judge_keep --store LOCATION [--schema NAME] [--kills N] [--events N] [--carts N] [--side SECONDS] [--within SECONDS]
 *
 * Holds what is kept in the background to its word. All the time writers save, and readers look at every row of two projections: the
 * rows have to be by one generation of scripts, there has to be one event up to which all of them are the fold of the log, and that must
 * never lie before the one that was seen last.
 *
 * Workers: two of them, of which one is killed with -9 at random moments, N times; meanwhile the other has to go on within SECONDS
 * (5). One instance's handler fails; it stands still, and goes on when the scripts were mended, without a restart of the workers.
 * Generations: two workers with different scripts, killed and started likewise. Left alone for `--side` seconds, the later one's rows
 * are served, nothing goes to and fro, and each program's views are right by its own scripts.
 * Rebuild: of so many carts, by yet other scripts, killed at nine tenths and at random moments; it has to go on about where it was. Then
 * again and again, while rows by the same scripts are served.
 *
 * Prints a line of counts; exits 0 when all is well, 1 with violations. Other roles of the program are its own (see `roles`). */
#include "keep.h"

#include "fold/rebuild.h"
#include "store/kept.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READERS = 2, WRITERS = 2, POISON = 13, EVENTS_A_CART = 20, CHUNKS = 80, ROUNDS = 4 };
enum { FIRST_EVENTS = 20000 }; /* stored before anybody works or reads: some pieces of a set */

typedef struct setting {
  const char *location, *schema, *role, *app, *directory;
  double kills, events, carts, side, within, chunk, until, unused_seconds;
} setting;

/* ---- The app ------------------------------------------------------------------------------------------------------------- */

/* `factor` tells generations apart in every row. The first generation fails at an event of the key "poison", and cannot show some
 * states, so that instances stand still and go on all the time. */
static void write_app(const char *directory, int factor) {
  char text[1024];
  snprintf(
      text, sizeof text,
      "event 'COUNTED' { key = t.string, n = t.integer }\n"
      "local function count(s, e)\n"
      "  if %d == 1 and e.data.key == 'poison' and e.data.n == %d then s.count = -1 error('poison') end\n"
      "  s.count = s.count + 1 s.sum = s.sum + e.data.n * %d\n"
      "end\n"
      "local function view(s)\n"
      "  if %d == 1 and s.count > 10 and s.count %% 5 == 3 then error('unseen') end\n"
      "  return { count = s.count, factor = %d, sum = s.sum }\n"
      "end\n"
      "projection 'PER_KEY' { keep = 'background', by = 'key', init = { count = 0, sum = 0 }, on = { COUNTED = count }, view "
      "= view }\n"
      "projection 'TOTAL' { keep = 'background', init = { count = 0, sum = 0 }, view = view,\n"
      "  on = { COUNTED = function(s, e) s.count = s.count + 1 s.sum = s.sum + e.data.n * %d end } }\n",
      factor, POISON, factor, factor, factor, factor);
  judge_write(directory, "app.lua", text);
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

/* ---- Roles: writer, rebuild ---------------------------------------------------------------------------------------------- */

/* Of one of so many carts; 0: of a counter, or of the key whose handler fails now and then. */
static void make_event(uint64_t *seed, uint64_t carts, char data[96], annal_event *event) {
  unsigned n = (unsigned)(judge_random(seed) % 1000);
  if (carts) snprintf(data, 96, "{\"key\":\"c%u\",\"n\":%u}", (unsigned)(judge_random(seed) % carts), n);
  else if (judge_random(seed) % 100 == 0) snprintf(data, 96, "{\"key\":\"poison\",\"n\":%u}", n % 20);
  else snprintf(data, 96, "{\"key\":\"k%u\",\"n\":%u}", (unsigned)(judge_random(seed) % KEEP_KEYS), n);
  *event = (annal_event){.type = "COUNTED", .data = data};
}

static void save_batch(annal_store *handle, uint64_t *seed, uint64_t carts, size_t count) {
  static char data[1000][96];
  static annal_event events[1000];
  annal_error error;
  for (size_t i = 0; i < count; i++) make_event(seed, carts, data[i], &events[i]);
  int code = annal_save(handle, events, count, NULL, NULL, &error);
  if (!judge_may_pass(code)) judge_die("a save answered %s: %s", annal_code_name(code), error.message);
}

static _Noreturn void be_writer(const setting *s) {
  annal_store *handle = open_store(s, NULL);
  uint64_t seed = (uint64_t)getpid() * 7919;
  for (;;) {
    save_batch(handle, &seed, 0, 1 + judge_random(&seed) % 20);
    usleep((useconds_t)(judge_random(&seed) % 10000));
  }
}

/* What a rebuild leaves behind of itself: up to which position it had read when it was asked first and last, and how many there were to
 * read. */
typedef struct note {
  uint64_t began, reached, total; /* total 0: it was never asked */
} note;

/* Kills itself at nine tenths where it is asked to. */
typedef struct telling {
  double until; /* 2: to the end */
  int file;
  note note;
} telling;

static int tell(void *context, const rebuild_progress *progress) {
  telling *t = context;
  if (t->note.total == 0) t->note.began = progress->done;
  t->note.reached = progress->done;
  t->note.total = progress->total;
  if (pwrite(t->file, &t->note, sizeof t->note, 0) != (ssize_t)sizeof t->note) judge_die("a note cannot be written");
  if ((double)progress->done >= t->until * (double)progress->total) raise(SIGKILL);
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
      .jobs = 2, .budget = 200000, .lock_us = 10000000, .chunk_events = (size_t)s->chunk, .tell = tell, .tell_context = &t};
  int code = fold_rebuild(&context, &options, &error);
  if (code) judge_die("a rebuild was answered %s: %s", annal_code_name(code), error.message);
  script_release(app);
  annal_close(handle);
  return 0;
}

/* ---- Reader -------------------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t ended;
static void end(int signal) {
  (void)signal;
  ended = 1;
}

static int64_t newest_of(const look *l) {
  int64_t newest = 0;
  for (size_t i = 0; i < l->count; i++)
    if (l->rows[i].position > newest) newest = l->rows[i].position;
  return newest;
}

enum { UNSEEN = 500 }; /* so many of the newest events may be of instances whose states cannot be shown */

static int be_reader(const setting *s) {
  static log_copy log;
  static look l;
  uint64_t looks = 0, violations = 0;
  bool served[2] = {false, false};
  int64_t newest[2] = {0, 0};
  annal_store *handle = open_store(s, s->app);
  signal(SIGTERM, end);
  while (!ended && violations < 10) {
    size_t which = looks++ % 2;
    keep_look(handle, which, 0, &l);
    keep_read_on(&log, handle);
    violations += keep_judge(&l, &log, which);
    if (served[which] && l.count == 0) violations += keep_complain(keep_names[which], &(keep_row){0}, "no rows");
    bool first = which == 0 && !served[which] && l.count > 0; /* of the other projection's only row one cannot tell: see UNSEEN */
    served[which] |= l.count > 0;
    int64_t before = newest[which];
    newest[which] = newest_of(&l);
    if (first && newest[which] + UNSEEN < FIRST_EVENTS)
      violations += keep_complain(keep_names[which], &l.rows[0], "served before it was whole");
    if (newest[which] < before) violations += keep_complain(keep_names[which], &l.rows[0], "before what was seen last");
    usleep(1000);
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
  unsigned kills, sides, views; /* sides: rounds of looks while two generations ran */
  unsigned resumed;             /* rebuilds that went on where another was killed */
  unsigned chunk;               /* events between two commits of a rebuild: it is to be cut short in many places */
  double longest;               /* seconds until the other worker went on */
} referee;

static pid_t start(const referee *r, const char *role, const char *app, double until) {
  char part[32], carts[32], chunk[32];
  snprintf(part, sizeof part, "%g", until);
  snprintf(carts, sizeof carts, "%g", r->s->carts);
  snprintf(chunk, sizeof chunk, "%u", r->chunk);
  return judge_start((const char *const[]){"judge_keep", "--store", r->s->location, "--schema", r->s->schema, "--directory",
                                           r->s->directory, "--role", role, "--until", part, "--app", app, "--carts", carts,
                                           "--chunk", chunk, NULL});
}

static void complain_of(referee *r, const char *what) {
  fprintf(stderr, "judge: %s\n", what);
  r->violations++;
}

/* Whoever ends by himself has found something. */
static void check_running(referee *r, const pid_t *children, int count, const char *who) {
  int status;
  for (int i = 0; i < count; i++)
    if (waitpid(children[i], &status, WNOHANG) == children[i])
      judge_die("%s ended with status %d after %u kills", who, status, r->kills);
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
    keep_look(r->handle, which, head, &l);
    keep_read_on(&r->log, r->handle);
    r->violations += keep_judge(&l, &r->log, which);
    for (size_t i = 0; i < l.count; i++) {
      if (l.rows[i].factor != factor)
        r->violations += keep_complain(keep_names[which], &l.rows[i], "by other scripts than it should be");
      if (all_run && l.rows[i].parked) r->violations += keep_complain(keep_names[which], &l.rows[i], "stands still");
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
  judge_kill(r->workers[which]);
  r->kills++;
  double began = judge_now();
  if (apps[0] == apps[1]) {
    keep_look(r->handle, judge_random(&r->seed) % 2, head_now(r), &l);
    double took = judge_now() - began;
    if (took > r->longest) r->longest = took;
    if (took > r->s->within) complain_of(r, "the other worker did not go on in time");
  }
  r->workers[which] = start(r, "worker", apps[which], 2);
}

static void wait_until_served(referee *r, int factor) {
  static look l;
  for (double until = judge_now() + 60; judge_now() < until; usleep(20000)) {
    int same = 0;
    for (size_t which = 0; which < 2; which++) {
      keep_look(r->handle, which, 0, &l);
      same += l.count > 0 && l.rows[0].factor == factor;
    }
    if (same == 2) break;
  }
}

static void judge_workers(referee *r) {
  const char *const apps[2] = {r->first, r->first};
  for (int i = 0; i < 2; i++) r->workers[i] = start(r, "worker", r->first, 2);
  for (unsigned kills = 0; kills < (unsigned)r->s->kills && !r->violations; kills++) kill_one(r, apps);
  for (int i = 0; i < 20; i++) save_batch(r->handle, &r->seed, 0, 1000); /* a set takes its time from now on */
  check_all_rows(r, 1, false);
  write_app(r->first, 2); /* the workers notice */
  wait_until_served(r, 2);
  check_all_rows(r, 2, true);
}

static store_kept kept_now(referee *r, size_t which) {
  store_kept kept;
  annal_error error;
  if (store_kept_read(r->handle->store, keep_names[which], &kept, &error)) judge_die("%s", error.message);
  return kept;
}

/* What a program with scripts of its own sees of an instance, whoever's rows are served. */
static void check_view(referee *r, annal_store *handle, int factor) {
  char key[16];
  annal_error error;
  fold_instance *instance;
  base_buf view;
  int64_t position;
  const char *ignored;
  keep_row seen = {0};
  snprintf(key, sizeof key, "k%u", (unsigned)(judge_random(&r->seed) % KEEP_KEYS));
  memcpy(seen.key, key, sizeof key);
  buf_init(&view, &handle->env);
  int code = handle_projection(handle, keep_names[0], key, judge_random(&r->seed) % 2, &instance, &error);
  if (!code) code = fold_view(instance, &view, &error);
  if (!code) code = fold_position(instance, &position, &ignored, &error);
  if (code) judge_die("a view answered %s: %s", annal_code_name(code), error.message);
  if (sscanf(view.bytes, "{\"count\":%llu,\"factor\":%d,\"sum\":%llu}", &seen.count, &seen.factor, &seen.sum) != 3)
    judge_die("not a view of the app's: %s", view.bytes);
  seen.position = position;
  int64_t known = r->log.position; /* from before the view was made: then its fold has these at least */
  keep_read_on(&r->log, r->handle);
  const counted *event = keep_event_at(&r->log, keep_number(key), position);
  bool right = event && event->count == seen.count && event->sum * (unsigned)factor == seen.sum && seen.factor == factor;
  if (!right || event->next <= known) r->violations += keep_complain("the view of", &seen, "not the fold of its events");
  r->views++;
  fold_close(instance);
  buf_free(&view);
}

/* Both run; the later one's rows are served and stay so, and the checkpoint of the other's does not move. */
static void look_side_by_side(referee *r) {
  store_kept before[2] = {kept_now(r, 0), kept_now(r, 1)};
  annal_store *other = open_store(r->s, r->first);
  for (double until = judge_now() + r->s->side; judge_now() < until && !r->violations; usleep(50000)) {
    check_running(r, r->workers, 2, "a worker");
    check_all_rows(r, 3, true);
    check_view(r, r->handle, 3);
    check_view(r, other, 2);
    for (size_t which = 0; which < 2; which++) {
      store_kept kept = kept_now(r, which);
      if (kept.number != before[which].number || strcmp(kept.served, before[which].served) != 0)
        complain_of(r, "two generations take what is wanted from each other");
    }
    r->sides++;
  }
  annal_close(other);
}

static void judge_generations(referee *r) {
  const char *const apps[2] = {r->first, r->second};
  for (int i = 0; i < 2; i++) judge_kill(r->workers[i]);
  for (int i = 0; i < 2; i++) r->workers[i] = start(r, "worker", apps[i], 2);
  for (unsigned kills = 0; kills < (unsigned)r->s->kills / 2 && !r->violations; kills++) kill_one(r, apps);
  judge_kill(r->workers[1]); /* the one that is started last is the one that is wanted */
  usleep(300000);
  r->workers[1] = start(r, "worker", r->second, 2);
  wait_until_served(r, 3);
  check_all_rows(r, 3, true);
  if (!r->violations) look_side_by_side(r);
}

/* What the last rebuild has left. For the next one it is forgotten. */
static note take_note(const referee *r) {
  char path[160];
  note taken;
  snprintf(path, sizeof path, "%s/began", r->s->directory);
  int file = open(path, O_RDONLY);
  if (file < 0) return (note){0};
  if (read(file, &taken, sizeof taken) != (ssize_t)sizeof taken) taken = (note){0};
  close(file);
  unlink(path);
  return taken;
}

/* Killed at nine tenths, then at random moments, then to its end. */
static void rebuild_and_kill(referee *r) {
  if (judge_end_of(start(r, "rebuild", r->third, 0.9)) != SIGKILL) complain_of(r, "a rebuild did not come to nine tenths");
  r->kills++;
  note before = take_note(r);
  bool is_over = false;
  unsigned moment = 100000 + r->chunk * 100; /* microseconds: less than it takes */
  for (int i = 0; i < 4 && !is_over; i++) {
    pid_t child = start(r, "rebuild", r->third, 2);
    if (i < 3) {
      usleep((useconds_t)(20000 + judge_random(&r->seed) % moment));
      kill(child, SIGKILL);
    }
    int status = judge_end_of(child);
    is_over = status == 0;
    if (status == SIGKILL) r->kills++;
    else if (status) complain_of(r, "a rebuild failed");
    note now = take_note(r);
    if (now.total == 0) continue;
    /* One that was killed after it had read everything may have been through: then this one is another. */
    bool resumes = before.reached < before.total;
    if (resumes && now.began + r->chunk < before.reached) {
      fprintf(stderr, "judge: a rebuild that was killed at %llu began at %llu\n", (unsigned long long)before.reached,
              (unsigned long long)now.began);
      r->violations++;
    }
    r->resumed += resumes && now.began >= now.total / 2;
    before = now;
  }
}

static void judge_rebuild(referee *r) {
  static look l;
  uint64_t seed = 5;
  for (int i = 0; i < 2; i++) judge_kill(r->workers[i]);
  int64_t more = (int64_t)r->s->events - head_now(r), least = (int64_t)r->s->carts * EVENTS_A_CART;
  for (more = more > least ? more : least; more > 0; more -= 1000) save_batch(r->handle, &seed, (uint64_t)r->s->carts, 1000);
  int64_t stored = head_now(r);
  r->chunk = (unsigned)(stored / CHUNKS);
  for (int round = 0; round < ROUNDS && !r->violations; round++) { /* from the second on rows by the same scripts are served */
    rebuild_and_kill(r);
    keep_look(r->handle, 0, stored, &l);
    keep_read_on(&r->log, r->handle);
    r->violations += keep_judge(&l, &r->log, 0);
    if (l.count < (size_t)r->s->carts || l.rows[0].factor != 4) complain_of(r, "the rows are not those of the rebuild");
    check_running(r, r->readers, READERS, "a reader");
    check_running(r, r->writers, WRITERS, "a writer");
  }
}

static uint64_t end_readers(referee *r) {
  char path[160];
  uint64_t all = 0, looks;
  for (int i = 0; i < READERS; i++) {
    kill(r->readers[i], SIGTERM);
    if (judge_end_of(r->readers[i])) complain_of(r, "a reader has found something");
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
  for (int i = 0; i < FIRST_EVENTS; i += 1000) save_batch(r->handle, &r->seed, 0, 1000);
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
  for (int i = 0; i < WRITERS; i++) judge_kill(r.writers[i]);
  keep_read_on(&r.log, r.handle);
  printf("%lld events, %u kills, %llu looks at rows; the other worker went on within %.2f s; side by side: %u rounds, %u views; "
         "%u rebuilds of %.0f carts resumed; %llu violations\n",
         (long long)r.log.position, r.kills, (unsigned long long)looks, r.longest, r.sides, r.views, r.resumed, r.s->carts,
         (unsigned long long)r.violations);
  if (r.resumed == 0 || looks < r.kills) complain_of(&r, "too little was seen");
  annal_close(r.handle);
  snprintf(command, sizeof command, "rm -rf '%s'", directory);
  return system(command) || r.violations ? 1 : 0;
}

int main(int count, char **arguments) {
  setting s = {.schema = "judge", .kills = 50, .events = 40000, .carts = 2000, .side = 2, .within = 5, .until = 2};
  judge_options(count, arguments,
                (judge_option[]){{"--store", &s.location, NULL, NULL},
                                 {"--schema", &s.schema, NULL, NULL},
                                 {"--kills", NULL, &s.kills, NULL},
                                 {"--events", NULL, &s.events, NULL},
                                 {"--carts", NULL, &s.carts, NULL},
                                 {"--side", NULL, &s.side, NULL},
                                 {"--chunk", NULL, &s.chunk, NULL},
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
  if (strcmp(s.role, "worker") == 0) judge_work(open_store(&s, s.app));
  if (strcmp(s.role, "reader") == 0) return be_reader(&s);
  return be_rebuild(&s);
}
