/* judge_dcb --store LOCATION --schema NAME [--seconds S] [--processes N] [--threads N] [--pooled] [--saver NAME]
 *
 * Holds saves under a condition to their word. Many processes with several threads each read what a random condition selects,
 * note the set of ids they saw, and save under that condition: one and several streams, types only, declared and undeclared
 * fields, everything, an id for all streams or one for each. Afterwards, for every accepted save: the events its reader saw must
 * be the stored events that match with a lower position. And nothing refused is stored, nothing accepted is missing.
 *
 * `--saver` tries the judge itself on ways to save that are known to be wrong (raw SQL on the same table); it then has to find
 * violations. Prints a line of counts; exits 0 when all is well, 1 with violations. */
#include "judge.h"

#include "saver.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STREAMS_MAX = 3, VALUES_MAX = 2, TYPES = 4, KEYS = 5 };

static const char *const types[TYPES] = {"A", "B", "C", "D"};
static const char *const declared_values[KEYS] = {"k0", "k1", "k2", "k3", "k4"};
static const char *const plain_values[KEYS] = {"p0", "p1", "p2", "p3", "p4"};

/* ---- Conditions ---------------------------------------------------------------------------------------------------------- */

/* A stream in numbers, so that it can be written to a file and matched again later. Bits select types and values; 0: not said. */
typedef struct shape {
  uint8_t types, keys, plain;
} shape;

typedef struct condition_shape {
  shape streams[STREAMS_MAX];
  uint8_t count;
  bool own_ids; /* an id for each stream, instead of one for all */
} condition_shape;

/* What an accepted or refused save leaves behind. */
typedef struct record {
  condition_shape condition;
  judge_set seen;
  char id[40];
  uint8_t accepted;
} record;

static uint8_t one_or_two(uint64_t *seed, unsigned of) {
  uint8_t bits = (uint8_t)(1u << judge_random(seed) % of);
  return judge_random(seed) % 4 ? bits : (uint8_t)(bits | 1u << judge_random(seed) % of);
}

static shape random_shape(uint64_t *seed) {
  shape s = {0};
  switch (judge_random(seed) % 8) {
  case 0: break; /* everything */
  case 1: s.types = one_or_two(seed, TYPES); break;
  case 2: s.plain = one_or_two(seed, KEYS); break;
  case 3: s.keys = one_or_two(seed, KEYS); break;
  case 4:
    s.types = one_or_two(seed, TYPES);
    s.plain = one_or_two(seed, KEYS);
    break;
  case 5:
    s.keys = one_or_two(seed, KEYS);
    s.plain = one_or_two(seed, KEYS);
    break;
  default:
    s.types = one_or_two(seed, TYPES);
    s.keys = one_or_two(seed, KEYS);
    break;
  }
  return s;
}

static condition_shape random_condition(uint64_t *seed) {
  condition_shape c = {.own_ids = judge_random(seed) % 2};
  c.count = (uint8_t)(judge_random(seed) % 3 == 0 ? 1 + judge_random(seed) % STREAMS_MAX : 1);
  for (int i = 0; i < c.count; i++) c.streams[i] = random_shape(seed);
  return c;
}

/* An event in numbers: its type and the values of its two fields. */
static bool matches(const shape *s, unsigned type, unsigned key, unsigned plain) {
  return (!s->types || s->types >> type & 1) && (!s->keys || s->keys >> key & 1) && (!s->plain || s->plain >> plain & 1);
}

static bool matches_any(const condition_shape *c, unsigned type, unsigned key, unsigned plain) {
  for (int i = 0; i < c->count; i++)
    if (matches(&c->streams[i], type, key, plain)) return true;
  return false;
}

/* The event's numbers from its stored form. */
static bool numbers(const annal_event *event, unsigned *type, unsigned *key, unsigned *plain) {
  const char *k = strstr(event->data, "\"key\":\"k"), *p = strstr(event->data, "\"plain\":\"p");
  if (!k || !p) return false;
  *type = (unsigned)(event->type[0] - 'A');
  *key = (unsigned)(k[8] - '0');
  *plain = (unsigned)(p[10] - '0');
  return true;
}

/* The same as streams of the interface; `room` keeps what they point to. */
typedef struct stream_room {
  annal_stream streams[STREAMS_MAX];
  annal_field fields[STREAMS_MAX][2];
  const char *texts[STREAMS_MAX][3][KEYS];
  char ids[STREAMS_MAX][40];
} stream_room;

static size_t pick(uint8_t bits, const char *const *from, size_t count, const char **to) {
  size_t n = 0;
  for (size_t i = 0; i < count; i++)
    if (bits >> i & 1) to[n++] = from[i];
  return n;
}

static void make_streams(const condition_shape *c, stream_room *room) {
  memset(room, 0, sizeof *room);
  for (int i = 0; i < c->count; i++) {
    const shape *s = &c->streams[i];
    annal_stream *stream = &room->streams[i];
    stream->type_count = pick(s->types, types, TYPES, room->texts[i][0]);
    stream->types = room->texts[i][0];
    annal_field *field = room->fields[i];
    stream->data = field;
    if (s->keys) {
      *field = (annal_field){.name = "key", .values = room->texts[i][1]};
      field++->value_count = pick(s->keys, declared_values, KEYS, room->texts[i][1]);
    }
    if (s->plain) {
      *field = (annal_field){.name = "plain", .values = room->texts[i][2]};
      field++->value_count = pick(s->plain, plain_values, KEYS, room->texts[i][2]);
    }
    stream->data_count = (size_t)(field - room->fields[i]);
    stream->all = !s->types && !s->keys && !s->plain;
  }
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------- */

typedef struct seen_context {
  const condition_shape *condition;
  stream_room *room;
  judge_set seen;
  char newest[40];
} seen_context;

static int see(void *context, const annal_event *event) {
  seen_context *c = context;
  unsigned type, key, plain;
  judge_add(&c->seen, event->id);
  snprintf(c->newest, sizeof c->newest, "%s", event->id);
  if (!numbers(event, &type, &key, &plain)) judge_die("an event without numbers: %s", event->data);
  for (int i = 0; i < c->condition->count; i++)
    if (matches(&c->condition->streams[i], type, key, plain)) snprintf(c->room->ids[i], sizeof c->room->ids[i], "%s", event->id);
  return 0;
}

/* ---- A caller ------------------------------------------------------------------------------------------------------------ */

typedef struct caller {
  annal_store *handle;
  saver *saver;
  const char *directory;
  double until;
  unsigned number;
} caller;

static void one_round(caller *c, FILE *file, uint64_t *seed, unsigned step) {
  stream_room room;
  record r = {.condition = random_condition(seed)};
  make_streams(&r.condition, &room);
  seen_context seen = {.condition = &r.condition, .room = &room};
  annal_selection selection = {.size = sizeof selection, .streams = room.streams, .stream_count = r.condition.count};
  annal_error error;
  if (annal_read(c->handle, &selection, see, &seen, &error)) return; /* nothing was claimed */
  r.seen = seen.seen;
  if (judge_random(seed) % 4 == 0) usleep((useconds_t)(judge_random(seed) % 3000));
  annal_condition condition = {.size = sizeof condition, .streams = room.streams, .stream_count = r.condition.count};
  for (int i = 0; i < r.condition.count && r.condition.own_ids; i++)
    if (room.ids[i][0]) room.streams[i].after_id = room.ids[i];
  if (!r.condition.own_ids && seen.newest[0]) condition.latest_event_id = seen.newest;
  /* A stream without an event of its own must not fall back to another's id: that is what latest_event_id is for. */
  snprintf(r.id, sizeof r.id, "%u-%d-%u", c->number, (int)getpid(), step);
  char data[96];
  snprintf(data, sizeof data, "{\"key\":\"%s\",\"plain\":\"%s\"}", declared_values[judge_random(seed) % KEYS],
           plain_values[judge_random(seed) % KEYS]);
  annal_event event = {.id = r.id, .type = types[judge_random(seed) % TYPES], .data = data};
  int result = c->saver ? saver_save(c->saver, &event, &condition) : annal_save(c->handle, &event, 1, &condition, NULL, &error);
  if (result && error.in_doubt) return;
  r.accepted = result == ANNAL_OK;
  if (fwrite(&r, sizeof r, 1, file) != 1) judge_die("the record cannot be written");
}

static void *caller_run(void *context) {
  caller *c = context;
  char path[512];
  snprintf(path, sizeof path, "%s/%d-%u", c->directory, (int)getpid(), c->number);
  FILE *file = fopen(path, "wb");
  if (!file) judge_die("%s cannot be made", path);
  uint64_t seed = (uint64_t)getpid() * 1000003 + c->number;
  for (unsigned step = 0; judge_now() < c->until; step++) one_round(c, file, &seed, step);
  if (fclose(file)) judge_die("%s cannot be written", path);
  return NULL;
}

/* ---- The verdict --------------------------------------------------------------------------------------------------------- */

typedef struct stored_event {
  char id[40];
  uint8_t type, key, plain;
} stored_event;

typedef struct stored_log {
  stored_event *events;
  size_t count, capacity;
  bool gaps; /* positions come from a sequence: only with a saver that is broken on purpose */
} stored_log;

static int collect(void *context, const annal_event *event) {
  stored_log *log = context;
  if (log->count == log->capacity) {
    log->capacity = log->capacity ? log->capacity * 2 : 4096;
    log->events = realloc(log->events, log->capacity * sizeof *log->events);
    if (!log->events) judge_die("out of memory");
  }
  unsigned type, key, plain;
  if (!numbers(event, &type, &key, &plain)) judge_die("an event without numbers: %s", event->data);
  stored_event *e = &log->events[log->count++];
  *e = (stored_event){.type = (uint8_t)type, .key = (uint8_t)key, .plain = (uint8_t)plain};
  snprintf(e->id, sizeof e->id, "%s", event->id);
  if (!log->gaps && event->position != (int64_t)log->count)
    judge_die("position %lld stands at place %zu", (long long)event->position, log->count);
  return 0;
}

typedef struct verdict {
  uint64_t accepted, refused, wrong, lost, phantoms;
} verdict;

typedef struct records {
  record *all;
  size_t count;
} records;

static int by_id(const void *a, const void *b) { return strcmp(((const record *)a)->id, ((const record *)b)->id); }

static records load_records(const char *directory) {
  char command[600];
  records r = {0};
  size_t capacity = 0;
  snprintf(command, sizeof command, "cat '%s'/*", directory);
  FILE *all = popen(command, "r");
  if (!all) judge_die("the records cannot be read");
  for (record one; fread(&one, sizeof one, 1, all) == 1;) {
    if (r.count == capacity) {
      capacity = capacity ? capacity * 2 : 4096;
      r.all = realloc(r.all, capacity * sizeof *r.all);
      if (!r.all) judge_die("out of memory");
    }
    r.all[r.count++] = one;
  }
  pclose(all);
  qsort(r.all, r.count, sizeof *r.all, by_id);
  return r;
}

/* Walks through the log once, keeping for each kind of event the set of those that came so far. */
static verdict judge_log(const stored_log *log, const records *all) {
  static judge_set below[TYPES][KEYS][KEYS];
  verdict v = {0};
  for (size_t i = 0; i < all->count; i++) {
    if (all->all[i].accepted) v.accepted++;
    else v.refused++;
  }
  v.lost = v.accepted;
  for (size_t at = 0; at < log->count; at++) {
    const stored_event *e = &log->events[at];
    record key = {0};
    memcpy(key.id, e->id, sizeof key.id);
    const record *r = all->count ? bsearch(&key, all->all, all->count, sizeof key, by_id) : NULL;
    if (r && r->accepted) {
      judge_set matching = {0};
      for (unsigned i = 0; i < TYPES * KEYS * KEYS; i++) {
        unsigned type = i / (KEYS * KEYS), k = i / KEYS % KEYS, p = i % KEYS;
        if (!matches_any(&r->condition, type, k, p)) continue;
        matching.count += below[type][k][p].count;
        matching.sum += below[type][k][p].sum;
      }
      v.lost--;
      v.wrong += matching.count != r->seen.count || matching.sum != r->seen.sum;
    } else if (r) {
      v.phantoms++;
    }
    judge_add(&below[e->type][e->key][e->plain], e->id);
  }
  return v;
}

/* ---- Processes ----------------------------------------------------------------------------------------------------------- */

static bool pooled; /* behind a transaction pooler; set before any process is made */

static annal_store *open_store(const char *location, const char *schema) {
  static const char *const declared[] = {"key"};
  annal_options options = {.size = sizeof options, .schema = schema, .data_indexes = declared, .data_index_count = 1};
  options.pooled = pooled;
  annal_store *handle;
  annal_error error;
  if (annal_open(location, &options, &handle, &error)) judge_die("%s", error.message);
  return handle;
}

static void run_process(const char *location, const char *schema, const char *saver_name, const char *directory, int threads,
                        double until) {
  enum { THREADS_MAX = 64 };
  pthread_t ids[THREADS_MAX];
  caller callers[THREADS_MAX];
  annal_store *handle = open_store(location, schema);
  for (int i = 0; i < threads; i++) {
    callers[i] = (caller){.handle = handle, .directory = directory, .until = until, .number = (unsigned)i};
    if (saver_name) callers[i].saver = saver_open(saver_name, location, schema);
    pthread_create(&ids[i], NULL, caller_run, &callers[i]);
  }
  for (int i = 0; i < threads; i++) {
    pthread_join(ids[i], NULL);
    saver_close(callers[i].saver);
  }
  annal_close(handle);
}

int main(int count, char **arguments) {
  const char *location = NULL, *schema = "judge", *saver_name = NULL;
  double seconds = 10, processes = 16, threads = 2;
  judge_options(count, arguments,
                (judge_option[]){{"--store", &location, NULL, NULL},
                                 {"--schema", &schema, NULL, NULL},
                                 {"--saver", &saver_name, NULL, NULL},
                                 {"--seconds", NULL, &seconds, NULL},
                                 {"--processes", NULL, &processes, NULL},
                                 {"--threads", NULL, &threads, NULL},
                                 {"--pooled", NULL, NULL, &pooled},
                                 {0}});
  if (!location || threads < 1 || threads > 64) judge_die("usage: judge_dcb --store LOCATION [--schema NAME] …");
  char directory[] = "/tmp/annal-judge-XXXXXX";
  if (!mkdtemp(directory)) judge_die("no temporary directory");
  annal_close(open_store(location, schema));
  double until = judge_now() + seconds;
  fflush(NULL);
  for (int i = 0; i < (int)processes; i++)
    if (fork() == 0) {
      run_process(location, schema, saver_name, directory, (int)threads, until);
      exit(0);
    }
  for (int status; wait(&status) > 0;)
    if (status) judge_die("a process failed");
  annal_store *handle = open_store(location, schema);
  stored_log log = {.gaps = saver_name != NULL};
  annal_selection everything = {.size = sizeof everything};
  annal_error error;
  if (annal_read(handle, &everything, collect, &log, &error)) judge_die("%s", error.message);
  records all = load_records(directory);
  verdict v = judge_log(&log, &all);
  annal_close(handle);
  char command[600];
  snprintf(command, sizeof command, "rm -rf '%s'", directory);
  if (system(command)) judge_die("%s stays behind", directory);
  printf("accepted %llu refused %llu stored %zu wrong %llu lost %llu phantoms %llu\n", (unsigned long long)v.accepted,
         (unsigned long long)v.refused, log.count, (unsigned long long)v.wrong, (unsigned long long)v.lost,
         (unsigned long long)v.phantoms);
  free(log.events);
  free(all.all);
  return v.wrong || v.lost || v.phantoms || v.accepted == 0;
}
