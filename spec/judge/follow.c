/* judge_follow --store LOCATION --schema NAME [--events N] [--writers N] [--write-to LOCATION] [--replica CONNINFO] [--saver NAME]
 *
 * Holds followers to their word: what they are given is exactly what is stored, in order, nothing skipped and nothing twice.
 * Writers of several processes save until there are N events; a trigger delays some inserts and refuses others; an unrelated
 * transaction stays open all the time (PostgreSQL). Three followers are killed with -9 at random moments and begin again after
 * the last event they noted; one of them is filtered. Where there is a replica one more reads it, and two, one of them filtered, are
 * sent to the one server or the other with each connection, as by a balancer, and their connections are cut again and again.
 *
 * `--saver` lets the writers save in a way that is known to be wrong (see saver.h): then the judge has to find skipped events.
 * Prints a line of counts; exits 0 when all is well, 1 with violations. */
#include "judge.h"

#include "saver.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ALONE = 0, FILTERED = 1, SECOND = 2, ON_REPLICA = 3, BETWEEN = 4, BETWEEN_FILTERED = 5, FOLLOWERS = 6 };

/* What a follower notes of each event, before it is given the next one. */
typedef struct note {
  int64_t position;
  char id[40];
} note;

typedef struct setting {
  const char *location, *schema, *replica, *saver;
  const char *write_to; /* the same store, as the writers are told of it */
  double events, writers;
  char directory[64];
  _Atomic int64_t *saved; /* shared by all processes */
} setting;

static bool is_filtered(int number) { return number == FILTERED || number == BETWEEN_FILTERED; }
static bool is_between(int number) { return number == BETWEEN || number == BETWEEN_FILTERED; }
static int follower_count(const setting *s) { return s->replica ? FOLLOWERS : ON_REPLICA; }

static bool is_postgres(const setting *s) { return strchr(s->location, '=') || strstr(s->location, "://"); }

static annal_store *open_at(const setting *s, const char *location, bool read_only) {
  static const char *const declared[] = {"key"};
  annal_options options = {.size = sizeof options, .schema = s->schema, .read_only = read_only};
  if (!read_only) {
    options.data_indexes = declared;
    options.data_index_count = 1;
  }
  annal_store *handle;
  annal_error error;
  double until = judge_now() + 20;
  for (;;) {
    int code = annal_open(location, &options, &handle, &error);
    if (!code) return handle;
    /* A replica does not have the store yet. */
    if (!read_only || code != ANNAL_NOT_FOUND || judge_now() > until) judge_die("%s", error.message);
    usleep(50000);
  }
}

/* ---- A balancer ---------------------------------------------------------------------------------------------------------- */

static struct {
  bool on;
  char host[256], port[16]; /* of the replica */
  uint64_t seed;
} balancer;

static void balance(const char *replica) {
  PQconninfoOption *options = PQconninfoParse(replica, NULL);
  for (PQconninfoOption *o = options; o && o->keyword; o++) {
    if (o->val && strcmp(o->keyword, "host") == 0) snprintf(balancer.host, sizeof balancer.host, "%s", o->val);
    if (o->val && strcmp(o->keyword, "port") == 0) snprintf(balancer.port, sizeof balancer.port, "%s", o->val);
  }
  PQconninfoFree(options);
  balancer.seed = (uint64_t)getpid();
  balancer.on = true;
}

/* In place of libpq's: one server or the other. NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
PGconn *PQconnectStartParams(const char *const *keywords, const char *const *values, int expand) {
  PGconn *(*real)(const char *const *, const char *const *, int);
  void *symbol = dlsym(RTLD_NEXT, "PQconnectStartParams");
  memcpy(&real, &symbol, sizeof real);
  const char *words[64], *texts[64];
  size_t count = 0;
  for (; keywords[count] && count < 60; count++) {
    words[count] = keywords[count];
    texts[count] = values[count];
  }
  if (balancer.on && judge_random(&balancer.seed) % 2) { /* the last of a keyword counts */
    words[count] = "host";
    texts[count++] = balancer.host;
    words[count] = "port";
    texts[count++] = balancer.port;
  }
  words[count] = texts[count] = NULL;
  return real(words, texts, expand);
}

/* In place of libpq's: every other time the connection is cut, so that the statement goes over another one. The first statement of a
 * connection makes its session. NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int PQsendQueryPrepared(PGconn *conn, const char *name, int count, const char *const *values, const int *lengths,
                        const int *formats, int format) {
  static int last; /* the server process that the last statement went to */
  int (*real)(PGconn *, const char *, int, const char *const *, const int *, const int *, int);
  void *symbol = dlsym(RTLD_NEXT, "PQsendQueryPrepared");
  memcpy(&real, &symbol, sizeof real);
  int process = PQbackendPID(conn);
  if (balancer.on && process == last && judge_random(&balancer.seed) % 2) shutdown(PQsocket(conn), SHUT_RDWR);
  last = process;
  return real(conn, name, count, values, lengths, formats, format);
}

/* ---- Trouble ------------------------------------------------------------------------------------------------------------- */

static void run_postgres(const char *location, const char *schema, const char *sql) {
  PGconn *connection = PQconnectdb(location);
  char path[256];
  snprintf(path, sizeof path, "set client_min_messages to error; set search_path to \"%s\"", schema);
  PQclear(PQexec(connection, path));
  PGresult *result = PQexec(connection, sql);
  ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) judge_die("%s", PQerrorMessage(connection));
  PQclear(result);
  PQfinish(connection);
}

/* Some inserts take their time, some are refused and roll their transaction back. */
static void make_trouble(const setting *s) {
  if (is_postgres(s)) {
    run_postgres(s->location, s->schema,
                 "create function judge_trouble() returns trigger language plpgsql as $$ begin "
                 "if random() < 0.02 then perform pg_sleep(random() * 0.01); end if; "
                 "if random() < 0.02 then raise exception 'trouble'; end if; return new; end $$; "
                 "create trigger judge_trouble before insert on events for each row execute function judge_trouble()");
    return;
  }
  sqlite3 *db;
  if (sqlite3_open(s->location, &db) != SQLITE_OK) judge_die("%s", sqlite3_errmsg(db));
  sqlite3_busy_timeout(db, 10000);
  if (sqlite3_exec(db,
                   "create trigger judge_trouble before insert on events when abs(random()) % 50 = 0 "
                   "begin select raise(abort, 'trouble'); end",
                   NULL, NULL, NULL))
    judge_die("%s", sqlite3_errmsg(db));
  sqlite3_close(db);
}

/* ---- Writers ------------------------------------------------------------------------------------------------------------- */

static bool write_once(const setting *s, annal_store *handle, saver *raw, uint64_t *seed, unsigned step) {
  annal_event events[4];
  char data[4][64];
  size_t count = raw ? 1 : 1 + judge_random(seed) % 4;
  char id[40];
  snprintf(id, sizeof id, "%d-%u", (int)getpid(), step);
  for (size_t i = 0; i < count; i++) {
    snprintf(data[i], sizeof data[i], "{\"key\":\"k%u\"}", (unsigned)(judge_random(seed) % 5));
    events[i] = (annal_event){.id = raw ? id : NULL, .type = judge_random(seed) % 2 ? "A" : "B", .data = data[i]};
  }
  annal_error error;
  annal_condition none = {.size = sizeof none};
  int result = raw ? saver_save(raw, events, &none) : annal_save(handle, events, count, NULL, NULL, &error);
  if (!result) atomic_fetch_add(s->saved, (int64_t)count);
  else if (!raw && result != ANNAL_INVALID) judge_die("a save answered %s: %s", annal_code_name(result), error.message);
  return !result;
}

static void writer(const setting *s) {
  annal_store *handle = open_at(s, s->write_to ? s->write_to : s->location, false);
  saver *raw = s->saver ? saver_open(s->saver, s->location, s->schema) : NULL;
  uint64_t seed = (uint64_t)getpid() * 7919;
  for (unsigned step = 0; atomic_load(s->saved) < (int64_t)s->events; step++) {
    write_once(s, handle, raw, &seed, step);
    if (judge_random(&seed) % 16 == 0) usleep((useconds_t)(judge_random(&seed) % 5000));
  }
  saver_close(raw);
  annal_close(handle);
}

/* ---- Followers ----------------------------------------------------------------------------------------------------------- */

static void note_path(const setting *s, int number, char path[128]) {
  snprintf(path, 128, "%s/follower-%d", s->directory, number);
}

static int take_note(void *context, const annal_event *event) {
  note n = {.position = event->position};
  snprintf(n.id, sizeof n.id, "%s", event->id);
  /* One write: a kill leaves all of it or nothing. */
  if (write(*(int *)context, &n, sizeof n) != (ssize_t)sizeof n) judge_die("a note cannot be written");
  return 0;
}

static note last_note(int file) {
  note n = {0};
  off_t size = lseek(file, 0, SEEK_END);
  if (size >= (off_t)sizeof n && pread(file, &n, sizeof n, size - (off_t)sizeof n) != (ssize_t)sizeof n)
    judge_die("a note cannot be read");
  return n;
}

static const char *const filtered_types[] = {"A"};
static const char *const filtered_values[] = {"k1", "k3"};
static const annal_field filtered_field = {.name = "key", .values = filtered_values, .value_count = 2};
static const annal_stream filtered_stream = {.types = filtered_types, .type_count = 1, .data = &filtered_field, .data_count = 1};

static void follower(const setting *s, int number, double idle_seconds) {
  char path[128];
  note_path(s, number, path);
  int file = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
  if (file < 0) judge_die("%s cannot be opened", path);
  note last = last_note(file);
  bool replica = number == ON_REPLICA;
  annal_store *handle = open_at(s, replica ? s->replica : s->location, replica || is_between(number));
  if (is_between(number)) balance(s->replica);
  annal_selection selection = {.size = sizeof selection, .after_id = last.id[0] ? last.id : NULL};
  if (is_filtered(number)) {
    selection.streams = &filtered_stream;
    selection.stream_count = 1;
  }
  annal_error error;
  double until = judge_now() + 60;
  for (;;) {
    int code = annal_follow(handle, &selection, idle_seconds, take_note, &file, &error);
    if (!code) break;
    /* Whoever asks a server that lags for the event it begins after is told that there is none; and a cut may come too often. */
    bool again = is_between(number) && (code == ANNAL_NOT_FOUND || code == ANNAL_UNAVAILABLE) && judge_now() < until;
    if (!again) judge_die("follower %d: %s", number, error.message);
    last = last_note(file);
    selection.after_id = last.id[0] ? last.id : NULL;
  }
  balancer.on = false;
  annal_close(handle);
  close(file);
}

static pid_t start(const setting *s, int number, double idle_seconds) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    if (number < 0) writer(s);
    else follower(s, number, idle_seconds);
    exit(0);
  }
  return child;
}

/* Kills a follower now and then and starts it again, until the writers are done. */
static unsigned disturb(const setting *s, pid_t *followers, int count, int writers) {
  uint64_t seed = 99;
  unsigned kills = 0;
  for (int running = writers; running > 0;) {
    int status;
    pid_t ended = waitpid(-1, &status, WNOHANG);
    if (ended > 0) {
      for (int i = 0; i < count; i++)
        if (followers[i] == ended) judge_die("follower %d ended with status %d", i, status);
      if (status) judge_die("a writer failed");
      running--;
      continue;
    }
    usleep((useconds_t)(50000 + judge_random(&seed) % 300000));
    int which = (int)(judge_random(&seed) % (uint64_t)count);
    kill(followers[which], SIGKILL);
    waitpid(followers[which], &status, 0);
    followers[which] = start(s, which, 0);
    kills++;
  }
  return kills;
}

/* ---- The verdict --------------------------------------------------------------------------------------------------------- */

typedef struct comparison {
  FILE *notes;
  note next;
  bool has_next, filtered;
  uint64_t given, skipped, others; /* others: twice, out of order, or not stored */
} comparison;

static void read_note(comparison *c) { c->has_next = fread(&c->next, sizeof c->next, 1, c->notes) == 1; }

static bool selected(const annal_event *event) {
  return event->type[0] == 'A' && (strstr(event->data, "\"k1\"") || strstr(event->data, "\"k3\""));
}

static int compare(void *context, const annal_event *event) {
  comparison *c = context;
  if (c->filtered && !selected(event)) return 0;
  while (c->has_next && c->next.position < event->position) { /* a second time, or never stored there */
    c->others++;
    read_note(c);
  }
  if (!c->has_next || c->next.position != event->position || strcmp(c->next.id, event->id) != 0) {
    c->skipped++;
    return 0;
  }
  c->given++;
  read_note(c);
  return 0;
}

static comparison judge_follower(const setting *s, int number) {
  char path[128];
  note_path(s, number, path);
  comparison c = {.notes = fopen(path, "rb"), .filtered = is_filtered(number)};
  if (!c.notes) judge_die("%s cannot be read", path);
  read_note(&c);
  annal_store *handle = open_at(s, s->location, false);
  annal_selection everything = {.size = sizeof everything};
  annal_error error;
  if (annal_read(handle, &everything, compare, &c, &error)) judge_die("%s", error.message);
  annal_close(handle);
  for (; c.has_next; read_note(&c)) c.others++;
  fclose(c.notes);
  return c;
}

static PGconn *leave_transaction_open(const setting *s) {
  if (!is_postgres(s)) return NULL;
  PGconn *connection = PQconnectdb(s->location);
  PQclear(PQexec(connection, "begin"));
  PQclear(PQexec(connection, "create temporary table unrelated (a int)")); /* it has a transaction id of its own */
  PQclear(PQexec(connection, "insert into unrelated values (1)"));
  return connection;
}

int main(int count, char **arguments) {
  setting s = {.schema = "judge", .events = 20000, .writers = 10};
  double unused_seconds = 0;
  judge_options(count, arguments,
                (judge_option[]){{"--store", &s.location, NULL, NULL},
                                 {"--schema", &s.schema, NULL, NULL},
                                 {"--replica", &s.replica, NULL, NULL},
                                 {"--write-to", &s.write_to, NULL, NULL},
                                 {"--saver", &s.saver, NULL, NULL},
                                 {"--events", NULL, &s.events, NULL},
                                 {"--writers", NULL, &s.writers, NULL},
                                 {"--seconds", NULL, &unused_seconds, NULL},
                                 {0}});
  if (!s.location) judge_die("usage: judge_follow --store LOCATION [--schema NAME] …");
  strcpy(s.directory, "/tmp/annal-judge-XXXXXX");
  if (!mkdtemp(s.directory)) judge_die("no temporary directory");
  s.saved = mmap(NULL, sizeof *s.saved, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  annal_close(open_at(&s, s.location, false));
  make_trouble(&s);
  PGconn *unrelated = leave_transaction_open(&s);
  if (s.replica) annal_close(open_at(&s, s.replica, true));
  pid_t followers[FOLLOWERS];
  int follower_total = follower_count(&s);
  for (int i = 0; i < follower_total; i++) followers[i] = start(&s, i, 0);
  for (int i = 0; i < (int)s.writers; i++) start(&s, -1, 0);
  unsigned kills = disturb(&s, followers, follower_total, (int)s.writers);
  uint64_t skipped = 0, others = 0, given = 0;
  for (int i = 0; i < follower_total; i++) { /* each once more, until nothing comes any longer */
    kill(followers[i], SIGKILL);
    waitpid(followers[i], NULL, 0);
    followers[i] = start(&s, i, 3);
  }
  for (int i = 0; i < follower_total; i++) {
    int status;
    waitpid(followers[i], &status, 0);
    if (status) judge_die("follower %d ended with status %d", i, status);
    comparison c = judge_follower(&s, i);
    skipped += c.skipped;
    others += c.others;
    given += c.given;
  }
  if (unrelated) PQfinish(unrelated);
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", s.directory);
  if (system(command)) judge_die("%s stays behind", s.directory);
  printf("saved %lld given %llu restarts %u skipped %llu twice or wrong %llu\n", (long long)*s.saved, (unsigned long long)given,
         kills, (unsigned long long)skipped, (unsigned long long)others);
  return skipped || others || given == 0;
}
