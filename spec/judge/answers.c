/* judge_answers --store LOCATION --schema NAME [--seconds S] [--processes N] [--threads N] [--pooled] [--past LOCATION]
 *
 * Holds every answer to a save to its word, whatever happens meanwhile. Many processes with several threads each save one to three
 * events, some on condition that an event is stored which may not be there yet. Meanwhile timeouts are short, the store is interrupted,
 * its lock is held by others, triggers refuse events in every way there is, at random, drop some and delay some, and the sessions that
 * save are ended (PostgreSQL; `--past` names the server where the store is reached through a pooler). Who is told that a save is in
 * doubt saves it again under the same ids.
 *
 * Afterwards: what was answered as stored is stored, all of it, at the position that was answered, and the event that the condition
 * named lies below it; of what was refused without a doubt nothing is stored; no id is stored twice, positions have no gap. Prints a
 * line of counts; exits 0 when all is well, 1 with violations. */
#include "judge.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EVENTS_MAX = 3, THREADS_MAX = 32 };

typedef struct setting {
  const char *location, *past, *schema;
  char directory[64];
  double until;
} setting;

static bool pooled; /* behind a transaction pooler; set before any process is made */

/* What a save was told at last. */
typedef struct record {
  char id[32]; /* of its events: with "-0", "-1" … behind it */
  char after[40];
  int64_t position; /* of the first */
  int code;
  uint8_t count;
  bool in_doubt;
  uint8_t doubts; /* so often it was told so before that */
  char message[200];
} record;

static bool is_postgres(const setting *s) { return strchr(s->location, '=') || strstr(s->location, "://"); }

static annal_store *open_store(const setting *s, double timeout) {
  annal_options options = {.size = sizeof options, .schema = s->schema, .timeout = timeout, .lock_timeout = timeout / 2};
  options.pooled = pooled;
  annal_store *handle;
  annal_error error;
  for (int tries = 0;; tries++) {
    int code = annal_open(s->location, &options, &handle, &error);
    if (!code) return handle;
    if (tries == 50 || (code != ANNAL_UNAVAILABLE && code != ANNAL_BUSY)) judge_die("%s", error.message);
    usleep(100000);
  }
}

/* ---- Trouble ------------------------------------------------------------------------------------------------------------- */

static PGconn *connect_past(const setting *s) {
  char path[256];
  PGconn *conn = PQconnectdb(s->past ? s->past : s->location);
  if (PQstatus(conn) != CONNECTION_OK) judge_die("%s", PQerrorMessage(conn));
  snprintf(path, sizeof path, "set application_name to trouble; set client_min_messages to error; set search_path to \"%s\"",
           s->schema);
  PQclear(PQexec(conn, path));
  return conn;
}

static sqlite3 *open_past(const setting *s) {
  sqlite3 *db;
  if (sqlite3_open(s->location, &db) != SQLITE_OK) judge_die("%s", sqlite3_errmsg(db));
  sqlite3_busy_timeout(db, 5000);
  sqlite3_exec(db, "pragma wal_autocheckpoint = 0", NULL, NULL, NULL);
  return db;
}

static const char postgres_triggers[] =
    "create function judge_trouble() returns trigger language plpgsql as $$ declare luck float := random(); begin "
    "if luck < 0.02 then raise exception 'trouble'; end if; "
    "if luck < 0.03 then raise exception 'trouble' using errcode = 'U0001'; end if; "
    "if luck < 0.04 then return null; end if; "
    "if luck < 0.045 then perform pg_sleep(random() * 0.2); end if; "
    "if luck < 0.05 then new.id := new.id || '-changed'; end if; return new; end $$; "
    "create trigger judge_trouble before insert on events for each row execute function judge_trouble()";

static const char sqlite_triggers[] =
    "create trigger judge_abort before insert on events when abs(random()) % 50 = 0 begin select raise(abort, 'trouble'); end;"
    "create trigger judge_rollback before insert on events when abs(random()) % 50 = 0 begin select raise(rollback, 'trouble'); "
    "end;"
    "create trigger judge_fail after insert on events when abs(random()) % 50 = 0 begin select raise(fail, 'trouble'); end;"
    "create trigger judge_drop before insert on events when abs(random()) % 50 = 0 begin select raise(ignore); end";

static void set_triggers(const setting *s) {
  if (is_postgres(s)) {
    PGconn *conn = connect_past(s);
    PGresult *result = PQexec(conn, postgres_triggers);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) judge_die("%s", PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
  } else {
    sqlite3 *db = open_past(s);
    if (sqlite3_exec(db, sqlite_triggers, NULL, NULL, NULL) != SQLITE_OK) judge_die("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
  }
}

/* Holds the lock now and then; ends sessions that save. */
static void make_trouble(const setting *s) {
  uint64_t seed = (uint64_t)getpid();
  PGconn *conn = is_postgres(s) ? connect_past(s) : NULL;
  sqlite3 *db = conn ? NULL : open_past(s);
  while (judge_now() < s->until) {
    usleep((useconds_t)(judge_random(&seed) % 60000));
    useconds_t hold = (useconds_t)(judge_random(&seed) % 4 ? judge_random(&seed) % 30000 : judge_random(&seed) % 400000);
    if (db) {
      sqlite3_exec(db, "begin immediate", NULL, NULL, NULL);
      usleep(hold);
      sqlite3_exec(db, "rollback", NULL, NULL, NULL);
    } else if (judge_random(&seed) % 2) {
      PQclear(PQexec(conn, "begin; select pg_advisory_xact_lock(1634627180, 'events'::regclass::oid::int)"));
      usleep(hold);
      PQclear(PQexec(conn, "rollback"));
    } else { /* some that wait, and some that are at it */
      PQclear(PQexec(conn, "select pg_terminate_backend(pid) from pg_stat_activity where query like '%annal\\_append%' and "
                           "state = 'active' and application_name <> 'trouble' and random() < 0.3"));
    }
  }
  if (conn) PQfinish(conn);
  if (db) sqlite3_close(db);
}

/* ---- Savers -------------------------------------------------------------------------------------------------------------- */

typedef struct caller {
  const setting *s;
  annal_store *handle;
  unsigned number;
} caller;

/* One save, again as long as it is in doubt and there is time. */
static void save(caller *c, record *r, uint64_t *seed) {
  static const char *const none[] = {"NONE"};
  annal_event events[EVENTS_MAX];
  char ids[EVENTS_MAX][48];
  for (unsigned i = 0; i < r->count; i++) {
    snprintf(ids[i], sizeof ids[i], "%s-%u", r->id, i);
    events[i] = (annal_event){.id = ids[i], .type = "T", .data = "{\"key\":\"x\"}"};
  }
  /* Nothing can be newer than the event it names: only whether that is stored decides. */
  annal_stream stream = {.types = none, .type_count = 1};
  annal_condition condition = {.size = sizeof condition, .streams = &stream, .stream_count = 1, .latest_event_id = r->after};
  annal_error error;
  annal_text stored = {0};
  for (int tries = 0; tries < 20; tries++) {
    r->code = annal_save(c->handle, events, r->count, r->after[0] ? &condition : NULL, &stored, &error);
    /* A try that did not come to the store leaves the one before it in doubt. */
    r->in_doubt = r->code && (error.in_doubt || (r->doubts && (r->code == ANNAL_UNAVAILABLE || r->code == ANNAL_BUSY)));
    if (r->code) snprintf(r->message, sizeof r->message, "%.199s", error.message);
    const char *position = r->code ? NULL : strstr(stored.bytes, "\"position\":");
    r->position = position ? strtoll(position + 11, NULL, 10) : 0;
    annal_text_free(c->handle, &stored);
    if (!r->in_doubt) return;
    r->doubts++;
    usleep((useconds_t)(judge_random(seed) % 20000));
  }
}

static void *caller_run(void *context) {
  caller *c = context;
  char path[512];
  snprintf(path, sizeof path, "%s/%d-%u", c->s->directory, (int)getpid(), c->number);
  FILE *file = fopen(path, "wb");
  if (!file) judge_die("%s cannot be made", path);
  uint64_t seed = (uint64_t)getpid() * 1000003 + c->number;
  for (unsigned step = 0; judge_now() < c->s->until; step++) {
    record r = {.count = (uint8_t)(1 + judge_random(&seed) % EVENTS_MAX)};
    snprintf(r.id, sizeof r.id, "%d-%u-%u", (int)getpid(), c->number, step);
    /* An event of the neighbour's, who may not have come so far. */
    if (judge_random(&seed) % 3 == 0)
      snprintf(r.after, sizeof r.after, "%d-%u-%u-0", (int)getpid(), c->number ^ 1, step + (unsigned)(judge_random(&seed) % 3));
    save(c, &r, &seed);
    if (fwrite(&r, sizeof r, 1, file) != 1) judge_die("the record cannot be written");
    if (judge_random(&seed) % 8 == 0) usleep((useconds_t)(judge_random(&seed) % 3000));
  }
  if (fclose(file)) judge_die("%s cannot be written", path);
  return NULL;
}

static void run_process(const setting *s, int threads) {
  pthread_t ids[THREADS_MAX];
  caller callers[THREADS_MAX];
  uint64_t seed = (uint64_t)getpid() * 31;
  annal_store *handle = open_store(s, 0.4);
  for (int i = 0; i < threads; i++) {
    callers[i] = (caller){.s = s, .handle = handle, .number = (unsigned)i};
    pthread_create(&ids[i], NULL, caller_run, &callers[i]);
  }
  while (judge_now() < s->until) {
    usleep((useconds_t)(judge_random(&seed) % 200000));
    annal_interrupt(handle);
  }
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  annal_close(handle);
}

/* ---- The verdict --------------------------------------------------------------------------------------------------------- */

typedef struct stored {
  char id[48];
  int64_t position;
} stored;

typedef struct audit {
  stored *all;
  size_t count, capacity;
  uint64_t violations, accepted, refused, doubted, doubts;
} audit;

static void complain(audit *a, const char *what, const char *id) {
  if (a->violations++ < 10) fprintf(stderr, "judge: %s: %s\n", id, what);
}

static int collect(void *context, const annal_event *event) {
  audit *a = context;
  if (a->count == a->capacity) {
    a->capacity = a->capacity ? a->capacity * 2 : 4096;
    a->all = realloc(a->all, a->capacity * sizeof *a->all);
    if (!a->all) judge_die("out of memory");
  }
  stored *e = &a->all[a->count++];
  e->position = event->position;
  snprintf(e->id, sizeof e->id, "%s", event->id);
  if (event->position != (int64_t)a->count) complain(a, "a gap before", event->id);
  return 0;
}

static int by_id(const void *a, const void *b) { return strcmp(((const stored *)a)->id, ((const stored *)b)->id); }

static int64_t position_of(const audit *a, const char *id) {
  stored key = {0};
  snprintf(key.id, sizeof key.id, "%s", id);
  const stored *found = a->count ? bsearch(&key, a->all, a->count, sizeof key, by_id) : NULL;
  return found ? found->position : 0;
}

static void judge_record(audit *a, const record *r) {
  char id[48];
  a->doubts += r->doubts;
  if (r->in_doubt) a->doubted++;
  else if (r->code) a->refused++;
  else a->accepted++;
  int64_t first = 0;
  for (unsigned i = 0; i < r->count; i++) {
    snprintf(id, sizeof id, "%s-%u", r->id, i);
    int64_t position = position_of(a, id);
    if (i == 0) first = position;
    if (r->in_doubt && (position != 0) != (first != 0)) complain(a, "half stored", id);
    else if (r->code && !r->in_doubt && position) complain(a, r->message, id);
    else if (!r->code && position != r->position + i) complain(a, "accepted, and not stored where it was said", id);
  }
  if (r->code || !r->after[0]) return;
  int64_t after = position_of(a, r->after);
  if (!after || after >= first) complain(a, "accepted without the event that it names", id);
}

static void judge_all(const setting *s, audit *a) {
  char command[600];
  snprintf(command, sizeof command, "cat '%s'/*", s->directory);
  FILE *all = popen(command, "r");
  if (!all) judge_die("the records cannot be read");
  for (record one; fread(&one, sizeof one, 1, all) == 1;) judge_record(a, &one);
  pclose(all);
  snprintf(command, sizeof command, "rm -rf '%s'", s->directory);
  if (system(command)) judge_die("%s stays behind", s->directory);
}

int main(int count, char **arguments) {
  setting s = {.schema = "judge"};
  double seconds = 10, processes = 6, threads = 4;
  judge_options(count, arguments,
                (judge_option[]){{"--store", &s.location, NULL, NULL},
                                 {"--schema", &s.schema, NULL, NULL},
                                 {"--past", &s.past, NULL, NULL},
                                 {"--seconds", NULL, &seconds, NULL},
                                 {"--processes", NULL, &processes, NULL},
                                 {"--threads", NULL, &threads, NULL},
                                 {"--pooled", NULL, NULL, &pooled},
                                 {0}});
  if (!s.location || threads < 1 || threads > THREADS_MAX) judge_die("usage: judge_answers --store LOCATION [--schema NAME] …");
  strcpy(s.directory, "/tmp/annal-judge-XXXXXX");
  if (!mkdtemp(s.directory)) judge_die("no temporary directory");
  annal_close(open_store(&s, 10));
  set_triggers(&s);
  s.until = judge_now() + seconds;
  fflush(NULL);
  for (int i = 0; i <= (int)processes; i++)
    if (fork() == 0) {
      if (i == 0) make_trouble(&s);
      else run_process(&s, (int)threads);
      exit(0);
    }
  for (int status; wait(&status) > 0;)
    if (status) judge_die("a process failed");
  sleep(2); /* whatever was left behind has had its time */
  audit a = {0};
  annal_store *handle = open_store(&s, 30);
  annal_selection everything = {.size = sizeof everything};
  annal_error error;
  if (annal_read(handle, &everything, collect, &a, &error)) judge_die("%s", error.message);
  annal_close(handle);
  if (a.count) qsort(a.all, a.count, sizeof *a.all, by_id);
  for (size_t i = 1; i < a.count; i++)
    if (strcmp(a.all[i - 1].id, a.all[i].id) == 0) complain(&a, "stored twice", a.all[i].id);
  judge_all(&s, &a);
  printf("stored %zu accepted %llu refused %llu in doubt for good %llu of %llu violations %llu\n", a.count,
         (unsigned long long)a.accepted, (unsigned long long)a.refused, (unsigned long long)a.doubted,
         (unsigned long long)a.doubts, (unsigned long long)a.violations);
  free(a.all);
  return a.violations || a.accepted == 0;
}
