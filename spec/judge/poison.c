/* judge_poison --store LOCATION [--schema NAME] [--events N] [--instances N] [--within SECONDS]
 *
 * One instance among many whose handler fails. Workers keep two projections of so many instances, one of them with a pinned version,
 * while events are saved; somewhere among these is one that no handler bears. The rows of all other instances have to come to the
 * newest event, and go on from there; that of the one has to stand as of the event before, and say why. Then the scripts are mended:
 * the same processes have to bring all of them up to date. Each within SECONDS (60) after the last save.
 *
 * Prints a line of counts; exits 0 when all is well, 1 with violations. */
#include "judge.h"

#include "api/handle.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 2, BATCH = 1000 };

static const char *const names[] = {"PLAIN", "PINNED"};

typedef struct setting {
  const char *location, *schema, *role, *app;
  double events, instances, within, unused_seconds;
} setting;

/* What the referee has saved of an instance. */
typedef struct instance {
  unsigned long long count;
  long long sum;
  int64_t position;
} instance;

typedef struct referee {
  const setting *s;
  annal_store *handle;
  pid_t workers[WORKERS];
  instance *instances, before; /* before: the poisoned one, before the event */
  size_t count, poisoned;
  int64_t head;
  uint64_t seed, violations, compared;
  bool is_saved, is_mended; /* the event is in the log; the scripts bear it */
  size_t seen, parked;      /* rows of the last look */
  char wrong[400];          /* and one of them that was not what it has to become; "": none */
} referee;

/* ---- The app, the workers ------------------------------------------------------------------------------------------------- */

static void write_app(const char *directory, bool is_mended) {
  char text[1024];
  snprintf(text, sizeof text,
           "event 'COUNTED' { key = t.string, n = t.integer }\n"
           "local function count(s, e)\n"
           "  s.count = s.count + 1 s.sum = s.sum + e.data.n\n"
           "  %s\n"
           "end\n"
           "for name, version in pairs { PLAIN = false, PINNED = 1 } do\n"
           "  projection(name) { keep = 'background', by = 'key', version = version or nil, init = { count = 0, sum = 0 },\n"
           "    on = { COUNTED = count } }\n"
           "end\n",
           is_mended ? "" : "if e.data.n < 0 then error('no event of mine') end");
  judge_write(directory, "app.lua", text);
}

static annal_store *open_store(const setting *s) {
  static const char *const declared[] = {"key"};
  annal_options options = {
      .size = sizeof options, .schema = s->schema, .app = s->app, .data_indexes = declared, .data_index_count = 1};
  annal_store *handle;
  annal_error error;
  if (annal_open(s->location, &options, &handle, &error)) judge_die("open: %s", error.message);
  return handle;
}

static void check_workers(const referee *r) {
  int status;
  for (int i = 0; i < WORKERS; i++)
    if (waitpid(r->workers[i], &status, WNOHANG) != 0) judge_die("a worker has ended with status %d", status);
}

/* ---- Events --------------------------------------------------------------------------------------------------------------- */

static void save(referee *r, const annal_event *events, size_t count) {
  annal_error error;
  int code;
  do {
    code = annal_save(r->handle, events, count, NULL, NULL, &error);
  } while (code == ANNAL_BUSY);
  if (code) judge_die("a save answered %s: %s", annal_code_name(code), error.message);
}

static void count_in(referee *r, size_t number, int n) {
  instance *i = &r->instances[number];
  i->count++;
  i->sum += n;
  i->position = ++r->head;
}

/* Each instance has its turn, in an order that is no order. */
static void save_batch(referee *r, size_t count) {
  static char data[BATCH][64];
  static annal_event events[BATCH];
  for (size_t i = 0; i < count; i++) {
    size_t number = (size_t)((uint64_t)r->head * 7919 % r->count);
    int n = (int)(judge_random(&r->seed) % 1000);
    snprintf(data[i], sizeof *data, "{\"key\":\"i%zu\",\"n\":%d}", number, n);
    events[i] = (annal_event){.type = "COUNTED", .data = data[i]};
    count_in(r, number, n);
  }
  save(r, events, count);
}

static void save_poison(referee *r) {
  char data[64];
  snprintf(data, sizeof data, "{\"key\":\"i%zu\",\"n\":-1}", r->poisoned);
  r->before = r->instances[r->poisoned];
  r->is_saved = true;
  count_in(r, r->poisoned, -1);
  save(r, &(annal_event){.type = "COUNTED", .id = "poison", .data = data}, 1);
}

static void save_many(referee *r, size_t count) {
  for (size_t some; count > 0; count -= some) {
    some = count < BATCH ? count : BATCH;
    save_batch(r, some);
  }
}

/* ---- Rows ----------------------------------------------------------------------------------------------------------------- */

static int compare_row(void *context, const store_row *row) {
  referee *r = context;
  size_t number = strtoul(row->id + 1, NULL, 10);
  instance got = {.position = row->position};
  if (number >= r->count || sscanf(row->data, "{\"count\":%llu,\"sum\":%lld}", &got.count, &got.sum) != 2)
    judge_die("not a row of the app's: %s %s", row->id, row->data);
  bool stands = r->is_saved && !r->is_mended && number == r->poisoned;
  const instance *wanted = stands ? &r->before : &r->instances[number];
  bool right = got.position == wanted->position && got.count == wanted->count && got.sum == wanted->sum;
  bool parked = row->parked && strcmp(row->parked_event_id, "poison") == 0;
  if (!right || parked != stands || row->stale != stands) {
    snprintf(r->wrong, sizeof r->wrong, "%s %s is %s at %lld%s%s, and should be %llu, %lld at %lld%s", row->type, row->id,
             row->data, (long long)row->position, row->stale ? ", stale" : "", row->parked ? ", parked" : "", wanted->count,
             wanted->sum, (long long)wanted->position, stands ? ", parked" : "");
  }
  r->seen++;
  r->parked += row->parked != NULL;
  r->compared++;
  return 0;
}

/* Whether every instance has its row, of a set that knows of everything that is stored. */
static bool is_current(referee *r, size_t which, double seconds) {
  annal_error error;
  annal_query query = {.size = sizeof query, .type = names[which], .at_least = r->head, .timeout = seconds};
  r->seen = r->parked = 0;
  r->wrong[0] = 0;
  int code = handle_query(r->handle, &query, NULL, compare_row, r, &error);
  if (code && code != ANNAL_UNAVAILABLE) judge_die("a query answered %s: %s", annal_code_name(code), error.message);
  return !code && !r->wrong[0] && r->seen == r->count;
}

/* Seconds until it is so, of both projections, while `more` events are saved. */
static double wait_until_current(referee *r, size_t more) {
  double began = judge_now();
  save_many(r, more);
  double until = judge_now() + r->s->within;
  for (size_t which = 0; which < 2; which++) {
    while (!is_current(r, which, 1) && judge_now() < until) {
      check_workers(r);
      usleep(20000);
    }
    if (r->wrong[0] || r->seen != r->count) {
      fprintf(stderr, "judge: %zu rows of %s instead of %zu; %s\n", r->seen, names[which], r->count, r->wrong);
      r->violations++;
    }
    if (r->parked != (r->is_saved && !r->is_mended)) r->violations++;
  }
  check_workers(r);
  return judge_now() - began;
}

/* ---- The referee ---------------------------------------------------------------------------------------------------------- */

static void start_workers(referee *r) {
  for (int i = 0; i < WORKERS; i++)
    r->workers[i] = judge_start((const char *const[]){"judge_poison", "--store", r->s->location, "--schema", r->s->schema,
                                                      "--app", r->s->app, "--role", "worker", NULL});
}

static int referee_all(const setting *s) {
  char directory[] = "/tmp/annal-judge-XXXXXX", app[64], command[64];
  setting own = *s;
  if (!mkdtemp(directory)) judge_die("no temporary directory");
  snprintf(app, sizeof app, "%s/app", directory);
  own.app = app;
  write_app(app, false);
  referee r = {.s = &own, .seed = 3, .count = (size_t)s->instances, .poisoned = (size_t)(s->instances / 3)};
  r.instances = calloc(r.count, sizeof *r.instances);
  if (!r.instances) judge_die("out of memory");
  r.handle = open_store(&own);
  size_t events = (size_t)s->events;
  save_many(&r, events / 2);
  start_workers(&r);
  save_many(&r, events / 8);
  save_poison(&r);
  double current = wait_until_current(&r, events - events / 2 - events / 8 - 1);
  double on = wait_until_current(&r, r.count); /* each once more, also the one that stands still */
  if (!r.violations) write_app(app, true);
  r.is_mended = !r.violations;
  double mended = r.violations ? 0 : wait_until_current(&r, r.count);
  for (int i = 0; i < WORKERS; i++) judge_kill(r.workers[i]);
  printf("%lld events of %zu instances; all but one current within %.1f s and again within %.1f s; all of them %.1f s after "
         "mending, "
         "by the same processes; %llu rows compared; %llu violations\n",
         (long long)r.head, r.count, current, on, mended, (unsigned long long)r.compared, (unsigned long long)r.violations);
  annal_close(r.handle);
  free(r.instances);
  snprintf(command, sizeof command, "rm -rf '%s'", directory);
  return system(command) || r.violations ? 1 : 0;
}

int main(int count, char **arguments) {
  setting s = {.schema = "judge", .events = 20000, .instances = 500, .within = 60};
  judge_options(count, arguments,
                (judge_option[]){{"--store", &s.location, NULL, NULL},
                                 {"--schema", &s.schema, NULL, NULL},
                                 {"--events", NULL, &s.events, NULL},
                                 {"--instances", NULL, &s.instances, NULL},
                                 {"--within", NULL, &s.within, NULL},
                                 {"--seconds", NULL, &s.unused_seconds, NULL},
                                 {"--role", &s.role, NULL, NULL},
                                 {"--app", &s.app, NULL, NULL},
                                 {0}});
  if (!s.location) judge_die("usage: judge_poison --store LOCATION [--schema NAME] [--events N] [--instances N]");
  if (s.instances < 10 || s.events < s.instances * 10) judge_die("at least ten instances, and ten events of each");
  if (s.role) judge_work(open_store(&s));
  return referee_all(&s);
}
