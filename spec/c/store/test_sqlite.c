/* What is SQLite's alone: files that are none, cannot be written or run full, other programs' locks, interruptions, checkpoints,
 * the plans of queries, memory that runs out. */
#include "fixture.h"

#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int open_at(fixture *f, const char *path, store **out) { return store_open(&f->env, path, &f->options, out, &test_error); }

static void write_file(const char *path, const void *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, size, file), size);
  fclose(file);
}

static long size_of(const char *path) {
  struct stat about;
  return stat(path, &about) == 0 ? (long)about.st_size : -1;
}

/* ---- Places ------------------------------------------------------------------------------------------------------------ */

static void a_file_that_is_no_database_is_left_as_it_is(void **state) {
  fixture *f = *state;
  const char *contents[] = {"x", "this is a shopping list\n", NULL};
  char path[128], large[20000], back[20000];
  memset(large, 'z', sizeof large);
  for (int i = 0; i < 3; i++) {
    size_t size = contents[i] ? strlen(contents[i]) : sizeof large;
    snprintf(path, sizeof path, "%s/none%d", f->directory, i);
    write_file(path, contents[i] ? contents[i] : large, size);
    store *other;
    assert_fails(open_at(f, path, &other), ANNAL_CORRUPT, "is no SQLite database");
    assert_non_null(strstr(test_error.message, path));
    assert_null(other);
    assert_int_equal(size_of(path), (long)size);
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(back, 1, sizeof back, file), size);
    fclose(file);
    assert_memory_equal(back, contents[i] ? contents[i] : large, size);
  }
}

static void places_that_hold_no_file_are_refused(void **state) {
  fixture *f = *state;
  char path[192], pipe[128], dangling[128];
  store *other;
  assert_fails(open_at(f, f->directory, &other), ANNAL_MISUSE, "is a directory");
  snprintf(path, sizeof path, "%s/no/such/place.db", f->directory);
  assert_fails(open_at(f, path, &other), ANNAL_UNAVAILABLE, "its directory: No such file");
  snprintf(path, sizeof path, "%s/spec.db/inside", f->directory);
  assert_fails(open_at(f, path, &other), ANNAL_UNAVAILABLE, "Not a directory");
  snprintf(pipe, sizeof pipe, "%s/pipe", f->directory);
  assert_int_equal(mkfifo(pipe, 0600), 0);
  assert_fails(open_at(f, pipe, &other), ANNAL_MISUSE, "no regular file");
  char long_name[400];
  memset(long_name, 'n', sizeof long_name - 1);
  long_name[399] = 0;
  memcpy(long_name, f->directory, strlen(f->directory));
  long_name[strlen(f->directory)] = '/';
  assert_fails(open_at(f, long_name, &other), ANNAL_UNAVAILABLE, "too long");
  snprintf(dangling, sizeof dangling, "%s/dangling", f->directory);
  assert_int_equal(symlink("/nowhere/at/all", dangling), 0);
  assert_fails(open_at(f, dangling, &other), ANNAL_UNAVAILABLE, dangling);
}

/* Runs the body as somebody without root's powers, for whom permissions count; it answers 0, or a number that says what failed. */
static void as_nobody(fixture *f, int (*body)(fixture *)) {
  pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(99);
    _exit(body(f));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFEXITED(status) || WEXITSTATUS(status)) fail_msg("step %d failed", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static int open_without_rights(fixture *f) {
  store *other;
  annal_error error;
  chmod(f->location, 0444);
  if (store_open(&f->env, f->location, &f->options, &other, &error) != ANNAL_UNAVAILABLE) return 1;
  if (!strstr(error.message, "cannot be written: Permission denied") || !strstr(error.message, f->location)) return 2;
  f->options.read_only = true;
  if (store_open(&f->env, f->location, &f->options, &other, &error)) return 3;
  store_head_info head;
  if (store_head(other, &head, &error) || head.position != 1) return 4;
  store_close(other);
  f->options.read_only = false;
  char path[128];
  snprintf(path, sizeof path, "%s/secret", f->directory);
  if (store_open(&f->env, path, &f->options, &other, &error) != ANNAL_UNAVAILABLE) return 5;
  if (!strstr(error.message, "cannot be read")) return 6;
  if (store_open(&f->env, "/root/annal-spec.db", &f->options, &other, &error) != ANNAL_UNAVAILABLE) return 7;
  return 0;
}

static void rights_that_are_missing_are_named(void **state) {
  fixture *f = *state;
  save_one(f, "a", "A", "{}");
  store_close(f->store);
  f->store = NULL;
  char path[128];
  snprintf(path, sizeof path, "%s/secret", f->directory);
  write_file(path, "x", 1);
  chmod(path, 0);
  chmod(f->location, 0444);
  chmod(f->directory, 0777);
  as_nobody(f, open_without_rights);
}

static void a_database_of_somebody_else_can_be_shared_but_not_overwritten(void **state) {
  fixture *f = *state;
  char path[128];
  snprintf(path, sizeof path, "%s/theirs.db", f->directory);
  sqlite3 *db;
  sqlite3_open(path, &db);
  sqlite3_exec(db, "CREATE TABLE customers (name); INSERT INTO customers VALUES ('Ada'); CREATE VIEW Views AS SELECT 1", 0, 0, 0);
  sqlite3_close(db);
  long size = size_of(path);
  store *other;
  assert_fails(open_at(f, path, &other), ANNAL_CORRUPT, "table \"Views\" that annal did not make");
  assert_int_equal(size_of(path), size);
  f->options.projections = "rows";
  assert_ok(open_at(f, path, &other));
  store_close(other);
  sqlite3_open(path, &db);
  sqlite3_stmt *stmt;
  sqlite3_prepare_v2(db, "SELECT name FROM customers", -1, &stmt, NULL);
  assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
  assert_string_equal(sqlite3_column_text(stmt, 0), "Ada");
  sqlite3_finalize(stmt);
  sqlite3_exec(db, "CREATE TABLE x (y)", 0, 0, 0);
  sqlite3_close(db);
}

static void a_database_in_utf16_is_refused(void **state) {
  fixture *f = *state;
  char path[128];
  snprintf(path, sizeof path, "%s/wide.db", f->directory);
  sqlite3 *db;
  sqlite3_open(path, &db);
  sqlite3_exec(db, "PRAGMA encoding = 'UTF-16'; CREATE TABLE customers (name)", 0, 0, 0);
  sqlite3_close(db);
  store *other;
  assert_fails(open_at(f, path, &other), ANNAL_MISUSE, "UTF-16");
}

static void a_damaged_file_says_so(void **state) {
  fixture *f = *state;
  char id[16];
  for (int i = 0; i < 400; i++) {
    snprintf(id, sizeof id, "event%d", i);
    save_one(f, id, "A", "{\"k\":\"some value that fills pages\"}");
  }
  fixture_reopen(f); /* the log is in the database now */
  store_close(f->store);
  f->store = NULL;
  char garbage[4096];
  memset(garbage, 0x5a, sizeof garbage);
  long size = size_of(f->location);
  int file = open(f->location, O_WRONLY);
  for (long at = 4096; at < size; at += 4096) assert_int_equal(pwrite(file, garbage, sizeof garbage, at), sizeof garbage);
  close(file);
  char wal[600];
  snprintf(wal, sizeof wal, "%s-wal", f->location);
  unlink(wal);
  assert_fails(open_at(f, f->location, &f->store), ANNAL_CORRUPT, "is damaged");
  assert_non_null(strstr(test_error.message, f->location));
}

static void a_file_that_was_replaced_is_not_taken_for_the_same(void **state) {
  fixture *f = *state;
  save_one(f, "a", "A", "{}"); /* no reader is open yet */
  char path[600], wal[600];
  snprintf(path, sizeof path, "%s.new", f->location);
  store *other;
  assert_ok(open_at(f, path, &other));
  store_close(other);
  snprintf(wal, sizeof wal, "%s-wal", f->location);
  unlink(wal);
  assert_int_equal(rename(path, f->location), 0);
  store_head_info head;
  assert_fails(store_head(f->store, &head, &test_error), ANNAL_CORRUPT, "is another file");
}

static void a_relative_path_stays_what_it_was(void **state) {
  fixture *f = *state;
  char *before = getcwd(NULL, 0);
  assert_int_equal(chdir(f->directory), 0);
  store *other;
  assert_ok(open_at(f, "here.db", &other));
  assert_int_equal(chdir(before), 0);
  store_head_info head;
  assert_ok(store_head(other, &head, &test_error)); /* opens the first reader */
  store_close(other);
  free(before);
}

static int open_and_save(fixture *f, int number) {
  store *s;
  annal_error error;
  char id[16];
  snprintf(id, sizeof id, "p%d", number);
  annal_event event = event_of(id, "A", "{\"k\":\"x\"}");
  store_save save = {.events = &event, .count = 1};
  if (store_open(&f->env, f->location, &f->options, &s, &error) || store_append(s, &save, &error)) {
    print_error("%s\n", error.message);
    return 1;
  }
  store_close(s);
  return 0;
}

static void many_programs_may_make_the_store_at_once(void **state) {
  fixture *f = *state;
  store_close(f->store);
  f->store = NULL;
  enum { PROGRAMS = 12 };
  for (int round = 0; round < 3; round++) {
    snprintf(f->location, sizeof f->location, "%s/new%d.db", f->directory, round);
    pid_t children[PROGRAMS];
    for (int i = 0; i < PROGRAMS; i++)
      if ((children[i] = fork()) == 0) _exit(open_and_save(f, i));
    int failed = 0;
    for (int i = 0; i < PROGRAMS; i++) {
      int status;
      waitpid(children[i], &status, 0);
      failed += status != 0;
    }
    assert_int_equal(failed, 0);
    fixture_reopen(f);
    assert_int_equal(head_of(f), PROGRAMS);
    uint64_t findings;
    assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
    assert_int_equal(findings, 0);
    store_close(f->store);
    f->store = NULL;
  }
}

/* ---- A full disk ------------------------------------------------------------------------------------------------------- */

static void a_full_disk_stores_nothing_and_loses_nothing(void **state) {
  fixture *f = *state;
  char place[128], path[192];
  snprintf(place, sizeof place, "%s/small", f->directory);
  mkdir(place, 0700);
  if (mount("tmpfs", place, "tmpfs", 0, "size=400k") != 0) {
    print_message("SKIPPED: a full disk was NOT tested: no small file system can be mounted here\n");
    skip();
  }
  snprintf(path, sizeof path, "%s/full.db", place);
  store_close(f->store);
  f->store = NULL;
  snprintf(f->location, sizeof f->location, "%s", path);
  assert_ok(open_at(f, path, &f->store));
  char *data = long_json("{\"k\":\"x\",\"t\":\"", 20000), id[16];
  int64_t stored = 0;
  for (int result = 0, i = 0; !result; i++) {
    assert_in_range(i, 0, 100);
    snprintf(id, sizeof id, "e%d", i);
    annal_event events[2] = {event_of(id, "A", "{}"), event_of("same", "B", data)};
    char other[16];
    snprintf(other, sizeof other, "f%d", i);
    events[1].id = other;
    store_save save = {.events = events, .count = 2};
    result = store_append(f->store, &save, &test_error);
    if (!result) stored += 2;
    else assert_int_equal(events[0].position, 0);
  }
  assert_int_equal(test_error.code, ANNAL_UNAVAILABLE);
  assert_non_null(strstr(test_error.message, "the disk is full"));
  assert_non_null(strstr(test_error.message, path));
  assert_true(stored > 0);
  assert_int_equal(head_of(f), stored);
  /* A batch on the full disk: the answer is everybody's. */
  annal_event one = event_of("one", "A", data), two = event_of("two", "A", data), old = event_of("e0", "A", "{}");
  store_save saves[3] = {{.events = &one, .count = 1}, {.events = &old, .count = 1}, {.events = &two, .count = 1}};
  store_entry entries[3] = {{.save = &saves[0]}, {.save = &saves[1]}, {.save = &saves[2]}};
  f->store->backend->append(f->store, entries, 3);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(entries[i].result, ANNAL_UNAVAILABLE);
    assert_non_null(strstr(entries[i].error.message, "the disk is full"));
  }
  assert_int_equal(head_of(f), stored);
  fixture_reopen(f); /* also on a full disk */
  assert_int_equal(head_of(f), stored);
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
  /* With room again it goes on. */
  assert_int_equal(mount("tmpfs", place, "tmpfs", MS_REMOUNT, "size=4m"), 0);
  save_one(f, "more", "A", data);
  assert_int_equal(head_of(f), stored + 1);
  free(data);
}

static int disk_teardown(void **state) {
  fixture *f = *state;
  store_close(f->store);
  f->store = NULL;
  char place[128];
  snprintf(place, sizeof place, "%s/small", f->directory);
  umount2(place, MNT_DETACH); /* there is none where nothing could be mounted */
  return fixture_teardown(state);
}

/* ---- Locks and interruptions ------------------------------------------------------------------------------------------- */

static sqlite3 *lock_from_outside(const char *path) {
  sqlite3 *db;
  sqlite3_open(path, &db);
  assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", 0, 0, 0), SQLITE_OK);
  return db;
}

static void release(sqlite3 *db) {
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_exec(db, "ROLLBACK", 0, 0, 0);
  sqlite3_close(db);
}

static void another_programs_lock_is_waited_for_and_then_busy(void **state) {
  fixture *f = *state;
  f->options.lock_timeout = 0.2;
  save_one(f, "a", "A", "{}");
  sqlite3 *db = lock_from_outside(f->location);
  annal_event event = event_of("b", "A", "{}");
  store_save save = {.events = &event, .count = 1};
  int64_t start = base_monotonic();
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_BUSY, "0.2 s");
  int64_t waited = base_monotonic() - start;
  assert_in_range(waited, 150000, 5000000);
  assert_true(test_error.retryable);
  assert_int_equal(head_of(f), 1); /* reading goes on */
  store *other;
  assert_ok(open_at(f, f->location, &other)); /* and opening */
  store_close(other);
  release(db);
  assert_ok(store_append(f->store, &save, &test_error));
}

static store *interrupted_store;

static void interrupt_now(int number) {
  (void)number;
  store_interrupt(interrupted_store);
}

static void interrupt_in(fixture *f, long microseconds) {
  interrupted_store = f->store;
  struct sigaction action = {.sa_handler = interrupt_now, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {.tv_usec = microseconds}}, NULL);
}

static void waiting_for_a_lock_can_be_interrupted(void **state) {
  fixture *f = *state;
  sqlite3 *db = lock_from_outside(f->location);
  annal_event event = event_of("b", "A", "{}");
  store_save save = {.events = &event, .count = 1};
  interrupt_in(f, 50000);
  int64_t start = base_monotonic();
  assert_fails(store_append(f->store, &save, &test_error), ANNAL_UNAVAILABLE, "interrupted");
  assert_true(base_monotonic() - start < 5000000);
  release(db);
  assert_ok(store_append(f->store, &save, &test_error)); /* an interruption is over with the call */
  assert_false(save.was_stored);
}

static void fill_many(fixture *f, size_t count) {
  annal_event *events = calloc(count, sizeof *events);
  char(*ids)[24] = calloc(count, sizeof *ids);
  for (size_t i = 0; i < count; i++) {
    snprintf(ids[i], sizeof ids[i], "e%zu", i + 1);
    events[i] = event_of(ids[i], i % 2 ? "ODD" : "EVEN", "{\"k\":\"x\",\"z\":[1,2,3,4,5,6,7,8,9,10]}");
  }
  store_save save = {.events = events, .count = count};
  assert_ok(store_append(f->store, &save, &test_error));
  free(events);
  free(ids);
}

static void a_long_read_can_be_interrupted(void **state) {
  fixture *f = *state;
  fill_many(f, 60000);
  annal_stream stream = {DATA(FIELD("none", "nobody", "at all"))}; /* looks at every event */
  annal_selection selection = {.size = sizeof selection, .streams = &stream, .stream_count = 1};
  store_cursor *cursor;
  interrupt_in(f, 3000);
  int64_t start = base_monotonic();
  assert_fails(store_read(f->store, &selection, &cursor, &test_error), ANNAL_UNAVAILABLE, "interrupted");
  assert_true(base_monotonic() - start < 5000000);
  assert_string_equal(ids_of(f, &selection), "");
  /* Between pages, too. */
  selection = (annal_selection){.size = sizeof selection};
  store_page page;
  assert_ok(store_read(f->store, &selection, &cursor, &test_error));
  assert_ok(store_cursor_next(cursor, &page, &test_error));
  store_interrupt(f->store);
  assert_fails(store_cursor_next(cursor, &page, &test_error), ANNAL_UNAVAILABLE, "interrupted");
  store_cursor_close(cursor);
  /* And by the clock. */
  f->options.timeout = 0.005;
  assert_fails(store_read(f->store, &(annal_selection){.size = sizeof selection, .streams = &stream, .stream_count = 1}, &cursor,
                          &test_error),
               ANNAL_UNAVAILABLE, "timeout of 0.005 s");
}

static void *hold_all_readers(void *context) {
  fixture *f = context;
  annal_stream stream = {DATA(FIELD("none", "nobody"))};
  annal_selection selection = {.size = sizeof selection, .streams = &stream, .stream_count = 1};
  annal_error error;
  for (int i = 0; i < 3; i++) {
    store_cursor *cursor;
    if (store_read(f->store, &selection, &cursor, &error) == ANNAL_OK) store_cursor_close(cursor);
  }
  return NULL;
}

static void one_connection_for_reading_serves_many_threads(void **state) {
  fixture *f = *state;
  f->options.connections = 1;
  fixture_reopen(f);
  fill_many(f, 3000);
  pthread_t threads[6];
  for (int i = 0; i < 6; i++) pthread_create(&threads[i], NULL, hold_all_readers, f);
  for (int i = 0; i < 20; i++) assert_int_equal(head_of(f), 3000);
  for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
}

/* ---- Checkpoints ------------------------------------------------------------------------------------------------------- */

static void the_log_does_not_grow_without_bound(void **state) {
  fixture *f = *state;
  char *data = long_json("{\"k\":\"x\",\"t\":\"", 200000), id[16], wal[600];
  for (int i = 0; i < 150; i++) { /* 30 MB */
    snprintf(id, sizeof id, "e%d", i);
    save_one(f, id, "A", data);
  }
  snprintf(wal, sizeof wal, "%s-wal", f->location);
  assert_in_range(size_of(wal), 1, 20000000);
  assert_true(size_of(f->location) > 12000000);
  store_close(f->store);
  f->store = NULL;
  assert_true(size_of(f->location) > 30000000); /* all of it: a copy of the file alone is a backup */
  unlink(wal);
  assert_ok(open_at(f, f->location, &f->store));
  assert_int_equal(head_of(f), 150);
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
  free(data);
}

static void a_killed_process_loses_nothing_acknowledged(void **state) {
  fixture *f = *state;
  for (int round = 0; round < 5; round++) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
      store *s;
      annal_error error;
      if (store_open(&f->env, f->location, &f->options, &s, &error)) _exit(1);
      for (int i = 0;; i++) {
        char id[32];
        snprintf(id, sizeof id, "r%d-%d", round, i);
        annal_event event = event_of(id, "A", "{}");
        store_save save = {.events = &event, .count = 1};
        if (store_append(s, &save, &error)) _exit(2);
        if (write(pipes[1], &event.position, sizeof event.position) < 0) _exit(3);
      }
    }
    close(pipes[1]);
    int64_t position = 0, last = 0;
    if (read(pipes[0], &position, sizeof position) == sizeof position) last = position; /* it is at work */
    nanosleep(&(struct timespec){.tv_nsec = 10000000 + round * 7000000}, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (read(pipes[0], &position, sizeof position) == sizeof position) last = position;
    close(pipes[0]);
    assert_true(last > 0);
    assert_in_range(head_of(f), last, last + 1);
  }
  uint64_t findings;
  assert_ok(store_check(f->store, NULL, NULL, &findings, &test_error));
  assert_int_equal(findings, 0);
}

/* ---- Plans ------------------------------------------------------------------------------------------------------------- */

static char explained[16384]; /* the statement */

/* How SQLite runs it, one line a step. */
static void explain(const char *file, char *out, size_t room) {
  sqlite3 *db;
  sqlite3_stmt *stmt;
  char sql[sizeof explained + 32];
  sqlite3_open(file, &db);
  snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", explained);
  if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) fail_msg("%s: %s", sqlite3_errmsg(db), sql);
  out[0] = 0;
  while (sqlite3_step(stmt) == SQLITE_ROW) {
    size_t used = strlen(out);
    snprintf(out + used, room - used, "%s\n", (const char *)sqlite3_column_text(stmt, 3));
  }
  sqlite3_finalize(stmt);
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_close(db);
}

static const char *plan_of(fixture *f, const annal_stream *streams, size_t count, bool reverse) {
  static char plan[16384];
  sqlite_store *s = (sqlite_store *)f->store;
  query q;
  query_init(&q, &f->env, &sqlite_dialect);
  q.declared = (const char *const *)s->base.event_fields.names;
  q.declared_count = s->base.event_fields.count;
  query_select_events(&q, "e.position, e.data", s->events, streams, count, 0, 0, 10, reverse);
  assert_false(q.failed);
  snprintf(explained, sizeof explained, "%s", q.sql.bytes);
  query_free(&q);
  explain(f->location, plan, sizeof plan);
  return plan;
}

static void selections_run_along_their_indexes(void **state) {
  fixture *f = *state;
  fill_many(f, 10);
  const annal_stream by_type = {TYPES("A")}, by_field = {TYPES("A", "B", "C"), DATA(FIELD("k", "x"))};
  const annal_stream by_one_type = {TYPES("A"), DATA(FIELD("k", "x"))}, undeclared_too = {DATA(FIELD("z", "1"), FIELD("n", "2"))};
  const annal_stream by_types = {TYPES("A", "B")}, by_values = {TYPES("A"), DATA(FIELD("k", "x", "y"))};
  const struct {
    const annal_stream *streams;
    size_t count;
    const char *index;
    int times;
    bool sorted;
  } cases[] = {
      {NULL, 0, "INTEGER PRIMARY KEY (rowid>?", 1, false},
      {&by_type, 1, "(type=? AND position>?", 1, false},
      {&by_field, 1, "(<expr>=? AND position>?", 1, false},
      {&by_one_type, 1, "(<expr>=? AND position>?", 1, false},
      {&undeclared_too, 1, "(<expr>=? AND position>?", 1, false},
      {&by_types, 1, "(type=? AND position>?", 2, true},
      {&by_values, 1, "(<expr>=? AND position>?", 2, true},
      {(const annal_stream[]){by_type, by_field}, 2, "(<expr>=? AND position>?", 1, true},
  };
  for (int reverse = 0; reverse < 2; reverse++) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      const char *plan = plan_of(f, cases[i].streams, cases[i].count, reverse);
      int times = 0;
      for (const char *at = plan; (at = strstr(at, cases[i].index)); at++) times++;
      if (times != cases[i].times) fail_msg("case %zu: %d times %s in\n%s\nof %s", i, times, cases[i].index, plan, explained);
      /* Nothing is sorted but the positions of what was merged, a page of each. */
      if (!cases[i].sorted && strstr(plan, "TEMP B-TREE")) fail_msg("case %zu sorts:\n%s", i, plan);
      if (strstr(plan, "SCAN e")) fail_msg("case %zu reads everything:\n%s", i, plan);
    }
  }
}

static int ignore_row(void *context, const store_row *row) {
  (void)context;
  (void)row;
  return 0;
}

/* How SQLite runs the query, on a connection of the store's own: only there annal_order is known. */
static const char *plan_of_rows(fixture *f, store_query asked) {
  static char plan[16384];
  const sqlite_store *s = (const sqlite_store *)f->store;
  asked.type = "T";
  if (!asked.fingerprint) asked.fingerprint = "f1";
  assert_ok(store_query_rows(f->store, &asked, ignore_row, NULL, &test_error));
  const sqlite_statement *last = &s->readers[0].statements[0];
  for (size_t i = 0; i < SQLITE_STATEMENTS; i++)
    if (s->readers[0].statements[i].used > last->used) last = &s->readers[0].statements[i];
  sqlite3_stmt *stmt;
  char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sqlite3_sql(last->stmt));
  snprintf(explained, sizeof explained, "%s", sql);
  assert_int_equal(sqlite3_prepare_v2(s->readers[0].db, sql, -1, &stmt, NULL), SQLITE_OK);
  sqlite3_free(sql);
  plan[0] = 0;
  while (sqlite3_step(stmt) == SQLITE_ROW) {
    size_t used = strlen(plan);
    snprintf(plan + used, sizeof plan - used, "%s\n", (const char *)sqlite3_column_text(stmt, 3));
  }
  sqlite3_finalize(stmt);
  return plan;
}

/* k is declared. The loaded code's rows come first in a plan; those of other code are sorted, and are few. */
static void queries_of_rows_run_along_their_indexes(void **state) {
  fixture *f = *state;
  fill_many(f, 1);
  store_row rows[3];
  for (int i = 0; i < 3; i++) {
    rows[i] = (store_row){.type = "T",
                          .fingerprint = i ? "f1" : "f0",
                          .state = "1",
                          .state_size = 1,
                          .data = "{\"k\":1}",
                          .data_size = 7,
                          .position = 1,
                          .latest_event_id = "e1"};
    rows[i].id = i == 1 ? "a" : i == 2 ? "b" : "c";
  }
  assert_ok(store_put_rows(f->store, rows, 3, NULL, &test_error));
  const annal_field one = FIELD("k", "1");
  const annal_range range = {.name = "k", .min = "0", .max = "2"}, texts = {.name = "k", .min = "\"a\""};
  static const char by_id[] = "LEFT\nSEARCH p USING INDEX sqlite_autoindex_views_1 (type=? AND fingerprint=?)\n";
  static const char by_order[] = "(type=? AND fingerprint=?)\nUSE TEMP B-TREE FOR RIGHT PART OF ORDER BY\n";
  const struct {
    store_query query;
    const char *step;
  } cases[] = {
      {{0}, by_id},
      {{.limit = 5, .after = "a"}, "(type=? AND fingerprint=? AND id>?)"},
      {{.data = &one, .data_count = 1}, "(type=? AND fingerprint=? AND <expr>=?)"},
      {{.data = &one, .data_count = 1, .order = "k", .limit = 5}, "(type=? AND fingerprint=? AND <expr>=?)"},
      {{.order = "k", .limit = 5}, by_order},
      {{.order = "k", .limit = 5, .descending = true}, by_order},
      {{.order = "k", .limit = 5, .after = "a"}, by_order},
      {{.ranges = &range, .range_count = 1}, "(type=? AND fingerprint=? AND <expr>=? AND <expr>>? AND <expr><?)"},
      {{.ranges = &texts, .range_count = 1}, "(type=? AND fingerprint=? AND <expr>=? AND <expr>=? AND <expr>>?)"},
      {{.ranges = &range, .range_count = 1, .order = "k", .limit = 5},
       "AND <expr>>? AND <expr><?)\nUSE TEMP B-TREE FOR RIGHT PART OF ORDER BY\n"},
      {{.ranges = &texts, .range_count = 1, .order = "k", .limit = 5, .descending = true},
       "AND <expr>>?)\nUSE TEMP B-TREE FOR RIGHT PART OF ORDER BY\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *plan = plan_of_rows(f, cases[i].query);
    if (!strstr(plan, cases[i].step)) fail_msg("case %zu: not %s in\n%s\nof %s", i, cases[i].step, plan, explained);
    if (strstr(plan, "SCAN p")) fail_msg("case %zu reads everything:\n%s", i, plan);
  }
}

static size_t statements_of(const sqlite_conn *conn) {
  size_t count = 0;
  for (size_t i = 0; i < SQLITE_STATEMENTS; i++) count += conn->statements[i].stmt != NULL;
  return count;
}

static void statements_are_prepared_once(void **state) {
  fixture *f = *state;
  const sqlite_store *s = (const sqlite_store *)f->store;
  annal_stream stream = {TYPES("A", "B"), DATA(FIELD("k", "x"))};
  size_t writing = 0, reading = 0;
  for (int i = 0; i < 20; i++) {
    char id[16], seen[16];
    snprintf(id, sizeof id, "e%d", i + 1);
    snprintf(seen, sizeof seen, "e%d", i);
    assert_ok(save_under(f, id, "A", "{\"k\":\"x\"}", stream, i ? seen : NULL, &test_error));
    store_row row = {
        .type = "T", .fingerprint = "f", .id = "i", .data = "1", .data_size = 1, .position = i + 1, .latest_event_id = id};
    assert_ok(store_put_rows(f->store, &row, 1, NULL, &test_error));
    store_cursor *cursor;
    assert_ok(store_read_row(f->store, "T", "f", "i", &stream, 1, NULL, &row, &cursor, &test_error));
    store_cursor_close(cursor);
    ids_of_stream(f, stream);
    head_of(f);
    if (i == 1) writing = statements_of(&s->writer), reading = statements_of(&s->readers[0]);
  }
  assert_in_range(writing, 8, SQLITE_STATEMENTS - 1); /* else the counts below would say nothing */
  assert_int_equal(statements_of(&s->writer), writing);
  assert_int_equal(statements_of(&s->readers[0]), reading);
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------ */

typedef struct failing {
  long left; /* allocations until the one that fails; negative: none does */
  long live;
} failing;

static void *failing_allocate(void *context, void *pointer, size_t size) {
  failing *memory = context;
  if (size == 0) {
    if (pointer) memory->live--;
    free(pointer);
    return NULL;
  }
  if (memory->left == 0) return NULL;
  if (memory->left > 0) memory->left--;
  void *result = realloc(pointer, size);
  if (result && !pointer) memory->live++;
  return result;
}

static int skip_row(void *context, const store_row *row) {
  (void)row;
  ++*(int *)context;
  return 0;
}

/* Everything a store does, once. Answers the first error; stores and cursors are closed in any case. */
static int do_everything(fixture *f, annal_error *error) {
  store *s;
  int result = store_open(&f->env, f->location, &f->options, &s, error);
  if (result) return result;
  annal_event events[2] = {event_of("a", "A", "{\"k\":\"x\"}"), event_of("b", "B", "{}")};
  annal_stream streams[2] = {{TYPES("A", "B")}, {DATA(FIELD("k", "x", "y"))}};
  annal_condition condition = {.size = sizeof condition, .streams = streams, .stream_count = 2};
  store_save save = {.events = events, .count = 2, .condition = &condition};
  result = store_append(s, &save, error);
  annal_selection selection = {.size = sizeof selection, .streams = streams, .stream_count = 2, .after_id = NULL};
  store_cursor *cursor = NULL;
  store_page page = {0};
  if (!result) result = store_read(s, &selection, &cursor, error);
  while (!result && (result = store_cursor_next(cursor, &page, error)) == 0 && page.count) {
  }
  store_cursor_close(cursor);
  cursor = NULL;
  store_row row = {.type = "T",
                   .fingerprint = "f",
                   .id = "i",
                   .state = "{}",
                   .state_size = 2,
                   .data = "{}",
                   .data_size = 2,
                   .position = 2,
                   .latest_event_id = "b"};
  if (!result) result = store_put_rows(s, &row, 1, NULL, error);
  if (!result) result = store_read_row(s, "T", "f", "i", streams, 2, NULL, &row, &cursor, error);
  store_cursor_close(cursor);
  int count = 0;
  store_query asked = {.type = "T", .fingerprint = "f", .data = streams[1].data, .data_count = 1};
  if (!result) result = store_query_rows(s, &asked, skip_row, &count, error);
  uint64_t findings = 0;
  if (!result) result = store_check(s, NULL, NULL, &findings, error);
  if (!result) assert_int_equal(findings, 0);
  store_close(s);
  return result;
}

static void memory_that_runs_out_is_an_error_and_nothing_else(void **state) {
  fixture *f = *state;
  store_close(f->store);
  f->store = NULL;
  failing memory = {.left = -1};
  f->options.allocate = failing_allocate;
  f->options.allocate_context = &memory;
  base_env_init(&f->env, &f->options);
  for (long n = 0;; n++) {
    assert_in_range(n, 0, 5000);
    memory.left = n;
    annal_error error;
    error_clear(&error);
    int result = do_everything(f, &error);
    assert_int_equal(memory.live, 0);
    if (!result) break;
    if (result != ANNAL_UNAVAILABLE) fail_msg("allocation %ld: %s: %s", n, annal_code_name(result), error.message);
    assert_string_equal(error.message, "out of memory");
  }
  base_env_init(&f->env, NULL);
  f->options.allocate = NULL;
  assert_ok(open_at(f, f->location, &f->store));
  assert_int_equal(head_of(f), 2);
}

static int file_setup(void **state) {
  fixture_runs_on = ON_FILE;
  return fixture_setup(state);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, file_setup, fixture_teardown)
  const struct CMUnitTest sqlite_files[] = {
      TEST(a_file_that_is_no_database_is_left_as_it_is),
      TEST(places_that_hold_no_file_are_refused),
      TEST(rights_that_are_missing_are_named),
      TEST(a_database_of_somebody_else_can_be_shared_but_not_overwritten),
      TEST(a_database_in_utf16_is_refused),
      TEST(a_damaged_file_says_so),
      TEST(a_file_that_was_replaced_is_not_taken_for_the_same),
      TEST(a_relative_path_stays_what_it_was),
      TEST(many_programs_may_make_the_store_at_once),
      cmocka_unit_test_setup_teardown(a_full_disk_stores_nothing_and_loses_nothing, file_setup, disk_teardown),
      TEST(another_programs_lock_is_waited_for_and_then_busy),
      TEST(waiting_for_a_lock_can_be_interrupted),
      TEST(a_long_read_can_be_interrupted),
      TEST(one_connection_for_reading_serves_many_threads),
      TEST(the_log_does_not_grow_without_bound),
      TEST(a_killed_process_loses_nothing_acknowledged),
      TEST(selections_run_along_their_indexes),
      TEST(queries_of_rows_run_along_their_indexes),
      TEST(statements_are_prepared_once),
      TEST(memory_that_runs_out_is_an_error_and_nothing_else),
  };
  return cmocka_run_group_tests(sqlite_files, NULL, NULL);
}
