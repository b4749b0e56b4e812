/* judge_load --store LOCATION --schema NAME --writer NAME --acks FILE --seconds S     one writer under load, to be killed at will
 * judge_load --store LOCATION --schema NAME --verify DIRECTORY                        what all of them were told, against the store
 *
 * A writer saves event after event of its own chain ("w3-17" after "w3-16", under the condition that w3-16 is the newest of its
 * key), and now and then one of a key that all share, numbered by what it saw. What is acknowledged is noted in FILE before the
 * next save. It is told of lost servers, of the lock that is busy, of saves in doubt: it saves the same again, under the same
 * ids. Any other answer is wrong: nobody else writes its chain. Begun again, it goes on after its last note, which saves an
 * event again that may be stored already.
 *
 * To verify: everything acknowledged is stored, once; each chain has no gap; the shared key's numbers rise by one, so no condition
 * was passed that should have failed; positions have no gap. Exits 0 when all is well, 1 with violations. */
#include "judge.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITERS_MAX = 64 };

typedef struct setting {
  const char *location, *schema, *writer, *acks, *directory;
  double seconds;
} setting;

/* Until a deadline, for the server may be away. */
static annal_store *open_until(const setting *s, double until) {
  static const char *const declared[] = {"key"};
  annal_options options = {
      .size = sizeof options, .schema = s->schema, .data_indexes = declared, .data_index_count = 1, .timeout = 5};
  annal_store *handle;
  annal_error error;
  for (;;) {
    int result = annal_open(s->location, &options, &handle, &error);
    if (!result) return handle;
    if (result != ANNAL_UNAVAILABLE && result != ANNAL_BUSY)
      judge_die("open answered %s: %s", annal_code_name(result), error.message);
    if (judge_now() > until) return NULL;
    usleep(100000);
  }
}

/* ---- A writer ------------------------------------------------------------------------------------------------------------ */

typedef struct newest {
  char id[40];
  long number;
} newest;

static int note_newest(void *context, const annal_event *event) {
  newest *n = context;
  const char *number = strstr(event->data, "\"n\":");
  snprintf(n->id, sizeof n->id, "%s", event->id);
  n->number = number ? strtol(number + 4, NULL, 10) : -1;
  return 1;
}

/* Saves until there is an answer that settles it; false when time is up without one. */
static bool save_until_settled(annal_store *handle, const annal_event *event, const annal_condition *condition, double until,
                               int *result) {
  annal_error error;
  for (;;) {
    *result = annal_save(handle, event, 1, condition, NULL, &error);
    if (*result != ANNAL_UNAVAILABLE && *result != ANNAL_BUSY) return true;
    if (judge_now() > until + 20) return false;
    usleep(20000);
  }
}

static annal_stream key_stream(const char *const *key, annal_field *field) {
  *field = (annal_field){.name = "key", .values = key, .value_count = 1};
  return (annal_stream){.data = field, .data_count = 1};
}

static void save_own(const setting *s, annal_store *handle, long number, int acks, double until) {
  char id[40], last[40], data[96], line[64];
  annal_field field;
  annal_stream stream = key_stream(&s->writer, &field);
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1};
  snprintf(id, sizeof id, "%s-%ld", s->writer, number);
  snprintf(last, sizeof last, "%s-%ld", s->writer, number - 1);
  snprintf(data, sizeof data, "{\"key\":\"%s\",\"n\":%ld}", s->writer, number);
  if (number > 1) condition.latest_event_id = last;
  annal_event event = {.id = id, .type = "OWN", .data = data};
  int result;
  if (!save_until_settled(handle, &event, &condition, until, &result)) judge_die("%s was never settled", id);
  if (result) judge_die("wrong answer: %s for %s, whose chain is this writer's alone", annal_code_name(result), id);
  int size = snprintf(line, sizeof line, "%s\n", id);
  if (write(acks, line, (size_t)size) != size) judge_die("the note cannot be written");
}

/* One of the shared key: accepted or refused, and known only when accepted. */
static void save_shared(const setting *s, annal_store *handle, long number, int acks, double until) {
  static const char *const shared = "shared";
  char id[40], data[96], line[64];
  annal_field field;
  annal_stream stream = key_stream(&shared, &field);
  annal_selection last = {.size = sizeof last, .streams = &stream, .stream_count = 1, .limit = 1, .reverse = true};
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1};
  newest seen = {0};
  annal_error error;
  if (annal_read(handle, &last, note_newest, &seen, &error)) return;
  if (seen.id[0]) condition.latest_event_id = seen.id;
  snprintf(id, sizeof id, "%s-s-%ld-%d", s->writer, number, (int)getpid());
  snprintf(data, sizeof data, "{\"key\":\"shared\",\"n\":%ld}", seen.number + 1);
  annal_event event = {.id = id, .type = "SHARED", .data = data};
  int result;
  if (!save_until_settled(handle, &event, &condition, until, &result) || result == ANNAL_CONFLICT) return;
  if (result) judge_die("wrong answer: %s for %s", annal_code_name(result), id);
  int size = snprintf(line, sizeof line, "%s\n", id);
  if (write(acks, line, (size_t)size) != size) judge_die("the note cannot be written");
}

/* The number of the last event of the chain that was noted. */
static long last_acknowledged(const setting *s) {
  char line[64], prefix[40];
  long number = 0;
  FILE *file = fopen(s->acks, "r");
  snprintf(prefix, sizeof prefix, "%s-", s->writer);
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, prefix, strlen(prefix)) == 0 && strchr(line, '\n') && line[strlen(prefix)] != 's')
      number = strtol(line + strlen(prefix), NULL, 10);
  if (file) fclose(file);
  return number;
}

static int write_load(const setting *s) {
  double until = judge_now() + s->seconds;
  long number = last_acknowledged(s);
  int acks = open(s->acks, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (acks < 0) judge_die("%s cannot be opened", s->acks);
  annal_store *handle = open_until(s, until + 20);
  if (!handle) judge_die("the store did not come back");
  while (judge_now() < until) {
    save_own(s, handle, ++number, acks, until);
    if (number % 4 == 0) save_shared(s, handle, number, acks, until);
  }
  annal_close(handle);
  close(acks);
  return 0;
}

/* ---- The verdict --------------------------------------------------------------------------------------------------------- */

typedef struct chain {
  char key[24];
  long number;
} chain;

typedef struct audit {
  chain chains[WRITERS_MAX];
  size_t chain_count;
  char (*ids)[40];
  size_t count, capacity;
  uint64_t violations;
} audit;

static void complain(audit *a, const char *what, const char *id) {
  if (a->violations++ < 10) fprintf(stderr, "judge: %s: %s\n", what, id);
}

static chain *find_chain(audit *a, const char *key) {
  for (size_t i = 0; i < a->chain_count; i++)
    if (strcmp(a->chains[i].key, key) == 0) return &a->chains[i];
  if (a->chain_count == WRITERS_MAX) judge_die("too many writers");
  chain *c = &a->chains[a->chain_count++];
  snprintf(c->key, sizeof c->key, "%s", key);
  return c;
}

static int audit_event(void *context, const annal_event *event) {
  audit *a = context;
  char key[24] = "";
  long number = 0;
  if (sscanf(event->data, "{\"key\":\"%23[^\"]\",\"n\":%ld}", key, &number) != 2)
    complain(a, "not an event of a writer's", event->id);
  if (a->count == a->capacity) {
    a->capacity = a->capacity ? a->capacity * 2 : 4096;
    a->ids = realloc(a->ids, a->capacity * sizeof *a->ids);
    if (!a->ids) judge_die("out of memory");
  }
  snprintf(a->ids[a->count++], sizeof *a->ids, "%s", event->id);
  if (event->position != (int64_t)a->count) complain(a, "a gap before the position of", event->id);
  chain *c = find_chain(a, key);
  if (number != c->number + 1)
    complain(a, "a condition was passed that should have failed, or an event is missing, before", event->id);
  c->number = number;
  return 0;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static uint64_t audit_acks(audit *a, const char *path) {
  uint64_t acknowledged = 0;
  char line[64];
  FILE *file = fopen(path, "r");
  if (!file) judge_die("%s cannot be read", path);
  while (fgets(line, sizeof line, file)) {
    char *end = strchr(line, '\n');
    if (!end) break; /* killed while it wrote this: then it was not noted */
    *end = 0;
    acknowledged++;
    if (!a->count || !bsearch(line, a->ids, a->count, sizeof *a->ids, by_text)) complain(a, "acknowledged and not stored", line);
  }
  fclose(file);
  return acknowledged;
}

static int verify(const setting *s) {
  audit a = {0};
  annal_error error;
  annal_store *handle = open_until(s, judge_now() + 30);
  if (!handle) judge_die("the store did not come back");
  annal_selection everything = {.size = sizeof everything};
  if (annal_read(handle, &everything, audit_event, &a, &error)) judge_die("%s", error.message);
  annal_close(handle);
  if (a.count) qsort(a.ids, a.count, sizeof *a.ids, by_text);
  for (size_t i = 1; i < a.count; i++)
    if (strcmp(a.ids[i - 1], a.ids[i]) == 0) complain(&a, "stored twice", a.ids[i]);
  uint64_t acknowledged = 0;
  DIR *directory = opendir(s->directory);
  if (!directory) judge_die("%s cannot be read", s->directory);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    char path[512];
    if (strncmp(entry->d_name, "acks-", 5) != 0) continue;
    snprintf(path, sizeof path, "%s/%.200s", s->directory, entry->d_name);
    acknowledged += audit_acks(&a, path);
  }
  closedir(directory);
  printf("stored %zu acknowledged %llu shared %ld violations %llu\n", a.count, (unsigned long long)acknowledged,
         find_chain(&a, "shared")->number, (unsigned long long)a.violations);
  free(a.ids);
  return a.violations || acknowledged == 0;
}

int main(int count, char **arguments) {
  setting s = {.schema = "judge", .seconds = 5};
  judge_options(count, arguments,
                (judge_option[]){{"--store", &s.location, NULL, NULL},
                                 {"--schema", &s.schema, NULL, NULL},
                                 {"--writer", &s.writer, NULL, NULL},
                                 {"--acks", &s.acks, NULL, NULL},
                                 {"--verify", &s.directory, NULL, NULL},
                                 {"--seconds", NULL, &s.seconds, NULL},
                                 {0}});
  if (!s.location || (!s.directory && (!s.writer || !s.acks))) judge_die("usage: see the head of load.c");
  return s.directory ? verify(&s) : write_load(&s);
}
